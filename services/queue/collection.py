"""Collections: what a trainer asks of the collectors, and how the scored groups come back to it through Redis.

Each group is kept under the key of its prompt, once: whatever a second delivery of its task computes is thrown away.
Under a key there is nothing (the group is wanted, if a task for it exists), the bytes of its experience, or no bytes at
all: it was received or withdrawn, and nothing is left to do for it. The keys are the truth; a bell wakes the trainer.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from celery import Celery
from pydantic import BaseModel, ConfigDict, Field, model_validator
from redis import Redis

from services.experience import Experience, experience_from_bytes, experience_to_bytes
from services.queue.connection import UNREACHABLE
from services.queue.queues import COLLECT_TASK, visibility_timeout_seconds

KEEP_SECONDS = 3600
"""How long an experience waits for its trainer."""

_LOOK_SECONDS = 1.0
_PAUSE_SHARE = 0.2
_MOST_BYTES = 8 * 2**20
_CLOSED = b""
_ARRIVALS = "assay:arrivals"
_PLACE_CHARACTERS = 16
# of Celery, while Redis is away: about as long as `connect` waits by default
_PATIENCE = {"max_retries": 60, "interval_start": 0.05, "interval_step": 0.1, "interval_max": 0.5}

Name = Annotated[str, Field(min_length=1, max_length=200)]

# What is kept begins with its place in the order of arrival.
# KEYS: experience, bell, number of arrivals.  ARGV: bytes, keep seconds
_DELIVER = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local place = string.format('%016d', redis.call('INCR', KEYS[3]))
redis.call('SET', KEYS[1], place .. ARGV[1], 'EX', ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('RPUSH', KEYS[2], '') end
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
"""
# Answers index and bytes of those that came first, and silences the bell: it rings again for what comes after this look.
# KEYS: bell, experiences.  ARGV: most bytes, but for one experience
_LOOK = """
redis.call('DEL', KEYS[1])
local there = {}
for index = 2, #KEYS do
  local place = redis.call('GETRANGE', KEYS[index], 0, 15)
  if #place == 16 then table.insert(there, place .. index) end
end
table.sort(there)
local found, size = {}, 0
for _, entry in ipairs(there) do
  local index = tonumber(string.sub(entry, 17))
  size = size + redis.call('STRLEN', KEYS[index])
  if #found > 0 and size > tonumber(ARGV[1]) then break end
  table.insert(found, index - 2)
  table.insert(found, redis.call('GET', KEYS[index]))
end
return found
"""
# KEYS: experiences
_REOPEN = """
for _, key in ipairs(KEYS) do
  if redis.call('STRLEN', key) == 0 then redis.call('DEL', key) end
end
"""


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class CollectionPrompt(_Plain):
    """A prompt to roll out; `checks` goes to every scorer of its domain."""

    key: Name
    """Of the experience that is wanted; equal keys are the same group, which is delivered once. It must hold whatever
    tells the group from others, the attempt at the job included."""
    id: Name
    """Unique within the request, and part of the random stream of its samples."""
    domain: Name
    text: Annotated[str, Field(min_length=1)]
    checks: dict[str, Any] = Field(default_factory=dict)


class CollectionSampling(_Plain):
    """How to sample; see `services.rollout.engine.Sampling`."""

    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_new_tokens: Annotated[int, Field(ge=1)]
    stop: tuple[str, ...] = ()
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0


class CollectionEnvironment(_Plain):
    """What answers the policy between its turns; see `services.queue.environment`."""

    path: Annotated[str, Field(min_length=1)]
    """Import path `pkg.mod:Class`."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    max_turns: Annotated[int, Field(ge=1)] = 8
    """Turns of the policy in one completion."""
    reply_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Longest time for one reply; a completion whose environment takes longer is missing."""


class CollectionRequest(_Plain):
    """One collection task: sample these prompts, score the samples, deliver each group as soon as it is scored."""

    key: Name
    """Of the task: names its lease. A second task for some of the same prompts has a key of its own."""
    reply_to: Name
    """Names the trainer's bell; all requests of a trainer have the same."""
    policy: Name
    min_policy_version: Annotated[int, Field(ge=0)]
    prompts: Annotated[tuple[CollectionPrompt, ...], Field(min_length=1)]
    samples: Annotated[int, Field(ge=1)]
    """Completions for each prompt."""
    sampling: CollectionSampling
    scorers: dict[str, tuple[Name, ...]]
    """Domain to the names of its scorers; none at all where its samples are not to be scored."""
    reference_policy: str = ""
    """Policy whose log-probabilities of the samples are wanted as well; empty for none."""
    teacher_policy: str = ""
    """Likewise."""
    environment: CollectionEnvironment | None = None
    """Completions then have several turns; `sampling.max_new_tokens` is for all tokens of a completion, given ones too."""
    scoring_attempts: Annotated[int, Field(ge=1)] = 3
    """How often an item whose error may pass is sent to its scorer."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 300.0
    """For sampling and scoring together, from the moment a collector takes the request up."""

    @model_validator(mode="after")
    def _prompts_fit(self) -> CollectionRequest:
        for place, prompt in enumerate(self.prompts):
            if prompt.domain not in self.scorers:
                raise ValueError(f"prompts[{place}].domain is {prompt.domain!r}; scorers has {sorted(self.scorers)}")
        for field in ("key", "id"):
            count = Counter(getattr(prompt, field) for prompt in self.prompts)
            for value in (value for value, times in count.items() if times > 1):
                raise ValueError(f"prompts: the {field} {value!r} is there twice; it must be unique within a request")
        return self


class Collections:
    """Both ends of the way: requests out through Celery, experiences back through Redis. Thread-safe.

    Methods raise redis-py's errors where Redis is away for longer than its client waits; a call may then be repeated.
    """

    def __init__(self, redis: Redis, app: Celery) -> None:
        self._redis = redis
        self._app = app
        self._deliver = redis.register_script(_DELIVER)
        self._look = redis.register_script(_LOOK)
        self._reopen = redis.register_script(_REOPEN)

    # ---- the trainer's end

    def enqueue(self, request: CollectionRequest) -> None:
        """Sends a request to the collectors. A group that waits to be received is not computed again; one that was
        received or withdrawn is.
        """
        self._reopen(keys=[_name(prompt.key) for prompt in request.prompts])
        self._send(request, ticket="")

    def receive(self, keys: Sequence[str], reply_to: str, wait_seconds: float) -> list[Experience]:
        """The experiences of these keys that are there, in the order in which they came; other keys are passed over.

        Waits until there is one, `wait_seconds` at most; none where none came. An experience that was received counts as
        taken: its bytes are given free, and it is never received again, unless its key is asked for anew (`enqueue`).
        Of many at once those that came first are received, up to 8 MiB, the others at the next call.
        """
        wanted = list(dict.fromkeys(keys))
        deadline = time.monotonic() + wait_seconds
        while wanted:
            found = self._fetch(wanted, reply_to)
            remaining = deadline - time.monotonic()
            if found or remaining <= 0:
                return found
            # silence may be a ring that was lost with a connection. Redis takes 0 for "for ever"
            self._redis.blpop([_bell(reply_to)], timeout=max(0.001, min(remaining, _LOOK_SECONDS)))  # pyright: ignore
        return []

    def withdraw(self, keys: Sequence[str]) -> None:
        """For groups that nobody wants any more: those delivered are deleted, those not begun are skipped."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.set(_name(key), _CLOSED, ex=KEEP_SECONDS)
            pipeline.execute()

    def _fetch(self, keys: Sequence[str], reply_to: str) -> list[Experience]:
        answer: Any = self._look(keys=[_bell(reply_to), *map(_name, keys)], args=[_MOST_BYTES])
        taken = [str(keys[index]) for index in answer[::2]]
        found = [experience_from_bytes(data[_PLACE_CHARACTERS:]) for data in answer[1::2]]
        # not in the same step as the look, whose answer may get lost with a connection and the experiences with it; and
        # where it fails they are received all the same, their bytes then wait until they expire
        with contextlib.suppress(*UNREACHABLE), self._redis.pipeline(transaction=False) as pipeline:
            for key in taken:
                pipeline.set(_name(key), _CLOSED, xx=True, keepttl=True)
            pipeline.execute()
        return found

    # ---- the collector's end

    def send_again(self, request: CollectionRequest, ticket: str) -> None:
        """Sends a request that somebody works on again with a ticket, to be looked at after a pause."""
        self._send(request, ticket, countdown=_PAUSE_SHARE * visibility_timeout_seconds())

    def deliver(self, reply_to: str, experience: Experience) -> bool:
        """Stores an experience and rings the trainer's bell; False where nothing was left to do for its key."""
        keys = [_name(experience.key), _bell(reply_to), _ARRIVALS]
        return bool(self._deliver(keys=keys, args=[experience_to_bytes(experience), KEEP_SECONDS]))

    def open(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys whose group is neither delivered nor withdrawn."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.exists(_name(key))
            return {key for key, closed in zip(keys, pipeline.execute(), strict=True) if not closed}

    def _send(self, request: CollectionRequest, ticket: str, **options: Any) -> None:
        # Celery's own representation would put prompts into the message's headers, and from there into logs
        kwargs = {"request": request.model_dump(mode="json"), "ticket": ticket}
        self._app.send_task(COLLECT_TASK, kwargs=kwargs, kwargsrepr="{...}", retry_policy=_PATIENCE, **options)


def _name(key: str) -> str:
    return f"assay:experience:{key}"


def _bell(reply_to: str) -> str:
    return f"assay:bell:{reply_to}"
