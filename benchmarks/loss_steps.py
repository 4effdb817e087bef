"""Random optimizer steps for the losses, cut up in any way by the trainer's own batching.

Each completion token has a token id of its own, so the policy's scores of a micro-batch are looked up in tables by id:
the tables are the leaves that gradients are taken of, whatever the cut.
"""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainer.batching import MicroBatch, make_micro_batches
from trainer.composite import Composite
from trainer.losses.aggregation import Aggregation, Counts
from trainer.losses.packed import LIVE_FIELDS, PackedBatch
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.sample import Sample
from trainer.step_plan import StepPlan
from trainer.step_totals import StepTotals
from trainer.term import Term, make_term

STEP, TOTAL_STEPS = 3, 10


@dataclass(frozen=True)
class RandomStep:
    """The samples of a step, and what a policy would give for each of their tokens, by token id."""

    samples: Sequence[Sample]
    live: dict[str, Tensor]
    """Fields of `PackedBatch` with a gradient, `[tokens + 1]`; leaves."""
    fixed: dict[str, Tensor]
    """Fields without, that the trainer would fill in."""

    @staticmethod
    def make(seed: int, dtype: torch.dtype = torch.float64, sequences: int = 8, longest: int = 9) -> RandomStep:
        """Groups of one to four sequences of three domains; some log-probabilities lost, some rewards equal."""
        chance = random.Random(seed)
        samples: list[Sample] = []
        place, group = 1, 0
        while len(samples) < sequences:
            for _ in range(min(chance.randint(1, 4), sequences - len(samples))):
                length = chance.randint(1, longest)
                samples.append(_sample(chance, range(place, place + length), group))
                place += length
            group += 1
        generator = torch.Generator().manual_seed(seed)

        def table(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(place, generator=generator, dtype=torch.float64)

        live = {name: table(0.05, 0.6) for name in LIVE_FIELDS}
        live |= {"trainer_logprobs": table(-4.0, -0.05), "values": table(-1.0, 1.0)}
        fixed = {"returns": table(-1.0, 1.0), "old_values": table(-1.0, 1.0), "teacher_logprobs": table(-4.0, -0.05)}
        return RandomStep(
            samples,
            {name: tensor.to(dtype).requires_grad_() for name, tensor in live.items()},
            {name: tensor.to(dtype) for name, tensor in fixed.items()},
        )

    def batches(self, whole_groups: bool, size: int, ranks: int, padding: int = 0) -> tuple[list[PackedBatch], Counts]:
        """The micro-batches of all ranks as the terms see them, and the counts of the step.

        padding: how many masked tokens full of garbage are put behind each sequence.
        """
        found: list[PackedBatch] = []
        counts: list[Counts] = []
        for rank in range(ranks):
            for batch in make_micro_batches(self.samples, size, rank=rank, world_size=ranks, whole_groups=whole_groups):
                counts.append(batch.counts)
                found.append(_padded(self._scored(batch), padding))
        return found, Counts.total(counts)

    def gradient(self, loss: Tensor) -> Tensor:
        """Of a loss with respect to all tables, `[F * (tokens + 1)]`."""
        leaves = list(self.live.values())
        return torch.cat(
            torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True, retain_graph=True)
        )

    def _scored(self, batch: MicroBatch) -> PackedBatch:
        ids = batch.input_ids[batch.known.sequence_index, batch.position]
        scores = {name: table[ids] for name, table in self.live.items()}
        packed = batch.pack(scores, STEP, TOTAL_STEPS)
        return replace(packed, **{name: table[ids] for name, table in self.fixed.items()})


@dataclass(frozen=True)
class Outcome:
    """What a step came to under one cut."""

    loss: float
    gradient: Tensor
    direct: Tensor
    """The same gradient from plain back-propagation of `Composite.loss`."""


def outcome(step: RandomStep, composite: Composite, size: int, ranks: int, padding: int = 0) -> Outcome:
    """The loss and its gradient with micro-batches of `size` sequences on `ranks` ranks, as the engine computes them."""
    plan, batches = _planned(step, composite, size, ranks, padding)
    if composite.combination == "pcgrad":
        plan = plan.with_products(StepTotals.combine([plan.survey(batches).to_json()]))
    weights = list(plan.weights.values())
    parts = [plan.gradients(batch) for batch in batches]
    surrogate = torch.stack([part.surrogate(batch, weights) for part, batch in zip(parts, batches, strict=True)]).sum()
    direct = [composite.loss(batch, plan.normalisers, STEP, TOTAL_STEPS, plan.statistics).loss for batch in batches]
    values = [sum(part.terms[name].value for part in parts) for name in plan.weights]
    weighted = [weight * value for weight, value in zip(plan.scheduled.values(), values, strict=True)]
    return Outcome(
        loss=math.fsum(weighted),
        gradient=step.gradient(surrogate),
        direct=step.gradient(torch.stack(direct).sum()),
    )


@torch.no_grad()
def loss_size(step: RandomStep, composite: Composite) -> float:
    """The loss with every value of every term taken without its sign.

    Values of opposite sign may cancel down to nothing, so differences of losses are measured against this.
    """
    plan, (batch,) = _planned(step, composite, len(step.samples), 1)
    valid, total = batch.valid(), 0.0
    for term in composite.terms:
        own = replace(valid, statistics=plan.statistics.get(term.name, {}))
        output = term.function(batch if term.user_function else own, **term.kwargs_at(STEP, TOTAL_STEPS))
        values, _ = term.aggregation.contributions(output, valid)
        total += abs(plan.scheduled[term.name]) * float(values.abs().sum()) / (plan.normalisers[term.name] or 1.0)
    return total


def _planned(
    step: RandomStep, composite: Composite, size: int, ranks: int, padding: int = 0
) -> tuple[StepPlan, list[PackedBatch]]:
    batches, counts = step.batches(composite.whole_groups, size, ranks, padding)
    plan = StepPlan(composite, composite.normalisers(counts), STEP, TOTAL_STEPS)
    return plan.with_statistics(StepTotals.combine([plan.measure(batches).to_json()])), batches


def random_composite(chance: random.Random, names: Sequence[str] = tuple(BUILT_IN_TERMS)) -> Composite:
    """One to five built-in terms with random weights, schedules, spans and aggregations."""
    chosen = [chance.choice(names) for _ in range(chance.randint(1, 5))]
    return Composite([random_term(chance, name, f"{name}_{place}") for place, name in enumerate(chosen)])


def random_term(chance: random.Random, type_name: str, name: str) -> Term:
    """A built-in term with a random weight, span and aggregation."""
    built_in = BUILT_IN_TERMS[type_name]
    kwargs = {}
    if "span" in inspect.signature(built_in.function).parameters:
        kwargs["span"] = chance.choice(["token", "segment", "sequence"])
    kind = chance.choice(built_in.aggregations)
    weight = chance.choice([chance.uniform(-2, 2), {"schedule": "linear", "start": 0.0, "end": 1.0}])
    constant = 7.0 if kind == "sequence_sum" else 1.0
    return make_term(name, type=type_name, weight=weight, kwargs=kwargs, aggregation=Aggregation(kind, constant))


def _sample(chance: random.Random, ids: range, group: int) -> Sample:
    def logprobs() -> list[float]:
        return [math.nan if chance.random() < 0.08 else chance.uniform(-4.0, -0.05) for _ in ids]

    segments = [0]
    for _ in ids[1:]:
        segments.append(segments[-1] + (chance.random() < 0.3))
    return Sample(
        prompt_ids=[0] * chance.randint(1, 5),
        completion_ids=list(ids),
        logprobs=logprobs(),
        ref_logprobs=logprobs(),
        advantage=chance.gauss(0, 1),
        group=group,
        reward=chance.choice([0.0, 0.25, 0.5, 1.0]),
        domain=("code", "math", "talk")[group % 3],
        segments=segments,
    )


def _padded(batch: PackedBatch, count: int) -> PackedBatch:
    """The batch with `count` masked tokens behind each sequence, full of what must not matter."""
    if count == 0:
        return batch
    sizes = batch.sequence_index.bincount(minlength=batch.sequence_count).tolist()
    rows: list[int] = []
    for start, length in zip([sum(sizes[:place]) for place in range(len(sizes))], sizes, strict=True):
        rows += [*range(start, start + length), *[-(start + length)] * count]
    index = torch.tensor(rows)
    is_padding = index < 0

    def pad(tensor: Tensor) -> Tensor:
        spread = tensor[index.where(~is_padding, -index - 1)]
        if tensor.is_floating_point():
            return spread.where(~is_padding, torch.full((), -300.0, dtype=tensor.dtype))
        return spread & ~is_padding if tensor.dtype == torch.bool else spread

    return batch.map_tokens(pad)
