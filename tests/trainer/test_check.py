"""What `assay check` tells of a job: the loss as a formula, the numbers that move, rewards, and the probe's verdicts."""

import subprocess
import sys
import tomllib
from typing import get_args

import pytest

from benchmarks.bad_jobs import GOOD
from benchmarks.loss_refusals import make_folder
from trainer.cli.check import describe
from trainer.cli.formula import DIVISORS, NORMALISERS, SUMS, WIDTH, rate_lines, reward_lines
from trainer.config import parse_job
from trainer.losses.aggregation import AggregationKind
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.moving import course, parse_moving
from trainer.normalisation import Normalisation

JOB = """
job.name = "demo"
model.path = "model"
data.train = "train.jsonl"
rollout = { prompts_per_step = 1, samples_per_prompt = 2, max_new_tokens = 4 }
rewards.scorers = { math = ["math", "safety"] }
rewards.weights = { "math/correctness" = 1.0 }
rewards.domain_weights.math = { "safety/toxicity" = -0.5 }
loss.terms = [{ name = "policy", type = "grpo" }]
optim = { steps = 11, learning_rate = 1e-4 }
"""
SUM = "w * math/correctness + w * safety/toxicity"
KL = {"controller": "target_kl", "start": 0.05, "min": 0.001, "max": 1, "target": 0.02, "metric": "term/kl/k1"}


def job(**sections):
    tree = tomllib.loads(JOB)
    for section, values in sections.items():
        tree.setdefault(section, {}).update(values)
    return parse_job(tree)


def words(text):
    """Without the breaks of lines and the spaces that align."""
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("advantage", "reward", "advantages", "rule"),
    [
        ({}, SUM, "N(reward)", "(x - mean of the group) / spread of the group"),
        (
            {"combine": "gated", "gates": ["math/syntax"], "whiten": True},
            f"math/syntax * ({SUM})",
            "N(reward), then mean 0 and spread 1 over the step",
            "(x - mean of the group) / spread of the group",
        ),
        (
            {"combine": "lexicographic", "order": ["safety/toxicity", "math/correctness"]},
            "safety/toxicity, then math/correctness: each breaks ties of those before it",
            "N(reward)",
            "(x - mean of the group) / spread of the group",
        ),
        (
            {"combine": "normalise_first", "normalise": "group_mean"},
            SUM,
            "w * N(math/correctness) + w * N(safety/toxicity)",
            "x - mean of the group",
        ),
    ],
)
def test_rewards_and_advantages_are_told_as_formulas(advantage, reward, advantages, rule):
    told = words("\n".join(reward_lines(job(advantage=advantage))))
    assert f"reward = {reward} advantage = {advantages} N(x) = {rule} at step" in told
    assert "math/correctness 1 1 1 safety/toxicity in math -0.5 -0.5 -0.5" in told


def test_gae_is_told_with_its_discount():
    lines = reward_lines(job(advantage={"estimator": "gae", "gamma": 0.9}))
    assert lines[1] == "advantage = gae(reward at the last token, values), gamma 0.9, lambda 0.95"


def test_the_course_of_what_moves():
    line = {"schedule": "linear", "start": 0.0, "end": 0.02}
    assert course(parse_moving(line), 11) == "0 -> 0.01 -> 0.02 (start, middle, end)"
    assert course(parse_moving(0.5), 11) == "0.5"
    assert course(parse_moving(KL), 11) == "0.05, then moved between 0.001 and 1 by target_kl of term/kl/k1"
    scale = {"controller": "running_scale", "start": 1.0, "min": 0.1, "max": 10.0}
    assert course(parse_moving(scale), 11) == "1, then moved between 0.1 and 10 by running_scale of its own term"


def test_the_loss_is_told_as_a_formula_with_its_weights_and_the_probes_verdicts():
    terms = [
        {"name": "policy", "type": "dr_grpo", "aggregation_constant": 64.0, "weight": {**LINE}},
        {"name": "kl", "type": "kl", "weight": KL},
        {"name": "ranks", "type": "group_preference"},
        {"name": "own", "path": "benchmarks.bad_losses.good_loss", "kwargs": {"cap": 3.0}},
    ]
    text = describe(job(loss={"terms": terms, "combination": "pcgrad"}))
    assert max(map(len, text.splitlines())) <= WIDTH
    told = words(text)
    for part in (
        "loss = w_policy * sum(dr_grpo) / (sequences * 64) + w_kl * sum(kl) / tokens",
        "+ w_ranks * sum(group_preference) / groups + w_own * sum(good_loss(...)) / tokens at step",
        "at step (start, middle, end) 0 5 10 w_policy 0 0.5 1",
        "w_kl 0.05, then moved between 0.001 and 1 by target_kl of term/kl/k1",
        "sequences of the step times aggregation_constant, whatever their lengths (default of dr_grpo)",
        "reads ref_logprobs with by default estimator k3, form direct probe finite; live gradient on trainer_logprobs",
        "benchmarks.bad_losses.good_loss, called for each sequence",
        "with cap 3 probe finite; live gradient on trainer_logprobs; 0 where nothing counts; a sum over tokens; unmoved",
        "combined by pcgrad: a term that pulls against another loses that part reward =",
        "learning rate 0.0001 0.0001 0.0001",
    ):
        assert part in told, told


def test_dr_grpo_is_divided_by_the_longest_completion_that_the_job_allows():
    terms = [{"name": "a", "type": "dr_grpo"}, {"name": "b", "type": "luspo"}]
    told = words(describe(job(loss={"terms": terms})))
    assert "w_a * sum(dr_grpo) / (sequences * 4) + w_b * sum(luspo) / (sequences * 1)" in told


LINE = {"schedule": "linear", "start": 0.0, "end": 1.0}


def test_a_warm_up_with_terms_of_its_own_is_told_too():
    terms = [{"name": "pairs", "type": "dpo"}, {"name": "chosen", "type": "nll_chosen", "weight": LINE}]
    told = words(describe(job(warmup={"path": "pairs.jsonl", "steps": 101, "terms": terms})))
    assert "warm-up = w_pairs * sum(dpo) / pairs + w_chosen * sum(nll_chosen) / pairs at step" in told
    assert "0 50 100 w_pairs 1 1 1 w_chosen 0 0.5 1" in told


def test_a_value_heads_gradient_is_told():
    terms = [{"name": "policy", "type": "grpo"}, {"name": "critic", "type": "value"}]
    assert "live gradient on values" in describe(job(loss={"terms": terms}, advantage={"estimator": "gae"}))


@pytest.mark.parametrize("type", sorted(BUILT_IN_TERMS))
def test_every_term_is_told_in_80_columns(type):
    text = describe(job(loss={"terms": [{"name": "a_term_with_a_long_name", "type": type}]}))
    assert max(map(len, text.splitlines())) <= WIDTH and f"(default of {type})" in words(text)


def test_every_divisor_and_normalisation_has_words():
    assert set(SUMS) == set(DIVISORS) == set(get_args(AggregationKind))
    assert set(NORMALISERS) == set(get_args(Normalisation))


@pytest.mark.parametrize(("text", "code"), [(GOOD, 0), (GOOD.replace("grpo", "gpro"), 2)])
def test_the_command_writes_plain_text_into_a_pipe(tmp_path, text, code):
    (make_folder(tmp_path) / "job.toml").write_text(text)
    command = [sys.executable, "-m", "trainer.cli", "check", str(tmp_path / "job.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert "\x1b" not in done.stdout + done.stderr
    assert ("unknown name 'gpro'" in done.stderr) if code else ("loss = w_policy * sum(grpo) / tokens" in done.stdout)


def test_a_refusal_of_the_file_loads_no_torch(tmp_path):
    (make_folder(tmp_path) / "job.toml").write_text(GOOD.replace("math/correctness", "math/corectness"))
    script = (
        "import sys, pathlib; from trainer.cli.check import check\n"
        "assert check(pathlib.Path(sys.argv[1])) == 2 and not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "job.toml")], check=True, timeout=60)


def test_a_scorer_that_is_served_elsewhere_is_named():
    sections = {"rewards": {"scorers": {"math": ["math", "safety", "poetry"]}, "weights": {"poetry/rhyme": 1.0}}}
    assert "scorer 'poetry' is not known here: its components were not checked" in describe(job(**sections))


def test_what_chooses_among_prompts_is_told_in_80_columns():
    fading = {"schedule": "linear", "start": 1.0, "end": 0.5}
    sources = [{"name": "a", "path": "a", "weight": fading}, {"name": "b" * 32, "path": "b"}]
    data = {"sources": sources, "curriculum": {"by": "pass_rate", "target": fading}}
    tree = tomllib.loads(JOB) | {"data": data, "evaluation": {"accuracy": {"math": "math/correctness"}}}
    lines = rate_lines(parse_job(tree))
    assert [line.split()[-3:] for line in lines[2:]] == [["1", "0.75", "0.5"], ["1", "0.75", "0.5"], ["1", "1", "1"]]
    assert "prompts solved this often" in lines[2] and max(map(len, lines)) <= WIDTH


def test_a_run_without_a_step_of_reinforcement_learning_tells_so():
    hold = {"schedule": "warmup_hold_decay", "peak": 1.0, "warmup_steps": 5, "hold_steps": 5}
    text = describe(job(optim={"steps": 0, "learning_rate": hold}))
    assert text.endswith("no step of reinforcement learning: [loss] and [rewards] are not used")
