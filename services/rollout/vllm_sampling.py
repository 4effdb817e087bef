"""What vLLM is asked for a sample or for the log-probabilities of given tokens, and what its answer says."""

# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from services.rollout.canary import check_finite
from services.rollout.engine import Completion, EngineError, EngineFault, FinishReason, Sampling, TokenSequence
from services.rollout.text import Text
from services.rollout.vllm_core import Core


@dataclass(frozen=True, slots=True)
class Ask:
    """For one completion of `prompt`. Nothing loads weights meanwhile."""

    core: Core
    text: Text
    prompt: Sequence[int]
    sampling: Sampling
    seed: int
    """Below 2**63."""
    version: int
    """Of the policy."""
    adapter: Any
    """vLLM's `LoRARequest`, or None."""


def stream_seed(seed: int, prompt_id: str, sample: int) -> int:
    """Below 2**63; depends on the arguments and on nothing else, so that a sample has a random stream of its own."""
    digest = hashlib.blake2b(f"{seed}/{sample}/{prompt_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


async def sample(ask: Ask) -> Completion:
    """A completion as the policy writes it. Raises EngineError."""
    sampling = ask.sampling
    limits = {"max_tokens": sampling.max_new_tokens, "stop": list(sampling.stop), "detokenize": bool(sampling.stop)}
    params = _params(sampling, seed=ask.seed, stop_token_ids=list(ask.text.stop_ids), **limits)
    output = (await ask.core.ask(ask.prompt, params, ask.adapter)).outputs[0]
    return _completion(ask, output.token_ids, _drawn_logprobs(output), _versions(ask, output), output.finish_reason)


async def choose(ask: Ask, choices: Sequence[Sequence[int]]) -> Completion:
    """One of the choices and an end of the sequence, drawn token by token. Raises EngineError.

    Each token is a request of its own with only the tokens allowed that some choice goes on with. vLLM's guidance by a
    grammar would take any tokens that write the text, and log-probabilities of the guided policy.
    """
    drawn: list[int] = []
    logprobs: list[float] = []
    versions: list[int] = []
    while not drawn or drawn[-1] not in ask.text.stop_ids:
        open_choices = [choice for choice in choices if list(choice[: len(drawn)]) == drawn]
        allowed = {choice[len(drawn)] for choice in open_choices if len(choice) > len(drawn)}
        if any(len(choice) == len(drawn) for choice in open_choices):
            allowed |= set(ask.text.stop_ids)
        seed = stream_seed(ask.seed, "", len(drawn))
        params = _params(ask.sampling, seed=seed, max_tokens=1, allowed_token_ids=sorted(allowed), detokenize=False)
        output = (await ask.core.ask([*ask.prompt, *drawn], params, ask.adapter)).outputs[0]
        drawn.extend(output.token_ids)
        logprobs.extend(_drawn_logprobs(output))
        versions.extend(_versions(ask, output))
    return _completion(ask, drawn, logprobs, versions, "stop")


async def given_logprobs(core: Core, sequence: TokenSequence, adapter: Any) -> tuple[float, ...]:
    """Of each completion token, in nats; whatever numbers the engine computes. Raises EngineError.

    The last token is not read but drawn, with no other allowed: a sequence may then be as long as the model's positions,
    and vLLM takes the log-probability before it looks at what is allowed.
    """
    if not sequence.completion_token_ids:
        return ()
    *read, last = sequence.prompt_token_ids + sequence.completion_token_ids
    more = {"prompt_logprobs": 0} if len(sequence.completion_token_ids) > 1 else {}
    params = _params(Sampling(temperature=0.0), max_tokens=1, allowed_token_ids=[last], detokenize=False, **more)
    answer = await core.ask(read, params, adapter)
    before: Any = answer.prompt_logprobs
    values = [before[place][read[place]].logprob for place in range(len(sequence.prompt_token_ids), len(read))]
    return tuple(map(float, [*values, *_drawn_logprobs(answer.outputs[0])]))


def _params(sampling: Sampling, *, prompt_logprobs: int | None = None, **more: Any) -> Any:
    """vLLM's `SamplingParams`: the log-probability of each token that is drawn, and one answer when all are."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p or 1.0,
        min_p=sampling.min_p,
        ignore_eos=True,  # `stop_token_ids` says all
        logprobs=0,
        prompt_logprobs=prompt_logprobs,
        flat_logprobs=prompt_logprobs is None,
        output_kind=RequestOutputKind.FINAL_ONLY,
        **more,
    )


def _completion(
    ask: Ask, ids: Sequence[int], logprobs: Sequence[float], versions: Sequence[int], reason: str
) -> Completion:
    if not len(ids) == len(logprobs) == len(versions):
        raise EngineError(
            EngineFault.INTERNAL,
            f"vLLM gave {len(logprobs)} log-probabilities and {len(versions)} versions for {len(ids)} tokens",
        )
    check_finite(logprobs)
    return Completion(
        token_ids=tuple(ids),
        logprobs=tuple(map(float, logprobs)),
        text=ask.text.before_stop(list(ids), ask.sampling.stop),
        finish_reason=FinishReason.STOP if reason == "stop" else FinishReason.LENGTH,
        policy_version=min(versions, default=ask.version),
        token_versions=tuple(versions),
    )


def _drawn_logprobs(output: Any) -> list[float]:
    """Of the tokens that were drawn; vLLM puts each before others of its place."""
    logprobs = output.logprobs
    if hasattr(logprobs, "start_indices"):
        return [logprobs.logprobs[start] for start in logprobs.start_indices]
    return [place[token].logprob for place, token in zip(logprobs, output.token_ids, strict=True)]


def _versions(ask: Ask, output: Any) -> list[int]:
    """As vLLM's own process wrote them beside the tokens; it knows those of whole weights only."""
    if ask.adapter is not None:
        return [ask.version] * len(output.token_ids)
    return [int(span.version) for span in output.weight_versions or () for _ in range(span.start, span.end)]


async def all_at_once(works: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """What the coroutines give, in order; all run at once; where one fails the others are cancelled."""
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
