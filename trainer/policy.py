"""The model in training: log-probabilities of given tokens, with gradient.

Logits are the largest tensor of a training step: 8,000 tokens over a vocabulary of 150,000 are 4.8 GB in float32, and the
softmax needs as much again. So only completion tokens get logits, in chunks that are thrown away and computed once more in
the backward pass.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from trainer.batching import MicroBatch, make_micro_batches
from trainer.losses.divergence import divergences, mean_logprobs
from trainer.sample import Sample

# 2**26 float32 logits are 256 MiB.
LOGITS_PER_CHUNK = 2**26


class ModelError(ValueError):
    """A model that cannot be trained here; the message says why."""


Scores = dict[str, Tensor]
"""What the policy gives for M tokens: fields of `PackedBatch` by name, each `[M]`; `trainer_logprobs` always."""

DIVERGENCES = frozenset({"forward_kl", "reverse_kl", "jensen_shannon"})
OF_THE_TEACHER = DIVERGENCES | {"teacher_logprobs"}


class ScoringHead(nn.Linear):
    """An output projection that can also score given tokens, without ever holding the logits of all of them.

    It is one module call however many chunks there are: ZeRO 3 gathers a module's weights at each of its calls, and
    ranks whose numbers of calls differ would wait for each other for ever.
    """

    def __init__(self, linear: nn.Linear, logits_per_chunk: int) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self._chunk = max(1, logits_per_chunk // linear.out_features)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, states: Tensor, targets: Tensor | None = None, wanted: frozenset[str] = frozenset(), teacher: Any = None
    ) -> Any:
        """Logits of `states`; with `targets` of shape `[M]`, the scores that `Policy.forward` returns for `[M, hidden]`.

        teacher: the teacher's states of the same tokens and its own output projection, for divergences.
        """
        if targets is None:
            return super().forward(states)
        names = ("trainer_logprobs", *sorted(wanted))
        columns: list[tuple[Tensor, ...]] = []
        for start in range(0, max(1, len(states)), self._chunk):
            part = slice(start, start + self._chunk)
            guide = None if teacher is None else teacher[1](teacher[0][part])
            columns.append(
                checkpoint(
                    self._score,
                    states[part],
                    targets[part],
                    names,
                    guide,
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
            )
        return {name: torch.cat(column) for name, column in zip(names, zip(*columns, strict=True), strict=True)}

    def _score(
        self, states: Tensor, targets: Tensor, names: tuple[str, ...], guide: Tensor | None
    ) -> tuple[Tensor, ...]:
        logits = super().forward(states)
        logprobs = torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=-1)
        scores = {"trainer_logprobs": logprobs.gather(-1, targets[:, None]).squeeze(-1)}
        if "entropy" in names:
            scores["entropy"] = -(logprobs.exp() * logprobs).sum(-1)
        if guide is not None:
            scores |= divergences(logits, guide, [name for name in names if name in DIVERGENCES])
            if "teacher_logprobs" in names:
                scores["teacher_logprobs"] = guide.float().log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1)
        if "mean_logprobs" in names:
            scores["mean_logprobs"] = mean_logprobs(logits)
        return tuple(scores[name] for name in names)


class Policy(nn.Module):
    """A Hugging Face causal language model that answers with the scores of a micro-batch's completion tokens."""

    def __init__(
        self,
        model: PreTrainedModel,
        logits_per_chunk: int = LOGITS_PER_CHUNK,
        *,
        value_head: bool = False,
        teacher: PreTrainedModel | None = None,
        reference: PreTrainedModel | None = None,
    ) -> None:
        """Turns dropout off: it would make the ratio to the behaviour policy noise.

        value_head: estimate the return from each token on, by a projection of the last hidden states that begins at 0.
        teacher: a frozen model with the same vocabulary, for its log-probabilities and for divergences over all of them.
        reference: a frozen model for `ref_logprobs`, where no rollout brings them.
        Raises ModelError for a model whose logits are more than a projection of its last hidden states.
        """
        super().__init__()
        self.model = model
        head = model.get_output_embeddings()
        if not isinstance(head, nn.Linear):
            raise ModelError(f"{type(model).__name__} has no linear output projection, but {type(head).__name__}")
        model.set_output_embeddings(ScoringHead(head, logits_per_chunk))
        _turn_dropout_off(model)
        self.value_head = nn.Linear(head.in_features, 1) if value_head else None
        if self.value_head is not None:
            nn.init.zeros_(self.value_head.weight)
            nn.init.zeros_(self.value_head.bias)
        # In a tuple, so that it is no part of what is trained, sharded and saved.
        self._teacher = (_frozen_teacher(teacher, head.out_features),) if teacher is not None else ()
        self._reference = (Policy(reference, logits_per_chunk).requires_grad_(False),) if reference is not None else ()
        _check_head(self)

    def forward(self, batch: MicroBatch, wanted: frozenset[str] = frozenset()) -> Scores:
        """Log-probabilities of the completion tokens and what else is wanted, in nats, `[M]` each.

        wanted: names of `PackedBatch` fields: `entropy`, `mean_logprobs`, with a value head `values`, with a teacher
            `teacher_logprobs`, `forward_kl`, `reverse_kl`, `jensen_shannon`, with a reference `ref_logprobs`. Others are
            not the policy's to give and are passed over.
        In float32 or better whatever the model's precision. The batch must be on the model's device.
        """
        rows, columns = batch.known.sequence_index, batch.position
        # The state before a token predicts it; only completion tokens go on from here.
        states = _last_states(self.model, batch)[rows, columns - 1]
        names = wanted & {"entropy", "mean_logprobs"}
        teacher = None
        if self._teacher and wanted & OF_THE_TEACHER:
            guide: Any = self._teacher[0]
            guide.to(states.device)
            with torch.no_grad():
                guide_states = _last_states(guide, batch)[rows, columns - 1]
            teacher = (guide_states, guide.get_output_embeddings())
            names |= wanted & OF_THE_TEACHER
        head = cast(ScoringHead, self.model.get_output_embeddings())
        scores = head(states, batch.input_ids[rows, columns], names, teacher)
        if self.value_head is not None and "values" in wanted:
            values = self.value_head(states).squeeze(-1)
            scores["values"] = values if values.dtype == torch.float64 else values.float()
        if self._reference and "ref_logprobs" in wanted:
            with torch.no_grad():
                scores["ref_logprobs"] = self._reference[0].to(states.device)(batch)["trainer_logprobs"]
        return scores


def _last_states(model: PreTrainedModel, batch: MicroBatch) -> Tensor:
    return model.base_model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
    ).last_hidden_state


def _frozen_teacher(teacher: PreTrainedModel, vocabulary: int) -> PreTrainedModel:
    head = teacher.get_output_embeddings()
    size = head.out_features if isinstance(head, nn.Linear) else 0
    if size != vocabulary:
        raise ModelError(f"the teacher's vocabulary has {size} entries and the policy's {vocabulary}; they must be one")
    return teacher.requires_grad_(False).eval()


def load_policy(
    directory: Path,
    *,
    gradient_checkpointing: bool = False,
    value_head: bool = False,
    teacher: Path | None = None,
    reference: Path | None = None,
) -> Policy:
    """A policy in float32 from a Hugging Face directory. Nothing is fetched from the network. Raises ModelError.

    teacher, reference: the directories of frozen models; see `Policy`.
    """
    model = _load(directory)
    if gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return Policy(
        model,
        value_head=value_head,
        teacher=None if teacher is None else _load(teacher),
        reference=None if reference is None else _load(reference),
    )


def _load(directory: Path) -> PreTrainedModel:
    if not (directory / "config.json").is_file():
        raise ModelError(f"model {directory}: there is no config.json; it must be a Hugging Face model directory")
    disable_progress_bar()
    try:
        return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"model {directory}: cannot be loaded: {error}") from error


def _turn_dropout_off(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # pyright: ignore[reportArgumentType]


@torch.no_grad()
def _check_head(policy: Policy) -> None:
    """Some families scale their last states or cap their logits around the projection; scores here would be wrong."""
    (batch,) = make_micro_batches([Sample([0], [1, 0, 1])], 1)
    batch = batch.to(policy.model.device)
    head = cast(nn.Linear, policy.model.get_output_embeddings())

    def logits() -> Tensor:
        return policy.model(input_ids=batch.input_ids, use_cache=False).logits[0, :-1].float()

    expected = logits().log_softmax(-1).gather(-1, batch.input_ids[0, 1:, None]).squeeze(-1)
    same_states = torch.allclose(policy(batch)["trainer_logprobs"], expected, atol=1e-3)
    # An untrained model's logits are too small to meet a cap, so the projection's output is replaced by large ones.
    large = torch.linspace(-60.0, 60.0, head.out_features, device=policy.model.device)

    def enlarge(module: nn.Module, inputs: Any, output: Any) -> Tensor:
        return large.to(output.dtype).expand_as(output)

    hook = head.register_forward_hook(enlarge)
    try:
        same_logits = torch.allclose(logits(), large.expand(3, -1), atol=0.5)
    finally:
        hook.remove()
    if not (same_states and same_logits):
        raise ModelError(
            f"{type(policy.model).__name__} changes its states or logits around the output projection (a scale or a"
            " cap), which the trainer does not do yet; its log-probabilities would be wrong"
        )
