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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.attribution import inner_products
from trainer.batching import MicroBatch
from trainer.composite import Composite, NotFiniteLossError
from trainer.config import JobFileError
from trainer.engine_config import EngineConfig, deepspeed_config
from trainer.group import RankGroup
from trainer.losses.aggregation import Counts
from trainer.mismatch import Mismatch, clip_bounds
from trainer.policy import Policy, Scores
from trainer.step_plan import StepPlan
from trainer.step_totals import StepTotals

TAG = "engine"


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

        The policy is run once, or twice where a term or PCGrad must know something of the whole step before the first
        gradient. Raises NothingToTrainError where no token of any rank counts, and, under the policy `raise`,
        NotFiniteLossError on all ranks where a term of any rank or the gradient is not finite; the weights are then
        untouched. With fp16 a gradient that overflows is part of its loss scaling: the step is skipped under either
        policy.
        """
        counts = self._count(micro_batches)
        self._deepspeed.train()
        for parameters in self._deepspeed.optimizer.param_groups:
            parameters["lr"] = learning_rate
        now = StepPlan(composite, composite.normalisers(counts), step, total_steps)
        if composite.looks_ahead:
            now = self._look_ahead(micro_batches, now)
        mismatch = Mismatch(clip_bounds(composite, step, total_steps))
        own = self._accumulate(micro_batches, now, mismatch)
        applied, norm = self._apply()
        totals = StepTotals.combine(self._group.gather(own.to_json()))
        if not applied and not totals.not_finite and self._config.dtype != "fp16":
            totals.not_finite.add("gradient")
        if totals.not_finite and self._config.not_finite == "raise":
            names = sorted(totals.not_finite)
            raise NotFiniteLossError(names, f"{', '.join(names)}: not finite at step {step}; the weights are untouched")
        metrics = {**now.metrics(totals, micro_batches[0].domains), **mismatch.metrics(self._group)}
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
    def scores(self, micro_batch: MicroBatch, wanted: frozenset[str] = frozenset()) -> Scores:
        """What `Policy.forward` gives for the micro-batch under the weights as they are, on the CPU, without dropout."""
        self._deepspeed.eval()
        scores = self._deepspeed(micro_batch.to(self._group.device), wanted)
        return {name: tensor.cpu() for name, tensor in scores.items()}

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

    @torch.no_grad()
    def each_weight(self, names: Sequence[str]) -> Iterator[Tensor]:
        """These weights, named as Hugging Face names them, whole and on the device; each is there until the next is asked for.

        All ranks ask for all of them in the same order. Raises JobFileError for a name that the model does not have.
        """
        import deepspeed

        model = self.policy.model
        held: dict[str, Tensor] = {
            **dict(model.named_parameters(remove_duplicate=False)),
            **dict(model.named_buffers(remove_duplicate=False)),
        }
        if absent := [name for name in names if name not in held]:
            raise JobFileError([f"rollout.transfer: the model is trained without {absent[0]!r}; take 'files'"])
        for name in names:
            parted = self._config.zero_stage == 3 and isinstance(held[name], torch.nn.Parameter)
            with deepspeed.zero.GatheredParameters([held[name]], enabled=parted):
                yield held[name].detach()

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

    def _look_ahead(self, micro_batches: Sequence[MicroBatch], plan: StepPlan) -> StepPlan:
        """Runs the policy without gradient over the whole step, for what must be known of it before the first gradient."""
        batches = []
        for micro_batch in micro_batches:
            here = micro_batch.to(self._group.device)
            with torch.no_grad():
                scores = self._deepspeed(here, plan.composite.needs)
            batches.append(plan.pack(here, scores))
        plan = plan.with_statistics(StepTotals.combine(self._group.gather(plan.measure(batches).to_json())))
        if plan.composite.combination == "sum":
            return plan
        return plan.with_products(StepTotals.combine(self._group.gather(plan.survey(batches).to_json())))

    def _accumulate(self, micro_batches: Sequence[MicroBatch], plan: StepPlan, mismatch: Mismatch) -> StepTotals:
        totals = StepTotals()
        for place, micro_batch in enumerate(micro_batches, 1):
            here = micro_batch.to(self._group.device)
            scores = self._deepspeed(here, plan.composite.needs)
            batch = plan.pack(here, scores)
            mismatch.add(batch, here.staleness)
            try:
                part = plan.gradients(batch)
                totals.add(part.terms, inner_products(part, batch))
                loss = part.surrogate(batch, list(plan.weights.values()))
                if place == 1 and self._compares_parameters(plan.step):
                    totals.parameter_products = self._parameter_products(here, plan)
            except NotFiniteLossError as error:
                # NaN gradients make all ranks skip the step together, and leave no collective unmatched.
                totals.not_finite.update(error.terms)
                totals.add(error.values)
                loss = scores["trainer_logprobs"].sum() * math.nan
            self._backward(loss, is_last=place == len(micro_batches))
        return totals

    def _compares_parameters(self, step: int) -> bool:
        every = self._config.parameter_cosines_every
        return every > 0 and step % every == 0

    def _parameter_products(self, micro_batch: MicroBatch, plan: StepPlan) -> list:
        """Inner products of the terms' gradients with respect to all parameters: `[K, K]`, 0 for terms of weight 0.

        Holds a gradient of the model for each term while it lasts. The policy is called past DeepSpeed, which takes every
        backward pass through its own call for one of its steps.
        """
        parameters = [p for p in self.policy.parameters() if p.requires_grad]
        batch = plan.pack(micro_batch, self.policy(micro_batch, plan.composite.needs))
        part = plan.gradients(batch)
        rows: list[Tensor] = []
        for place, weight in enumerate(plan.weights.values()):
            alone = [float(other == place and weight != 0) for other in range(len(plan.weights))]
            gradients = torch.autograd.grad(
                part.surrogate(batch, alone), parameters, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            rows.append(torch.cat([gradient.flatten().float() for gradient in gradients]))
        stacked = torch.stack(rows)
        return (stacked @ stacked.T).double().tolist()

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


@contextlib.contextmanager
def _silence():
    """Keeps DeepSpeed's progress messages off the terminal; its errors pass."""
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # Raised by DeepSpeed's calls into torch at every step, and nothing that a user could mend.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    with contextlib.redirect_stdout(io.StringIO()):
        yield
