"""A cacheable scorer for tests: it counts what it scores, in a file, and is slow, late or moody on demand."""

import os
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from services.verdicts import Component, ErrorReason, ItemError, Verdict


class ReckonerChecks(BaseModel):
    model_config = ConfigDict(extra="forbid")

    factor: float = 1.0
    note: str = ""


class Reckoner:
    """Scores the length of the response times the factor; each item that it scores is a line of its ledger."""

    name = "reckoner"
    version = "1"
    components = (Component("reckoner/length", "", 0, 1e9), Component("reckoner/half", "only for even lengths", 0, 1e9))
    checks = ReckonerChecks
    batch_size = 4
    timeout_seconds = 5.0
    cacheable = True

    def __init__(self, ledger, taste=0):
        self._ledger = Path(ledger)
        self._taste = taste
        model = self._ledger.with_name("model")
        if model.exists():
            self.version = model.read_text()

    def score(self, items):
        with self._ledger.open("a") as ledger:
            for item in items:
                ledger.write(f"{item.response}\n")
        return [self._outcome(item) for item in items]

    def _outcome(self, item):
        factor = ReckonerChecks.model_validate(item.checks).factor
        command, _, rest = item.response.partition(" ")
        if command == "sleep":
            time.sleep(float(rest.split()[0]))
        elif command == "wait":  # until the file is there
            while not Path(rest.split()[0]).exists():
                time.sleep(0.01)
        elif command == "die":
            os._exit(1)
        elif command == "error":
            return ItemError(ErrorReason.UNAVAILABLE, "not now")
        length = len(item.response) * factor + self._taste
        components = {"reckoner/length": length}
        if length % 2 == 0:
            components["reckoner/half"] = length / 2
        return Verdict(components, "done", {"length": f"{length:g}"}, repeatable=command != "moody")


class Sweet(Reckoner):
    """Has its parent's name and version, and other verdicts."""

    def __init__(self, ledger):
        super().__init__(ledger, taste=100)
