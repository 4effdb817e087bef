"""`python -m services.safety` and `python -m services.coherence`, as a client sees them."""

from __future__ import annotations

import pytest

from services.client.scoring import ScoringClient
from services.verdicts import Item, Verdict


@pytest.mark.parametrize(("name", "components"), [("safety", 3), ("coherence", 6)])
def test_serves_every_component(start_service, name: str, components: int) -> None:
    service = start_service(f"services.{name}", "--metrics-port", "0")
    client = ScoringClient(name, service.address, patience_seconds=5.0)
    checks = {"persona": "I keep dogs."} if name == "coherence" else {}
    (outcome,) = client.score([Item("1", "Who are you?", "I am a friend of dogs.", checks)], 60.0).values()
    client.close()
    assert isinstance(outcome, Verdict)
    assert len(outcome.components) == components
    assert service.end() == 0
