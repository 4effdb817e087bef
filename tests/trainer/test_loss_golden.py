"""Values and gradients of published trainers: every row has a recipe of terms here."""

import itertools
import json
import os
from pathlib import Path

import pytest
import torch

from trainer.composite import Composite
from trainer.losses.aggregation import Aggregation, Counts
from trainer.losses.packed import PackedBatch
from trainer.term import make_term

DATA = Path(os.environ.get("ASSAY_DATA", Path(__file__).parents[3] / "shared" / "data")) / "loss_golden.jsonl"
ROWS = [json.loads(line) for line in DATA.read_text().splitlines()] if DATA.exists() else []
NAMES = sorted({row["loss"] for row in ROWS if not row["loss"].startswith("preference: ")})


AGGREGATIONS = {
    "token_mean": Aggregation("token_mean"),
    "sequence_mean": Aggregation("sequence_mean"),
    "sequence_mean (one geometric mean a sequence)": Aggregation("sequence_mean"),
}


def policy(type, **fixed):
    """A recipe of one term with the row's parameters and fixed ones."""

    def terms(row, length):
        if row["aggregation"] == "sum_over_sequences_times_constant (constant = T + 2)":
            aggregation = Aggregation("sequence_sum", constant=length + 2)
        else:
            aggregation = AGGREGATIONS.get(row["aggregation"])  # None: the term's own
        known = {
            key: value for key, value in row["params"].items() if key.startswith(("eps_", "ratio_", "tau_", "delta_"))
        }
        kwargs = known if type != "gmpo" else {"eps_log_low": known["eps_log"], "eps_log_high": known["eps_log"]}
        return [make_term("policy", type=type, kwargs=kwargs | fixed, aggregation=aggregation)]

    return terms


def with_kl(policy_terms):
    def terms(row, length):
        (term,) = policy_terms(row, length)
        return [term, make_term("kl", type="kl", weight=0.1, kwargs={"estimator": "k3"}, aggregation=term.aggregation)]

    return terms


TIS = policy("ppo_clip", anchor="old", correction="token_tis", correction_max=1.1)
ICEPOP = policy("ppo_clip", anchor="old", correction="icepop", correction_min=0.9, correction_max=1.1)

# Name of the loss: its terms, and the input that holds the behaviour policy's log-probabilities.
RECIPES = {
    "ppo_clip": [
        (policy("ppo_clip"), "old"),
        (policy("grpo"), "old"),
        (policy("dr_grpo"), "old"),
        (policy("dapo"), "old"),
    ],
    "ppo_clip + 0.1 * kl_k3(reference)": [(with_kl(policy("ppo_clip")), "old")],
    "on-policy policy gradient (ratio = exp(logp - stopgrad(logp))) + 0.1 * kl_k3(reference)": [
        (with_kl(policy("reinforce")), "gen")
    ],
    "gspo": [(policy("gspo"), "old"), (policy("ppo_clip", span="sequence"), "old")],
    "luspo": [(policy("luspo"), "old")],
    "cispo": [(policy("cispo"), "old")],
    "sapo": [(policy("sapo"), "old")],
    "gmpo": [(policy("gmpo"), "old")],
    "vespo": [(policy("vespo"), "old"), (policy("vespo", k_pos=2, lambda_pos=3, k_neg=3, lambda_neg=2), "old")],
    "dppo_tv": [(policy("dppo"), "gen"), (policy("prime_rl", kl_tau=0), "gen")],
    "-stopgrad(r * A) * logp, r = exp(cur - gen), kept where r in [1/8, 8]": [(policy("prime_rl_ratio"), "gen")],
    "ppo_clip * tis(old vs gen, cap 1.1)": [(TIS, "gen")],
    "ppo_clip * icepop(old vs gen, 0.9..1.1)": [(ICEPOP, "gen")],
}


@pytest.mark.skipif(not ROWS, reason=f"{DATA} is absent")
@pytest.mark.parametrize("name", NAMES)
def test_golden(name):
    rows_of_loss = [row for row in ROWS if row["loss"] == name]
    for row, (recipe, behaviour) in itertools.product(rows_of_loss, RECIPES[name]):
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
        (gradient,) = torch.autograd.grad(loss, current)
        assert float(loss.detach()) == pytest.approx(row["expected_loss"], abs=1e-8), row["case"]
        assert torch.allclose(gradient, torch.tensor(row["expected_grad"], dtype=torch.float64), atol=1e-8, rtol=0)


# Name of the loss: its terms, one of which at a time must give the numbers.
PREFERENCE_RECIPES = {
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


@pytest.mark.skipif(not ROWS, reason=f"{DATA} is absent")
@pytest.mark.parametrize("name", sorted({row["loss"] for row in ROWS if row["loss"].startswith("preference: ")}))
def test_golden_preference(name):
    rows = [row for row in ROWS if row["loss"] == name]
    for row, (kind, kwargs, weight) in itertools.product(rows, PREFERENCE_RECIPES[name.removeprefix("preference: ")]):
        inputs = {key: torch.tensor(value, dtype=torch.float64) for key, value in row["inputs"].items()}
        batch, sums = pair_batch(inputs)
        term = make_term(kind, type=kind, weight=weight, kwargs={"beta": 0.1} | kwargs if kind != "orpo" else {})
        composite = Composite([term])
        pairs = len(inputs["pc"])
        counts = Counts(tokens=len(batch.loss_mask), sequences=2 * pairs, pairs=pairs)
        normalisers = composite.normalisers(counts)
        loss = composite.loss(batch, normalisers, step=0, total_steps=1, statistics={kind: {}}).loss
        (gradient,) = torch.autograd.grad(loss, sums)
        expected = torch.tensor(row["expected_grad_chosen_rejected"], dtype=torch.float64)
        assert float(loss.detach()) == pytest.approx(row["expected_loss"], abs=1e-8), (kind, row["case"])
        assert torch.allclose(gradient.view(2, pairs), expected, atol=1e-8, rtol=0), (kind, row["case"])


def pair_batch(inputs):
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
