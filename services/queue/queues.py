"""The two queues: their names, their tasks, and how soon a dead worker's message is delivered again."""

from __future__ import annotations

import os

ROLLOUTS = "rollouts"
TRAINING = "training"
COLLECT_TASK = "assay.collect"
TRAIN_TASK = "assay.train"

_DEFAULT_VISIBILITY_TIMEOUT_SECONDS = 30.0
_LONGEST_LEASE_SECONDS = 10.0


def visibility_timeout_seconds() -> float:
    """After how long a dead worker's message is delivered again: `ASSAY_VISIBILITY_TIMEOUT_SECONDS`, at least 1.

    Raises ValueError, which names the variable.
    """
    text = os.environ.get("ASSAY_VISIBILITY_TIMEOUT_SECONDS", "")
    if not text:
        return _DEFAULT_VISIBILITY_TIMEOUT_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds <= 86400.0:
        raise ValueError(f"ASSAY_VISIBILITY_TIMEOUT_SECONDS is {text!r}: expected seconds between 1 and 86400")
    return seconds


def lease_seconds() -> float:
    """How long a lease lasts without renewal: run out before the message of a dead worker comes again."""
    return min(_LONGEST_LEASE_SECONDS, visibility_timeout_seconds() / 3)
