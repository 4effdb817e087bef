"""DeepSpeed, and all that is known of it here.

DeepSpeed averages gradients over ranks and divides by the accumulation steps it was configured with. Losses here come with
the normalisers of the whole step already in them, so both are undone: `_backward` multiplies by the number of ranks and
asks for no division. Each step says itself which micro-batch is its last, because their number varies.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.batching import MicroBatch
from trainer.composite import Composite, NotFiniteLossError
from trainer.group import RankGroup
from trainer.losses.aggregation import Counts
from trainer.policy import Policy
from trainer.step_totals import StepTotals

OWNED_KEYS: Mapping[str, str] = {
    "train_batch_size": "the step's samples decide it",
    "train_micro_batch_size_per_gpu": "set micro_batch_size",
    "gradient_accumulation_steps": "the step's samples and micro_batch_size decide it",
    "managed_gradient_accumulation": "the trainer says which micro-batch is the last",
    "gradient_clipping": "set gradient_clipping of the optimizer",
    "gradient_predivide_factor": "the loss is normalised before the backward pass",
    "gradient_allreduce_op": "the loss is normalised before the backward pass",
    "prescale_gradients": "the loss is normalised before the backward pass",
    "optimizer": "the optimizer is AdamW, set by the optimizer's own section",
    "scheduler": "write the learning rate as a schedule",
    "zero_optimization.stage": "set zero_stage",
    "bf16.enabled": "set dtype",
    "fp16.enabled": "set dtype",
}
"""Keys of DeepSpeed's configuration that would break what the trainer promises, and what to do instead."""

TAG = "engine"


class EngineConfigError(ValueError):
    """A DeepSpeed key that is not the user's to set."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How to train. `bf16` under ZeRO 0 also adds gradients up in bf16; from stage 1 on it is float32."""

    zero_stage: Literal[0, 1, 2, 3] = 0
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    """On matrices only; biases and norms are not pulled to 0."""
    gradient_clipping: float = 1.0
    """Largest norm of the whole gradient; 0 does not clip."""
    not_finite: Literal["raise", "skip_step"] = "raise"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Merged into DeepSpeed's own configuration; `OWNED_KEYS` are refused."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """`metrics` of the whole step, equal on all ranks. `applied` is False where the weights were left as they were."""

    metrics: Mapping[str, float]
    applied: bool
    not_finite: tuple[str, ...] = ()
    """Terms whose value was not finite, or `gradient`."""


class Engine:
    """A policy under a DeepSpeed optimizer. Every method is a collective: all ranks call it."""

    def __init__(self, policy: Policy, config: EngineConfig, group: RankGroup) -> None:
        """Raises EngineConfigError."""
        # Named, so that DeepSpeed need not look for one and warn about what it finds.
        os.environ.setdefault("DS_ACCELERATOR", group.device.type)
        with _silence():
            import deepspeed

        # DeepSpeed's all-reduce through shared memory is a C++ extension that takes minutes to build at the first use
        # on a machine; gloo, which it falls back to, needs no compiler.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self._config, self._group = config, group
        matrices = [p for p in policy.parameters() if p.dim() > 1]
        others = [p for p in policy.parameters() if p.dim() <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=0.0,
            betas=config.betas,
        )
        with _silence():
            self._deepspeed: Any = deepspeed.initialize(
                model=policy.to(group.device),
                optimizer=optimizer,
                config=deepspeed_config(config),
                dist_init_required=False,
            )[0]
        self.policy = policy

    def train_step(
        self,
        micro_batches: Sequence[MicroBatch],
        composite: Composite,
        *,
        step: int,
        total_steps: int,
        learning_rate: float,
    ) -> StepResult:
        """One optimizer step over this rank's micro-batches, of which every rank has equally many.

        Raises NothingToTrainError where no token of any rank counts, and, under the policy `raise`, NotFiniteLossError
        on all ranks where a term of any rank or the gradient is not finite; the weights are then untouched. With fp16 a
        gradient that overflows is part of its loss scaling: the step is skipped under either policy.
        """
        counts = self._count(micro_batches)
        normalisers = composite.normalisers(counts)
        self._deepspeed.train()
        for parameters in self._deepspeed.optimizer.param_groups:
            parameters["lr"] = learning_rate
        own = self._accumulate(micro_batches, composite, normalisers, step, total_steps)
        applied, norm = self._apply()
        totals = StepTotals.combine(self._group.gather(own.to_json()))
        if not applied and not totals.not_finite and self._config.dtype != "fp16":
            totals.not_finite.add("gradient")
        if totals.not_finite and self._config.not_finite == "raise":
            names = sorted(totals.not_finite)
            raise NotFiniteLossError(names, f"{', '.join(names)}: not finite at step {step}; the weights are untouched")
        metrics = totals.metrics(composite.weights(step, total_steps))
        metrics |= {f"batch/{name}": float(value) for name, value in asdict(counts).items()}
        metrics |= {
            "optim/learning_rate": learning_rate,
            "optim/gradient_norm": norm,
            "optim/skipped": float(not applied),
        }
        return StepResult(metrics, applied, tuple(sorted(totals.not_finite)))

    @property
    def zero_stage(self) -> int:
        """The ZeRO stage, 0 to 3."""
        return self._config.zero_stage

    @torch.no_grad()
    def logprobs(self, micro_batch: MicroBatch) -> Tensor:
        """Log-probabilities of the micro-batch's completion tokens under the weights as they are: float32 `[M]`."""
        return self._deepspeed(micro_batch.to(self._group.device))[0].cpu()

    def full_state_dict(self) -> dict[str, Tensor] | None:
        """The whole model's weights on the CPU, named as Hugging Face names them, on rank 0; None on other ranks.

        Gathers one parameter at a time. Tied weights appear once.
        """
        import deepspeed

        model = self.policy.model
        state: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            with deepspeed.zero.GatheredParameters([parameter], enabled=self._config.zero_stage == 3):
                if self._group.rank == 0:
                    state[name] = parameter.detach().cpu().clone()
        saved = model.state_dict().keys()
        state |= {name: buffer.cpu() for name, buffer in model.named_buffers() if name in saved}
        return state if self._group.rank == 0 else None

    def save(self, directory: Path) -> None:
        """Writes weights and optimizer state of all ranks. Not atomic: that is `trainer.checkpoint`'s matter."""
        with _silence():
            self._deepspeed.save_checkpoint(str(directory), tag=TAG, save_latest=False)

    def load(self, directory: Path) -> None:
        """Reads what `save` wrote with the same number of ranks and the same ZeRO stage. Raises FileNotFoundError."""
        with _silence():
            path, _ = self._deepspeed.load_checkpoint(str(directory), tag=TAG)
        if path is None:
            raise FileNotFoundError(f"{directory} holds no DeepSpeed state")

    def _count(self, micro_batches: Sequence[MicroBatch]) -> Counts:
        own = Counts.total(batch.counts for batch in micro_batches)
        everyone = self._group.gather({"batches": len(micro_batches), "counts": asdict(own)})
        numbers = [rank["batches"] for rank in everyone]
        if len(set(numbers)) != 1:
            raise ValueError(f"ranks have {numbers} micro-batches; all must have equally many")
        return Counts.total(Counts(**rank["counts"]) for rank in everyone)

    def _accumulate(
        self,
        micro_batches: Sequence[MicroBatch],
        composite: Composite,
        normalisers: Mapping[str, float],
        step: int,
        total_steps: int,
    ) -> StepTotals:
        totals = StepTotals()
        for place, micro_batch in enumerate(micro_batches, 1):
            here = micro_batch.to(self._group.device)
            logprobs, entropy = self._deepspeed(here, "entropy" in composite.needs)
            batch = here.pack(logprobs, entropy, step, total_steps)
            try:
                output = composite.loss(batch, normalisers, step, total_steps)
                totals.add(output.terms)
                loss = output.loss
            except NotFiniteLossError as error:
                # NaN gradients make all ranks skip the step together, and leave no collective unmatched.
                totals.not_finite.update(error.terms)
                loss = logprobs.sum() * math.nan
            self._backward(loss, is_last=place == len(micro_batches))
        return totals

    def _backward(self, loss: Tensor, is_last: bool) -> None:
        self._deepspeed.set_gradient_accumulation_boundary(is_last)
        self._deepspeed.backward(loss * self._group.world_size, scale_wrt_gas=False)

    def _apply(self) -> tuple[bool, float]:
        """Takes the step unless the gradient is not finite; whether it did, and the norm before clipping."""
        plain = isinstance(self._deepspeed.optimizer, torch.optim.Optimizer)
        if plain:
            # ZeRO 0 in fp32 is the bare optimizer: alone among the modes it would step on NaN.
            gradients = [p.grad for p in self.policy.parameters() if p.grad is not None]
            norm = float(torch.nn.utils.get_total_norm(gradients))
            if not math.isfinite(norm):
                self._deepspeed.zero_grad()
                return False, norm
            self._deepspeed.step()
            return True, norm
        self._deepspeed.step()
        return bool(self._deepspeed.was_step_applied()), float(self._deepspeed.get_global_grad_norm())


def deepspeed_config(config: EngineConfig) -> dict[str, Any]:
    """DeepSpeed's configuration. Raises EngineConfigError for overrides of `OWNED_KEYS`."""
    for key, remedy in OWNED_KEYS.items():
        section, _, inner = key.partition(".")
        given = config.overrides.get(section)
        if section in config.overrides and (not inner or (isinstance(given, Mapping) and inner in given)):
            raise EngineConfigError(f"deepspeed key {key!r} belongs to the trainer: {remedy}")
    ours: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        # Always written out: DeepSpeed's own default is 1.0, not 0.
        "gradient_clipping": config.gradient_clipping,
        "steps_per_print": None,
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    if config.dtype != "fp32":
        ours[config.dtype] = {"enabled": True}
    if config.dtype == "bf16" and config.zero_stage > 0:
        ours["data_types"] = {"grad_accum_dtype": "fp32"}
    return _merge(ours, config.overrides)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


@contextlib.contextmanager
def _silence():
    """Keeps DeepSpeed's progress messages off the terminal; its errors pass."""
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # Raised by DeepSpeed's calls into torch at every step, and nothing that a user could mend.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    with contextlib.redirect_stdout(io.StringIO()):
        yield
