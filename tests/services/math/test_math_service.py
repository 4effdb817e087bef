"""`python -m services.math`, as a client sees it."""

from __future__ import annotations

from services.client.scoring import ScoringClient
from services.verdicts import ErrorReason, Item, ItemError, Verdict


def test_an_answer_that_sympy_never_finishes_costs_only_itself(start_service) -> None:
    """Its worker is killed; it is an error and no score, and the items beside it have theirs."""
    service = start_service("services.math", "--metrics-port", "0")
    items = [Item(str(n), "", rf"\boxed{{{n}}}", {"gold": n % 3}) for n in range(20)]
    endless = r"\boxed{\int_0^{\infty} e^{-x^{2}} \sin(x^{7}) dx}"
    items.insert(7, Item("endless", "", endless, {"gold": r"\{1, 2\}"}, timeout_seconds=1.0))
    client = ScoringClient("math", service.address, patience_seconds=5.0)
    outcomes = client.score(items, 60.0)
    client.close()
    error = outcomes.pop("endless")
    assert isinstance(error, ItemError)
    assert error.reason is ErrorReason.DEADLINE
    right = {id_ for id_, outcome in outcomes.items() if isinstance(outcome, Verdict) and outcome.label == "correct"}
    assert right == {"0", "1", "2"}
    assert len(outcomes) == 20
    assert service.end() == 0
