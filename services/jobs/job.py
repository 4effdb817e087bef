"""What a job is: its states, which may follow which, and the events of its history. Plain types, no protobuf."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

MAX_CONFIG_BYTES = 1024 * 1024
DEFAULT_MAX_ATTEMPTS = 3

_JOB_ID = re.compile(r"[a-z0-9-]{1,64}")
_MAX_NAME_CHARACTERS = 100
_MAX_ATTEMPTS = 100


class JobState(StrEnum):
    """Where a job stands; the names are those of `JobState` in the protocol."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        """Whether nothing may follow."""
        return not NEXT_STATES[self]


NEXT_STATES: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
        # RUNNING again: another worker takes over from one that died
        JobState.RUNNING: frozenset(
            {JobState.RUNNING, JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
        ),
        JobState.SUCCEEDED: frozenset(),
        JobState.FAILED: frozenset(),
        JobState.CANCELLED: frozenset(),
    }
)


@dataclass(frozen=True, slots=True)
class Job:
    """One training job. Times are seconds since the epoch, 0 where it has not happened yet."""

    id: str
    name: str
    state: JobState
    submitted_at: float
    message: str = ""
    step: int = 0
    total_steps: int = 0
    attempts: int = 0
    """How often a worker took it up."""
    failures: int = 0
    """How many of the attempts ended in a crash, of the trainer or of the worker."""
    started_at: float = 0.0
    ended_at: float = 0.0
    run_dir: str = ""
    config_json: str = ""
    """The job file as it was submitted; empty in lists and in events."""
    deduplicated: bool = False
    """Whether a submission met a job that was there."""

    @property
    def config(self) -> dict[str, Any]:
        return json.loads(self.config_json)

    @property
    def max_attempts(self) -> int:
        """After this many crashes the job is given up."""
        return self.config["job"].get("max_attempts", DEFAULT_MAX_ATTEMPTS)


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """Metrics of one optimizer step, `area/name` to value."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that the trainer wrote."""

    line: str


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job; `what` is the job where its state changed."""

    cursor: str
    """Place in the job's history: pass it to read on after it."""
    at: float
    what: Job | StepMetrics | LogLine


def check_config(config_json: str) -> str:
    """The job's name. Raises ValueError, which names the field, for what cannot be a job file.

    Looks only at what the queue needs: a JSON object of at most 1 MiB with `job.name`, and `job.max_attempts` where it
    is given. Everything else is the trainer's to check.
    """
    if (size := len(config_json.encode())) > MAX_CONFIG_BYTES:
        raise ValueError(f"config_json has {size} bytes; at most {MAX_CONFIG_BYTES} are accepted")
    try:
        config = json.loads(config_json)
    except (ValueError, RecursionError) as error:  # ValueError too: a number of thousands of digits
        raise ValueError(f"config_json is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"config_json is a JSON {type(config).__name__}, not an object")
    job = config.get("job")
    if not isinstance(job, dict):
        raise ValueError("config_json has no object `job`")
    name = job.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > _MAX_NAME_CHARACTERS or not name.isprintable():
        raise ValueError(f"`job.name` must be a printable text of 1 to {_MAX_NAME_CHARACTERS} characters")
    attempts = job.get("max_attempts", DEFAULT_MAX_ATTEMPTS)
    if isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= _MAX_ATTEMPTS:
        raise ValueError(f"`job.max_attempts` must be a whole number from 1 to {_MAX_ATTEMPTS}")
    return name


def is_job_id(text: str) -> bool:
    """Whether a job can be called so. What cannot is not looked up: it may be the name of something else in the store."""
    return _JOB_ID.fullmatch(text) is not None


def new_job_id(name: str) -> str:
    """`<slug of the name>-<8 hexadecimal digits>`, good as a folder name."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    return f"{slug or 'job'}-{secrets.token_hex(4)}"
