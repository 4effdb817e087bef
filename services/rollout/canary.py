"""The canary: does the engine compute with the weights that the trainer has? Its log-probabilities of given tokens say so.

An update that is told to have worked may leave some of the old weights in place, tied embeddings above all. Nothing but
the numbers shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from services.rollout.engine import EngineError, EngineFault, Probe


def check_canary(probes: Sequence[Probe], found: Sequence[Sequence[float]], tolerance: float) -> float:
    """The largest absolute difference in nats; 0 without probes.

    found: the engine's log-probabilities for `Probe.sequence` of each probe, one for each completion token.

    Raises EngineError (DATA_LOSS) where the difference is above `tolerance`, or a log-probability is not finite.
    """
    worst, where = 0.0, (0, 0)
    for place, (probe, values) in enumerate(zip(probes, found, strict=True)):
        for token, (right, value) in enumerate(zip(probe.logprobs, values, strict=True)):
            difference = abs(value - right)
            if not math.isfinite(difference):
                raise _missed(f"is {value}", (place, token), tolerance)
            if difference > worst:
                worst, where = difference, (place, token)
    if worst > tolerance:
        raise _missed(f"differs by {worst:.3g} nats", where, tolerance)
    return worst


def check_finite(logprobs: Iterable[float]) -> None:
    """Raises EngineError (INTERNAL) where one is not a number, or infinite: nobody can train on it."""
    if not all(map(math.isfinite, logprobs)):
        raise EngineError(EngineFault.INTERNAL, "the policy's log-probabilities are not finite")


def _missed(how: str, where: tuple[int, int], tolerance: float) -> EngineError:
    place, token = where
    return EngineError(
        EngineFault.DATA_LOSS,
        f"canary: the engine's log-probability {how} at token {token} of probe {place}; tolerance {tolerance:g}",
    )
