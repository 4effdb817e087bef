"""An engine host that waits for files instead of computing, so that tests decide when it goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any


class WaitingHost:
    """Writes `started` into the folder at each call."""

    def __init__(self, folder: str, policies: list[Any]) -> None:
        self.folder = Path(folder)

    def generate(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Goes on until it is told that its caller went away, where it is asked to wait."""
        (self.folder / "started").touch()
        while payload["wait"] and not Path(payload["cancel_file"]).exists():
            time.sleep(0.01)
        return {"result": "done"}

    def update_weights(self, source: dict[str, Any]) -> dict[str, Any]:
        """Waits for the file `go`; holds the policy of this update only."""
        (self.folder / "started").touch()
        while not (self.folder / "go").exists():
            time.sleep(0.01)
        return {"result": {source["policy"]: source["version"]}}
