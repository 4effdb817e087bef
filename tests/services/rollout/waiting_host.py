"""An engine host that waits for files instead of computing, so that tests decide when it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class WaitingHost:
    """Holds the policy of the last update only. Writes `started` into the folder once a batch or an update is computed,
    and the name of each call, a line each, into `calls`."""

    def __init__(self, folder: str, policies: list[Any]) -> None:
        self.folder = Path(folder)
        self.held = [policy["source"]["policy"] for policy in policies]

    def dtype(self, payload: None) -> str:
        return "float32"

    def begin(self, payload: dict[str, Any]) -> dict[str, Any]:
        """As many batches as the request has prompts."""
        self.request = payload["request"]
        return self._answer("begin", len(self.request["prompts"]))

    def sample(self, payload: dict[str, Any]) -> Iterator[Any]:
        """Yields one completion without tokens; where the prompt says `wait`, goes on until the caller went away."""
        completion = {
            "token_ids": [],
            "logprobs": [],
            "text": "",
            "finish_reason": "LENGTH",
            "policy_version": 1,
        }
        yield {"prompt": payload["batch"], "sample": 0, "prompt_token_ids": [1], "completion": completion}
        (self.folder / "started").touch()
        text = self.request["prompts"][payload["batch"]]["text"]
        while text == "wait" and not Path(payload["limits"]["cancel_file"]).exists():
            time.sleep(0.01)
        while text == "gate" and not (self.folder / "go").exists():
            time.sleep(0.01)
        return self._answer("sample", None)

    def logprobs(self, payload: dict[str, Any]) -> dict[str, Any]:
        return self._answer("logprobs", {"sequences": [], "policy_version": 1})

    def update_weights(self, source: dict[str, Any]) -> dict[str, Any]:
        """Waits for the file `go`."""
        (self.folder / "started").touch()
        while not (self.folder / "go").exists():
            time.sleep(0.01)
        self.held = [source["policy"]]
        return self._answer("update_weights", 0.25)

    def _answer(self, name: str, result: Any) -> dict[str, Any]:
        with (self.folder / "calls").open("a") as calls:
            calls.write(f"{name}\n")
        return {"result": result, "held": self.held}
