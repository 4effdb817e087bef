"""Collections: what a trainer asks of the collectors, and how the scored groups come back to it through Redis.

An experience is kept under the key of its request, once: whatever a second delivery of the request computes is thrown
away. A list tells the trainer what has come; it is only a bell, for the trainer also looks under the keys themselves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from celery import Celery
from pydantic import BaseModel, ConfigDict, Field, model_validator
from redis import Redis

from services.experience import Experience, experience_from_bytes, experience_to_bytes
from services.queue.queues import COLLECT_TASK, visibility_timeout_seconds

KEEP_SECONDS = 3600
"""How long an experience waits for its trainer."""

_LOOK_SECONDS = 1
_PAUSE_SHARE = 0.2

Name = Annotated[str, Field(min_length=1, max_length=200)]

# KEYS: experience, bell.  ARGV: bytes, keep seconds, key
_DELIVER = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
"""


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class CollectionPrompt(_Plain):
    """A prompt to roll out; `checks` goes to every scorer of its domain."""

    id: Name
    domain: Name
    text: Annotated[str, Field(min_length=1)]
    checks: dict[str, Any] = Field(default_factory=dict)


class CollectionSampling(_Plain):
    """How to sample; see `services.rollout.engine.Sampling`."""

    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    max_new_tokens: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0


class CollectionRequest(_Plain):
    """One collection task: sample these prompts, score the samples, send the result back."""

    key: Name
    """Equal keys are the same collection, which is delivered once."""
    reply_to: Name
    """Names the trainer's bell; all requests of one `collect` have the same."""
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
    scoring_attempts: Annotated[int, Field(ge=1)] = 3
    """How often an item whose error may pass is sent to its scorer."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 300.0
    """For sampling and scoring together, from the moment a collector takes the request up."""

    @model_validator(mode="after")
    def _every_domain_has_scorers(self) -> CollectionRequest:
        for place, prompt in enumerate(self.prompts):
            if prompt.domain not in self.scorers:
                raise ValueError(f"prompts[{place}].domain is {prompt.domain!r}; scorers has {sorted(self.scorers)}")
        return self


class Collections:
    """Both ends of the way: requests out through Celery, experiences back through Redis. Thread-safe."""

    def __init__(self, redis: Redis, app: Celery) -> None:
        self._redis = redis
        self._app = app
        self._deliver = redis.register_script(_DELIVER)

    # ---- the trainer's end

    def enqueue(self, request: CollectionRequest) -> None:
        """Sends a request to the collectors. One whose experience is waiting already is not computed again."""
        # an empty value marks an experience that was collected: who asks again wants it again
        if self._redis.get(_name(request.key)) == b"":
            self._redis.delete(_name(request.key))
        self._send(request, ticket="")

    def collect(self, keys: Sequence[str], reply_to: str, timeout_seconds: float) -> Iterator[Experience]:
        """The experiences of these keys, each once, as they come; other keys and doubles are passed over.

        An experience counts as taken when the next one is asked for: then its bytes are given free.
        Raises TimeoutError, which says how many are outstanding, when `timeout_seconds` have passed since the last one.
        """
        outstanding = set(keys)
        deadline = time.monotonic() + timeout_seconds
        look_at = list(keys)
        while outstanding:
            for key in look_at:
                data: Any = self._redis.get(_name(key)) if key in outstanding else None
                if data:
                    outstanding.remove(key)
                    yield experience_from_bytes(data)
                    self._redis.set(_name(key), b"", xx=True, keepttl=True)
                    deadline = time.monotonic() + timeout_seconds
            if not outstanding:
                return
            if time.monotonic() >= deadline:
                raise TimeoutError(
                    f"{len(outstanding)} of {len(keys)} collections did not come within {timeout_seconds:g} seconds;"
                    f" one of them is {min(outstanding)!r}"
                )
            rung: Any = self._redis.blpop([_bell(reply_to)], timeout=_LOOK_SECONDS)
            # silence may be a ring that was lost with a connection
            look_at = [rung[1].decode()] if rung else sorted(outstanding)

    # ---- the collector's end

    def send_again(self, request: CollectionRequest, ticket: str) -> None:
        """Sends a request that somebody works on again with a ticket, to be looked at after a pause."""
        self._send(request, ticket, countdown=_PAUSE_SHARE * visibility_timeout_seconds())

    def deliver(self, reply_to: str, experience: Experience) -> bool:
        """Stores an experience and rings the trainer's bell; False where the key was delivered before."""
        keys = [_name(experience.key), _bell(reply_to)]
        return bool(self._deliver(keys=keys, args=[experience_to_bytes(experience), KEEP_SECONDS, experience.key]))

    def delivered(self, key: str) -> bool:
        """Whether nothing is left to do for this key."""
        return bool(self._redis.exists(_name(key)))

    def _send(self, request: CollectionRequest, ticket: str, **options: Any) -> None:
        # Celery's own representation would put prompts into the message's headers, and from there into logs
        kwargs = {"request": request.model_dump(mode="json"), "ticket": ticket}
        self._app.send_task(COLLECT_TASK, kwargs=kwargs, kwargsrepr="{...}", **options)


def _name(key: str) -> str:
    return f"assay:experience:{key}"


def _bell(reply_to: str) -> str:
    return f"assay:bell:{reply_to}"
