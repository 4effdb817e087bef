"""The transformers engine called directly, as tests want it: everything at once and in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from services.rollout.engine import Generation, Prompt, PromptCompletions, Sampling, TokenSequence, WeightSource
from services.rollout.transformers_engine import TransformersEngine


def never() -> None:
    """An interrupt that does not come."""


def load(engine: TransformersEngine, policy: str, version: int, directory: Path, sha256: str = "") -> None:
    """Serves a directory without a canary."""
    engine.update_weights(WeightSource(policy, version, str(directory), sha256))


def engine_with(directory: Path, *, rows: int = 64) -> TransformersEngine:
    """One that holds version 3 of `policy`."""
    engine = TransformersEngine(4, rows, "float32", "cpu")
    load(engine, "policy", 3, directory)
    return engine


def generated(
    engine: TransformersEngine,
    policy: str,
    prompts: Sequence[Prompt],
    samples: int,
    sampling: Sampling,
    min_policy_version: int = 0,
    interrupt: Callable[[], None] = never,
) -> list[PromptCompletions]:
    """Every completion, in the order of prompts and samples."""
    request = Generation(policy, tuple(prompts), samples, sampling, min_policy_version)
    found = {(each.prompt, each.sample): each for each in engine.generate(request, interrupt)}
    assert len(found) == len(prompts) * samples
    return [
        PromptCompletions(
            prompt.id,
            found[place, 0].prompt_token_ids,
            tuple(found[place, sample].completion for sample in range(samples)),
        )
        for place, prompt in enumerate(prompts)
    ]


def scored(
    engine: TransformersEngine, policy: str, sequences: Sequence[TokenSequence]
) -> tuple[tuple[float, ...], ...]:
    """Log-probabilities of given tokens."""
    return engine.logprobs(policy, sequences, never).sequences
