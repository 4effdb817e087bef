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

from trainer.batching import MicroBatch, Sample, make_micro_batches

# 2**26 float32 logits are 256 MiB.
LOGITS_PER_CHUNK = 2**26


class ModelError(ValueError):
    """A model that cannot be trained here; the message says why."""


class ScoringHead(nn.Linear):
    """An output projection that can also score given tokens, without ever holding the logits of all of them.

    It is one module call however many chunks there are: ZeRO 3 gathers a module's weights at each of its calls, and
    ranks whose numbers of calls differ would wait for each other for ever.
    """

    def __init__(self, linear: nn.Linear, logits_per_chunk: int) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self._chunk = max(1, logits_per_chunk // linear.out_features)

    def forward(self, states: Tensor, targets: Tensor | None = None, with_entropy: bool = False) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Logits of `states`; with `targets` of shape `[M]`, what `Policy.forward` returns for states `[M, hidden]`."""
        if targets is None:
            return super().forward(states)
        parts = [
            checkpoint(self._score, chunk, ids, with_entropy, use_reentrant=False, preserve_rng_state=False)
            for chunk, ids in zip(states.split(self._chunk), targets.split(self._chunk), strict=True)
        ]
        logprobs = torch.cat([part[0] for part in parts])
        return logprobs, torch.cat([part[1] for part in parts]) if with_entropy else None

    def _score(self, states: Tensor, targets: Tensor, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
        logits = super().forward(states)
        logprobs = torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=-1)
        entropy = -(logprobs.exp() * logprobs).sum(-1) if with_entropy else None
        return logprobs.gather(-1, targets[:, None]).squeeze(-1), entropy


class Policy(nn.Module):
    """A Hugging Face causal language model that answers with the scores of a micro-batch's completion tokens."""

    def __init__(self, model: PreTrainedModel, logits_per_chunk: int = LOGITS_PER_CHUNK) -> None:
        """Turns dropout off: it would make the ratio to the behaviour policy noise.

        Raises ModelError for a model whose logits are more than a projection of its last hidden states.
        """
        super().__init__()
        self.model = model
        head = model.get_output_embeddings()
        if not isinstance(head, nn.Linear):
            raise ModelError(f"{type(model).__name__} has no linear output projection, but {type(head).__name__}")
        model.set_output_embeddings(ScoringHead(head, logits_per_chunk))
        _turn_dropout_off(model)
        _check_head(self)

    def forward(self, batch: MicroBatch, with_entropy: bool = False) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities of the completion tokens and, if asked, entropies of the distributions they come from.

        Both in nats, `[M]`, in float32 or better whatever the model's precision. The batch must be on the model's device.
        A plain tuple, because ZeRO 3 looks into outputs for tensors.
        """
        hidden = self.model.base_model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
        ).last_hidden_state
        # The state before a token predicts it; only completion tokens go on from here.
        states = hidden[batch.sequence_index, batch.position - 1]
        targets = batch.input_ids[batch.sequence_index, batch.position]
        return cast(ScoringHead, self.model.get_output_embeddings())(states, targets, with_entropy)


def load_policy(directory: Path, *, gradient_checkpointing: bool = False) -> Policy:
    """A policy in float32 from a Hugging Face directory. Nothing is fetched from the network. Raises ModelError."""
    if not (directory / "config.json").is_file():
        raise ModelError(f"model {directory}: there is no config.json; it must be a Hugging Face model directory")
    disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"model {directory}: cannot be loaded: {error}") from error
    if gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return Policy(model)


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
    same_states = torch.allclose(policy(batch)[0], expected, atol=1e-3)
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
