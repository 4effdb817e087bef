"""What `assay check` tells of the numbers that move and of how rewards become advantages."""

import tomllib

import pytest

from trainer.cli.check import _reward
from trainer.config import parse_job
from trainer.moving import course, parse_moving

JOB = """
job.name = "demo"
model.path = "model"
data.train = "train.jsonl"
rollout = { prompts_per_step = 1, samples_per_prompt = 2, max_new_tokens = 4 }
rewards.scorers = { math = ["math", "safety"] }
rewards.weights = { "math/correctness" = 1.0 }
rewards.domain_weights.math = { "safety/toxicity" = -0.5 }
loss.terms = [{ name = "policy", type = "grpo" }]
optim = { steps = 10, learning_rate = 1e-4 }
"""


@pytest.mark.parametrize(
    ("advantage", "reward", "advantages"),
    [
        ({}, "w * math/correctness + w * safety/toxicity", "group_mean_std(reward)"),
        (
            {"combine": "gated", "gates": ["math/syntax"], "whiten": True},
            "math/syntax * (w * math/correctness + w * safety/toxicity)",
            "whitened(group_mean_std(reward))",
        ),
        (
            {"combine": "lexicographic", "order": ["safety/toxicity", "math/correctness"]},
            "safety/toxicity, then math/correctness, in this order",
            "group_mean_std(reward)",
        ),
        (
            {"combine": "normalise_first", "normalise": "group_mean"},
            "w * math/correctness + w * safety/toxicity",
            "w * group_mean(math/correctness) + w * group_mean(safety/toxicity)",
        ),
    ],
)
def test_rewards_and_advantages_are_told_as_formulas(advantage, reward, advantages):
    job = parse_job({**tomllib.loads(JOB), "advantage": advantage})
    assert _reward(job) == f"reward = {reward}\nadvantage = {advantages}"


def test_the_course_of_what_moves():
    line = {"schedule": "linear", "start": 0.0, "end": 0.02}
    assert course(parse_moving(line), 11) == "0 -> 0.01 -> 0.02 (start, middle, end)"
    assert course(parse_moving(0.5), 11) == "0.5"
    kl = {"controller": "target_kl", "start": 0.05, "min": 0.001, "max": 1, "target": 0.02, "metric": "term/kl/k1"}
    assert course(parse_moving(kl), 11) == "0.05, then moved between 0.001 and 1 by target_kl of term/kl/k1"
    scale = {"controller": "running_scale", "start": 1.0, "min": 0.1, "max": 10.0}
    assert course(parse_moving(scale), 11) == "1, then moved between 0.1 and 10 by running_scale of its own term"
