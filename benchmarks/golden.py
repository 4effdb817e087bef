"""Losses and gradients computed by published trainers, row by row against the terms here: each name has its recipe."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.figures import Figure
from trainer.composite import Composite
from trainer.losses.aggregation import AggregationKind, Counts
from trainer.losses.packed import PackedBatch
from trainer.term import Term, make_term

Row = Mapping[str, Any]
"""`loss`, `params`, `aggregation`, `inputs`, `expected_loss`, and `expected_grad` or `expected_grad_chosen_rejected`."""

Recipe = Callable[[Row, int], list[Term]]
"""The terms of a row, whose sequences have the given length."""

BAR = 1e-8
PREFERENCE = "preference: "

_CONSTANT = "sum_over_sequences_times_constant (constant = T + 2)"
_AGGREGATIONS: Mapping[str, AggregationKind | None] = {
    "token_mean": "token_mean",
    "sequence_mean": "sequence_mean",
    "sequence_mean (one geometric mean a sequence)": "sequence_mean",
    "mean over sequences of L_i * clipped sequence ratio": None,
    _CONSTANT: "sequence_sum",
}
"""The files' names for ours; None is the term's own."""

_ARGUMENTS: Mapping[str, Sequence[str]] = {
    "eps_log": ("eps_log_low", "eps_log_high"),
    "cap": ("correction_max",),
    "low": ("correction_min",),
    "high": ("correction_max",),
}
"""The files' names of parameters that are not ours."""


def _arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    signed = {
        f"{name}_{sign[:3]}": value for sign in ("positive", "negative") for name, value in params.get(sign, {}).items()
    }
    plain = {name: value for name, value in params.items() if name not in ("positive", "negative", "behaviour")}
    return signed | {ours: value for name, value in plain.items() for ours in _ARGUMENTS.get(name, (name,))}


def _policy(type: str, **fixed: Any) -> Recipe:
    """One term, with the row's parameters and fixed ones."""

    def terms(row: Row, length: int) -> list[Term]:
        constant = length + 2 if row["aggregation"] == _CONSTANT else 1.0
        arguments = _arguments(row["params"]) | fixed
        kind = _AGGREGATIONS[row["aggregation"]]
        return [make_term("policy", type=type, kwargs=arguments, aggregation=kind, constant=constant)]

    return terms


def _with_kl(policy: Recipe) -> Recipe:
    def terms(row: Row, length: int) -> list[Term]:
        (term,) = policy(row, length)
        return [term, make_term("kl", type="kl", weight=0.1, kwargs={"estimator": "k3"}, aggregation=term.aggregation)]

    return terms


_TIS = _policy("ppo_clip", anchor="old", correction="token_tis")
_ICEPOP = _policy("ppo_clip", anchor="old", correction="icepop")

POLICY_RECIPES: Mapping[str, Sequence[tuple[Recipe, str]]] = {
    "ppo_clip": [(_policy(name), "old") for name in ("ppo_clip", "grpo", "dr_grpo", "dapo")],
    "ppo_clip + 0.1 * kl_k3(reference)": [(_with_kl(_policy("ppo_clip")), "old")],
    "on-policy policy gradient (ratio = exp(logp - stopgrad(logp))) + 0.1 * kl_k3(reference)": [
        (_with_kl(_policy("reinforce")), "gen")
    ],
    "gspo": [(_policy("gspo"), "old"), (_policy("ppo_clip", span="sequence"), "old")],
    "luspo": [(_policy("luspo"), "old")],
    "cispo": [(_policy("cispo"), "old")],
    "sapo": [(_policy("sapo"), "old")],
    "gmpo": [(_policy("gmpo"), "old")],
    "vespo": [(_policy("vespo"), "old")],
    "dppo_tv": [(_policy("dppo"), "gen"), (_policy("prime_rl", kl_tau=0), "gen")],
    "-stopgrad(r * A) * logp, r = exp(cur - gen), kept where r in [1/8, 8]": [(_policy("prime_rl_ratio"), "gen")],
    "ppo_clip * tis(old vs gen, cap 1.1)": [(_TIS, "gen")],
    "ppo_clip * icepop(old vs gen, 0.9..1.1)": [(_ICEPOP, "gen")],
}
"""The terms that each must give a row's numbers, and the input that holds the behaviour policy's log-probabilities."""

PREFERENCE_RECIPES: Mapping[str, Sequence[tuple[str, dict[str, Any], float]]] = {
    "dpo sigmoid b=.1": [("dpo", {}, 1.0)],
    "cDPO ls=.1": [("cdpo", {"label_smoothing": 0.1}, 1.0)],
    "robust ls=.1": [("robust_dpo", {"label_smoothing": 0.1}, 1.0)],
    "ipo (sum logps)": [("ipo_sum", {}, 1.0)],
    "hinge": [("hinge", {}, 1.0)],
    "nca_pair": [("nca", {}, 1.0)],
    "bco_pair": [("bco", {"delta": 0.0}, 1.0)],
    "sppo_hard": [("sppo_hard", {}, 1.0)],
    "apo_zero": [("apo_zero", {}, 1.0)],
    "apo_down": [("apo_down", {}, 1.0)],
    "exo_pair ls=1e-3": [("exo", {"label_smoothing": 1e-3}, 1.0)],
    "discopop": [("discopop", {}, 1.0)],
    "simpo b=2 gamma=.5 (avg logp)": [("simpo", {"beta": 2.0, "gamma": 0.5}, 1.0)],
    "cpo b=.1 (sum)": [("cpo", {}, 1.0)],
    "orpo b=.1 (avg logp)": [("orpo", {}, 0.1)],
    "kto b=.1 kl=.3": [("kto", {"kl": 0.3}, 1.0), ("kto_unpaired", {"kl": 0.3}, 1.0)],
}
"""A type, its arguments and its weight, each of which alone must give a row's numbers."""


def golden(path: Path) -> Figure:
    """Every row of a file. A loss without a recipe is a row missed, and named."""
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    found = [(f"{row['loss']}, {row.get('aggregation', 'pairs')}", differences(row)) for row in rows]
    known = [errors for _, errors in found if errors is not None]
    unknown = sorted({name for name, errors in found if errors is None})
    met = sum(max(errors) <= BAR for errors in known)
    loss, gradient = (max((errors[place] for errors in known), default=0.0) for place in (0, 1))
    told = f"{met} of {len(rows)} rows; worst difference {loss:.1e} (loss), {gradient:.1e} (gradient)"
    if unknown:
        told += f"; no recipe for {', '.join(map(repr, unknown))}"
    return Figure(f"golden values, `{path.name}`", told, f"all within {BAR:.0e} in float64", met == len(rows) > 0)


def differences(row: Row) -> tuple[float, float] | None:
    """The worst difference of the loss and of the gradient from a row's, over the recipes of its loss; None without one.

    None also for an aggregation that is not known. A number that is not finite where the row's is, or the other way round,
    is infinitely far off.
    """
    name = row["loss"]
    found, expected = [], None
    if name.startswith(PREFERENCE):
        recipes = PREFERENCE_RECIPES.get(name.removeprefix(PREFERENCE), ())
        found = [_preference(row, *recipe) for recipe in recipes]
        expected = row.get("expected_grad_chosen_rejected")
    elif row["aggregation"] in _AGGREGATIONS:
        found = [_token(row, *recipe) for recipe in POLICY_RECIPES.get(name, ())]
        expected = row.get("expected_grad")
    if not found:
        return None
    losses = [_off(loss, torch.tensor(row["expected_loss"], dtype=torch.float64)) for loss, _ in found]
    gradients = [_off(gradient, torch.tensor(expected, dtype=torch.float64)) for _, gradient in found]
    return max(losses), max(gradients)


def _off(seen: Tensor, expected: Tensor) -> float:
    return float((seen - expected).abs().nan_to_num(nan=torch.inf).max())


def _token(row: Row, recipe: Recipe, behaviour: str) -> tuple[Tensor, Tensor]:
    inputs = {key: torch.tensor(value, dtype=torch.float64) for key, value in row["inputs"].items()}
    current = inputs["cur"].clone().requires_grad_()
    rows, length = current.shape
    mask = inputs["mask"].bool()
    batch = PackedBatch(
        trainer_logprobs=current.flatten(),
        sequence_index=torch.arange(rows).repeat_interleave(length),
        sequence_count=rows,
        loss_mask=mask.flatten(),
        inference_logprobs=inputs[behaviour].flatten(),
        old_logprobs=inputs["old"].flatten(),
        advantages=inputs["adv"].repeat_interleave(length),
        ref_logprobs=inputs["ref"].flatten(),
    )
    composite = Composite(recipe(row, length))
    counts = Counts(tokens=int(mask.sum()), sequences=int(mask.any(1).sum()))
    loss = composite.loss(batch, composite.normalisers(counts), step=0, total_steps=1).loss
    return loss.detach(), torch.autograd.grad(loss, current)[0]


def _preference(row: Row, type: str, kwargs: dict[str, Any], weight: float) -> tuple[Tensor, Tensor]:
    inputs = {key: torch.tensor(value, dtype=torch.float64) for key, value in row["inputs"].items()}
    batch, sums = _pair_batch(inputs)
    term = make_term(type, type=type, weight=weight, kwargs={"beta": 0.1} | kwargs if type != "orpo" else {})
    composite = Composite([term])
    pairs = len(inputs["pc"])
    counts = Counts(tokens=len(batch.loss_mask), sequences=2 * pairs, pairs=pairs)
    loss = composite.loss(batch, composite.normalisers(counts), 0, 1, statistics={type: {}}).loss
    return loss.detach(), torch.autograd.grad(loss, sums)[0].view(2, pairs)


def _pair_batch(inputs: Mapping[str, Tensor]) -> tuple[PackedBatch, Tensor]:
    """All chosen sequences, then all rejected; log-probabilities of tokens that grow along a sequence to the sums given."""
    sums = torch.cat([inputs["pc"], inputs["pr"]]).requires_grad_()
    reference = torch.cat([inputs["rc"], inputs["rr"]])
    lengths = torch.cat([inputs["n"], inputs["nr"]]).long()
    index = torch.arange(len(lengths)).repeat_interleave(lengths)
    place = torch.arange(len(index)) - (lengths.cumsum(0) - lengths)[index] + 1
    shares = place.double() / (lengths * (lengths + 1) / 2)[index]
    pairs = len(inputs["pc"])
    batch = PackedBatch(
        trainer_logprobs=sums[index] * shares,
        sequence_index=index,
        sequence_count=2 * pairs,
        loss_mask=torch.ones(len(index), dtype=torch.bool),
        ref_logprobs=reference[index] * shares,
        rewards=torch.tensor([1.0] * pairs + [0.0] * pairs),
        chosen=torch.arange(pairs),
        rejected=torch.arange(pairs, 2 * pairs),
    )
    return batch, sums
