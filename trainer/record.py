"""`rollouts.jsonl`: every group that was trained on, for people to read and for programs to check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from services.experience import ScoredCompletion, ScoredGroup
from trainer.lines import reopen


class RolloutRecord:
    """Appends a line for each group: `{"step", "prompt", "domain", "completions"}`. A step stands in it once.

    `prompt` is the group's place in the run's order and the prompt's id. Of a completion: text, number of tokens, oldest
    and newest version of the weights that sampled it, why it ended, components, and what is missing.
    """

    def __init__(self, run_dir: Path, first_step: int, enabled: bool) -> None:
        """Drops what is there from `first_step` on. enabled: whether anything is written."""
        self._file = None
        if enabled:
            self._file = reopen(run_dir / "rollouts.jsonl", lambda line: line["step"] < first_step)

    def write(self, step: int, groups: Sequence[ScoredGroup]) -> None:
        """The groups of one step."""
        if self._file is None:
            return
        for group in groups:
            line = {
                "step": step,
                "prompt": group.prompt_id,
                "domain": group.domain,
                "completions": [_told(scored) for scored in group.completions],
            }
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def __enter__(self) -> RolloutRecord:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _told(scored: ScoredCompletion) -> dict[str, Any]:
    completion = scored.completion
    versions = completion.token_versions or (completion.policy_version,)
    return {
        "text": completion.text,
        "tokens": len(completion.token_ids),
        "versions": [min(versions), max(versions)],
        "finish": completion.finish_reason.value,
        "components": dict(sorted(scored.components.items())),
        "missing": dict(sorted(scored.missing.items())),
    }
