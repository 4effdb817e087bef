"""The golden figure finds what is wrong: a number that is off, a gradient that is, a loss that nobody knows."""

import json
import math

import pytest

from benchmarks.golden import golden

# ratio 1 and advantages 1 and -2: the mean loss is 1/2, and the gradient of a token -A / 2
PPO = {
    "case": 0,
    "loss": "ppo_clip",
    "params": {"eps_low": 0.2, "eps_high": 0.2},
    "aggregation": "token_mean",
    "inputs": {
        "mask": [[1.0], [1.0]],
        "adv": [1.0, -2.0],
        **{name: [[-1.0], [-2.0]] for name in ("cur", "old", "gen", "ref")},
    },
    "expected_loss": 0.5,
    "expected_grad": [[-0.5], [1.0]],
}
# log-ratios of 1 and 0: z = 0.1
DPO = {
    "case": 1,
    "loss": "preference: dpo sigmoid b=.1",
    "inputs": {"pc": [-2.0], "pr": [-3.0], "rc": [-3.0], "rr": [-3.0], "n": [2], "nr": [3]},
    "expected_loss": math.log1p(math.exp(-0.1)),
    "expected_grad_chosen_rejected": [[-0.1 / (1 + math.exp(0.1))], [0.1 / (1 + math.exp(0.1))]],
}


def figure(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return golden(path)


def test_rows_by_hand_are_met(tmp_path):
    seen = figure(tmp_path, PPO, DPO)
    assert seen.met and seen.measured.startswith("2 of 2 rows")


@pytest.mark.parametrize("row", [PPO, DPO])
@pytest.mark.parametrize("wrong", [2e-8, math.nan, math.inf])
def test_a_wrong_loss_is_found(tmp_path, row, wrong):
    seen = figure(tmp_path, PPO, DPO, row | {"expected_loss": row["expected_loss"] + wrong})
    assert not seen.met and seen.measured.startswith("2 of 3 rows")


@pytest.mark.parametrize(
    "row",
    [PPO | {"expected_grad": [[-0.5], [1.0 + 2e-8]]}, DPO | {"expected_grad_chosen_rejected": [[-0.04], [0.04]]}],
)
def test_a_wrong_gradient_is_found(tmp_path, row):
    seen = figure(tmp_path, PPO, row)
    assert not seen.met and seen.measured.startswith("1 of 2 rows")


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (PPO | {"loss": "ppo_klip"}, "ppo_klip, token_mean"),
        (PPO | {"aggregation": "median"}, "ppo_clip, median"),
        (DPO | {"loss": "preference: dpo b=.2"}, "preference: dpo b=.2"),
    ],
)
def test_an_unknown_loss_or_aggregation_is_a_row_missed_and_named(tmp_path, row, named):
    seen = figure(tmp_path, PPO, row)
    assert not seen.met and seen.measured.startswith("1 of 2 rows") and named in seen.measured


def test_the_rows_own_parameters_count(tmp_path):
    """A ratio of 1.1 for an advantage of 1: kept by a bound of 1.2, clipped by one of 1.05."""
    inputs = PPO["inputs"] | {"adv": [1.0, 0.0], "cur": [[-1.0 + math.log(1.1)], [-2.0]]}
    kept = PPO | {"inputs": inputs, "expected_loss": -0.55, "expected_grad": [[-0.55], [0.0]]}
    clipped = kept | {
        "params": {"eps_low": 0.2, "eps_high": 0.05},
        "expected_loss": -0.525,
        "expected_grad": [[0.0], [0.0]],
    }
    assert figure(tmp_path, kept, clipped).met


def test_no_rows_meet_nothing(tmp_path):
    assert not figure(tmp_path).met
