"""Samples with Hugging Face transformers: the engine that needs nothing but PyTorch, on a CPU or an accelerator.

What it does not guarantee: that a prompt's samples are the same in another request. Their random numbers are, but
batches of another make-up round differently in the last bits, which now and then turns a draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog
import torch
from transformers.utils import logging as transformers_logging

from services.rollout.adapter import lay_on
from services.rollout.canary import check_canary, check_finite
from services.rollout.engine import (
    Completion,
    EngineError,
    EngineFault,
    Finished,
    FinishReason,
    Generation,
    Interrupt,
    SequenceLogprobs,
    TokenSequence,
    WeightSource,
)
from services.rollout.generation import Batch, sample_batch
from services.rollout.guidance import Choices, StopStrings
from services.rollout.held import check_new_enough, find, find_base, is_sent_again
from services.rollout.policy import Loaded, Policy, load_policy
from services.rollout.sampling import uniform_stream
from services.rollout.scoring import sequence_logprobs


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that was checked and taken apart: what `sample` computes, batch by batch, by the same weights."""

    request: Generation
    policy: Policy
    encoded: Sequence[Sequence[int]]
    """Tokens of the prompts."""
    choices: Sequence[Sequence[int]]
    """Tokens of `Sampling.choices`."""
    rows: Sequence[tuple[int, int]]
    """(prompt, sample) of every completion, in the order in which they are sampled."""
    max_rows: int

    @property
    def batches(self) -> int:
        """How many there are."""
        return -(-len(self.rows) // self.max_rows)


class TransformersEngine:
    """Holds up to `max_policies` and gives up the one that was not used for longest. Every method raises EngineError.

    One call at a time; `services.rollout.engine_process` makes a `RolloutEngine` of it.

    dtype: `float32`, `bfloat16`, `float16`, or `auto`: float32 on a CPU, bfloat16 elsewhere.
    device: a torch device, or `auto`: the accelerator where there is one.
    max_batch_sequences: most sequences that are sampled or scored at once.
    """

    def __init__(self, max_policies: int, max_batch_sequences: int, dtype: str, device: str) -> None:
        transformers_logging.disable_progress_bar()
        transformers_logging.disable_default_handler()
        transformers_logging.enable_propagation()  # to the service's own handler, which writes JSON
        self._max_policies = max_policies
        self._max_rows = max_batch_sequences
        self._device = _device(device)
        self._dtype = _dtype(dtype, self._device)
        self._policies: dict[str, Policy] = {}  # the least recently used first

    @property
    def dtype(self) -> str:
        """`float32`, `bfloat16` or `float16`."""
        return str(self._dtype).removeprefix("torch.")

    @property
    def versions(self) -> dict[str, int]:
        """Policies to versions, the least recently used first."""
        return {name: policy.version for name, policy in self._policies.items()}

    def update_weights(self, source: WeightSource) -> float:
        """See `RolloutEngine.update_weights`; sent again, the canary is looked at again, and the policy is given up where
        it is missed."""
        held = self._policies.get(source.policy)
        if held is not None and is_sent_again(held.source, source):
            try:
                return self._difference(held, source)
            except EngineError as error:
                if error.fault is EngineFault.DATA_LOSS:
                    del self._policies[source.policy]
                raise
        loaded = self._load(source, held)
        try:
            difference = self._difference(loaded.policy, source)
        except BaseException:
            loaded.undo()
            raise
        self._policies.pop(source.policy, None)
        self._policies[source.policy] = loaded.policy
        if len(self._policies) > self._max_policies:
            evicted = next(iter(self._policies))
            del self._policies[evicted]
            structlog.get_logger().warning("policy evicted", policy=evicted, max_policies=self._max_policies)
        return difference

    def generate(self, request: Generation, interrupt: Interrupt) -> Iterator[Finished]:
        """Every completion as it is finished; see `RolloutEngine.generate`."""
        plan = self.plan(request, interrupt)
        for batch in range(plan.batches):
            yield from self.sample(plan, batch, interrupt)

    def plan(self, request: Generation, interrupt: Interrupt) -> Plan:
        """Checks a request and encodes it, and may be interrupted between two prompts.

        Batches are of prompts of like length, so that little is padded.
        """
        held = self._use(request.policy)
        check_new_enough(request, held.version)
        longest = request.sampling.max_new_tokens
        encoded = []
        for prompt in request.prompts:
            interrupt()
            encoded.append(held.text.encode(prompt, longest))
        choices = held.text.choices(request.sampling)
        order = sorted(range(len(encoded)), key=lambda prompt: len(encoded[prompt]))
        rows = [(prompt, sample) for prompt in order for sample in range(request.samples)]
        return Plan(request, held, encoded, choices, rows, self._max_rows)

    def sample(self, plan: Plan, batch: int, interrupt: Interrupt) -> Iterator[Finished]:
        """The completions of one batch, each as it is finished. No update may come between the batches of a plan."""
        sampling, policy = plan.request.sampling, plan.policy
        rows = plan.rows[batch * plan.max_rows : (batch + 1) * plan.max_rows]
        for row, drawn in sample_batch(policy.model, _batch(plan, rows), sampling, interrupt):
            prompt, sample = rows[row]
            completion = Completion(
                token_ids=tuple(drawn.token_ids),
                logprobs=tuple(drawn.logprobs),
                text=policy.text.before_stop(drawn.token_ids, sampling.stop),
                finish_reason=FinishReason.STOP if drawn.stopped else FinishReason.LENGTH,
                policy_version=policy.version,
                token_versions=(policy.version,) * len(drawn.token_ids),
            )
            yield Finished(prompt, sample, tuple(plan.encoded[prompt]), completion)

    def logprobs(self, policy: str, sequences: Sequence[TokenSequence], interrupt: Interrupt) -> SequenceLogprobs:
        """See `RolloutEngine.logprobs`."""
        held = self._use(policy)
        found = self._score(held, sequences, "sequences", interrupt)
        check_finite(value for values in found for value in values)
        return SequenceLogprobs(tuple(found), held.version)

    def _load(self, source: WeightSource, held: Policy | None) -> Loaded:
        kept = replace(source, canary=())
        if not source.base:
            return load_policy(kept, self._dtype, self._device, held)
        base = find_base(self._policies, source.base)
        self._use(source.base)  # it is not what makes room for its own adapter
        return lay_on(kept, base, held)

    def _difference(self, policy: Policy, source: WeightSource) -> float:
        sequences = [probe.sequence for probe in source.canary]
        found = self._score(policy, sequences, "canary", lambda: None)
        return check_canary(source.canary, found, source.tolerance)

    def _score(
        self, policy: Policy, sequences: Sequence[TokenSequence], field: str, interrupt: Interrupt
    ) -> list[tuple[float, ...]]:
        policy.text.check_sequences(field, sequences)
        return sequence_logprobs(policy.model, sequences, policy.text.vocabulary, self._max_rows, interrupt)

    def _use(self, policy: str) -> Policy:
        held = find(self._policies, policy)
        self._policies[policy] = self._policies.pop(policy)
        return held


def _batch(plan: Plan, rows: Sequence[tuple[int, int]]) -> Batch:
    sampling, text, prompts = plan.request.sampling, plan.policy.text, plan.request.prompts
    used = list(dict.fromkeys(prompt for prompt, _ in rows))
    place = {prompt: index for index, prompt in enumerate(used)}
    length = sampling.max_new_tokens if sampling.temperature else 1
    uniforms = [uniform_stream(sampling.seed, prompts[prompt].id, sample, length) for prompt, sample in rows]
    return Batch(
        prompts=[plan.encoded[prompt] for prompt in used],
        rows=[place[prompt] for prompt, _ in rows],
        uniforms=np.stack(uniforms),
        stop_ids=text.stop_ids,
        stop_strings=StopStrings(sampling.stop, text.decode_all, len(rows)) if sampling.stop else None,
        choices=Choices(plan.choices, text.stop_ids, text.vocabulary, len(rows)) if plan.choices else None,
    )


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    # unchecked, PyTorch's CUDA build names a GPU on a machine that has none
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
