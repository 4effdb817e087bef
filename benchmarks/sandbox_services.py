"""A sandbox service and a code service, for what is measured from a client's side."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.services import Services, service
from services.client.scoring import ScoringClient
from services.verdicts import Outcome, Verdict

TESTS = "code/tests"


class JudgingServices(Services):
    """Both, with the defaults that users get."""

    def __init__(self) -> None:
        super().__init__([service(name, f"services.{name}") for name in ("sandbox", "code")])

    def environment(self, name: str) -> Mapping[str, str]:
        own = super().environment(name)
        return {**own, "ASSAY_SANDBOX_ADDRESS": self.address("sandbox")} if name == "code" else own

    def client(self) -> ScoringClient:
        """Of the code service."""
        return ScoringClient("code", self.address("code"))


def passes(outcome: Outcome) -> bool:
    """Whether anything of the outcome would be taken for a pass."""
    return isinstance(outcome, Verdict) and (outcome.label == "pass" or outcome.components[TESTS] > 0)
