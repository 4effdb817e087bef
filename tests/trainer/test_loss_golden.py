"""Values and gradients of published trainers, for the terms that exist here; names without a recipe are skipped."""

import json
import os
from pathlib import Path

import pytest
import torch

from trainer.composite import Composite, make_term
from trainer.losses.aggregation import Aggregation, Counts
from trainer.losses.packed import PackedBatch

DATA = Path(os.environ.get("ASSAY_DATA", Path(__file__).parents[3] / "shared" / "data")) / "loss_golden.jsonl"
ROWS = [json.loads(line) for line in DATA.read_text().splitlines()] if DATA.exists() else []
NAMES = sorted({row["loss"] for row in ROWS})


def clipped(row, length):
    aggregation = {
        "token_mean": Aggregation("token_mean"),
        "sequence_mean": Aggregation("sequence_mean"),
        "sum_over_sequences_times_constant (constant = T + 2)": Aggregation("sequence_sum", constant=length + 2),
    }[row["aggregation"]]
    return make_term("policy", type="ppo_clip", kwargs=row["params"], aggregation=aggregation)


def with_kl(row, length):
    term = clipped(row, length)
    return [term, make_term("kl", type="kl", weight=0.1, kwargs={"estimator": "k3"}, aggregation=term.aggregation)]


# Name of the loss: its terms, and the input that holds the behaviour policy's log-probabilities.
RECIPES = {
    "ppo_clip": (lambda row, length: [clipped(row, length)], "old"),
    "ppo_clip + 0.1 * kl_k3(reference)": (with_kl, "old"),
    "on-policy policy gradient (ratio = exp(logp - stopgrad(logp))) + 0.1 * kl_k3(reference)": (with_kl, "cur"),
}


@pytest.mark.skipif(not ROWS, reason=f"{DATA} is absent")
@pytest.mark.parametrize("name", NAMES)
def test_golden(name):
    if name not in RECIPES:
        pytest.skip(f"no recipe for {name}")
    recipe, behaviour = RECIPES[name]
    for row in (row for row in ROWS if row["loss"] == name):
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
            advantages=inputs["adv"].repeat_interleave(length),
            ref_logprobs=inputs["ref"].flatten(),
        )
        composite = Composite(recipe(row, length))
        counts = Counts(tokens=int(mask.sum()), sequences=int(mask.any(1).sum()))
        loss = composite.loss(batch, composite.normalisers(counts), step=0, total_steps=1).loss
        (gradient,) = torch.autograd.grad(loss, current)
        assert float(loss.detach()) == pytest.approx(row["expected_loss"], abs=1e-8), row["case"]
        assert torch.allclose(gradient, torch.tensor(row["expected_grad"], dtype=torch.float64), atol=1e-8, rtol=0)
