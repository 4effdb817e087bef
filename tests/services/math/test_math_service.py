"""`python -m services.math`, as a client sees it."""

from __future__ import annotations

from services.client.scoring import ScoringClient
from services.verdicts import Item, Verdict


def test_endless_answers_are_scored_and_hold_up_no_honest_ones(start_service) -> None:
    service = start_service("services.math", "--metrics-port", "0", "--workers", "1")
    items = [Item(str(n), "", rf"\boxed{{{n}}}", {"gold": n % 3}) for n in range(40)]
    endless = r"\boxed{\int_0^{\infty} e^{-x^{2}} \sin(x^{%d}) dx}"
    items += [Item(f"endless {n}", "", endless % n, {"gold": r"\{1, 2\}"}) for n in range(7, 12)]
    items.append(Item("honest", "", r"\boxed{\int_0^1 2x dx}", {"gold": "1"}))
    client = ScoringClient("math", service.address, patience_seconds=5.0)
    outcomes = client.score(items, 60.0)
    client.close()
    labels = {id_: outcome.label for id_, outcome in outcomes.items() if isinstance(outcome, Verdict)}
    assert len(labels) == len(items)
    assert {id_ for id_, label in labels.items() if label == "correct"} == {"0", "1", "2", "honest"}
    assert {labels[f"endless {n}"] for n in range(7, 12)} <= {"timeout", "wrong", "unreadable"}
    assert service.end() == 0
