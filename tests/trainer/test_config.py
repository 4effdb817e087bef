"""The job file: what is accepted, and that every refusal names the field and the mend."""

import copy
import json
import subprocess
import sys
import tomllib

import pytest

from trainer.config import JobFileError, job_from_json, job_to_json, parse_job, read_job
from trainer.reward_weights import RewardWeights

HUGE = 10**400

GOOD = """
[job]
name = "demo"
[model]
path = "model"
[data]
train = "train.jsonl"
[rollout]
prompts_per_step = 8
samples_per_prompt = 4
max_new_tokens = 16
[rewards]
scorers = { math = ["math", "safety"] }
[rewards.weights]
"math/correctness" = 1.0
"safety/toxicity" = { schedule = "linear", start = 0.0, end = -0.5 }
[[loss.terms]]
name = "policy"
type = "grpo"
[[loss.terms]]
name = "kl"
type = "kl"
weight = { schedule = "linear", start = 0.0, end = 0.02, steps = 200 }
kwargs = { estimator = "k3" }
[optim]
steps = 10
learning_rate = 1e-4
"""


def tree():
    return tomllib.loads(GOOD)


def problems(changed):
    with pytest.raises(JobFileError) as refusal:
        parse_job(changed)
    return "\n".join(refusal.value.problems)


def edited(path, value):
    changed = copy.deepcopy(tree())
    *parents, last = path
    node = changed
    for part in parents:
        node = node[part]
    node[last] = value
    return changed


def test_a_good_job_survives_the_wire():
    job = parse_job(tree())
    assert job_from_json(job_to_json(job)) == job
    assert job.rewards.weights["safety/toxicity"] == {"schedule": "linear", "start": 0.0, "end": -0.5}
    assert job.scorer_names() == ["math", "safety"]


def test_paths_are_taken_from_the_job_files_folder(tmp_path):
    (tmp_path / "job.toml").write_text(GOOD)
    job = read_job(tmp_path / "job.toml")
    assert job.model.path == str(tmp_path / "model")
    assert job.data.train == str(tmp_path / "train.jsonl")
    assert job.data.heldout is None


def test_prime_rl_form_is_a_composite_of_one_term():
    changed = tree()
    changed["loss"] = {"path": "my_project.losses.ppo_clip_loss", "kwargs": {"clip_eps": 0.2}}
    (term,) = parse_job(changed).loss.all_terms()
    assert (term.path, term.kwargs, term.weight) == ("my_project.losses.ppo_clip_loss", {"clip_eps": 0.2}, 1.0)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("job", "nmae"), "x", ["job.nmae", "unknown name", "did you mean 'name'"]),
        (("job", "name"), "a b", ["job.name", "a b"]),
        (("job", "seed"), -1, ["job.seed", "-1", "greater than or equal to 0"]),
        (("job", "seed"), "7", ["job.seed", "'7'", "integer"]),
        (("job", "seed"), True, ["job.seed", "integer"]),
        (("rollout", "samples_per_prompt"), 0, ["rollout.samples_per_prompt", "greater than or equal to 1"]),
        (("rollout", "max_new_tokens"), -5, ["rollout.max_new_tokens", "-5"]),
        (("rollout", "stop"), [str(number) for number in range(17)], ["rollout.stop", "at most 16", "17"]),
        (("rollout", "stop"), ["a", "b" * 257], ["rollout.stop[1]", "at most 256 characters"]),
        (("rollout", "temperature"), float("nan"), ["rollout.temperature", "finite"]),
        # Whole numbers that no float can hold; TOML can write them.
        pytest.param(("rollout", "temperature"), HUGE, ["rollout.temperature", "valid number"], id="huge temperature"),
        pytest.param(("optim", "learning_rate"), HUGE, ["optim.learning_rate", "finite number"], id="huge rate"),
        pytest.param(("loss", "terms", 1, "weight"), -HUGE, ["loss.terms[1].weight", "finite number"], id="huge weight"),
        pytest.param(
            ("loss", "terms", 1, "weight"),
            {"schedule": "linear", "start": 0, "end": HUGE},
            ["loss.terms[1].weight", "end must be a finite number"],
            id="huge end",
        ),
        (("rollout", "top_p"), 1.5, ["rollout.top_p", "1.5"]),
        (("rollout", "timeout_seconds"), -1.0, ["rollout.timeout_seconds", "-1.0"]),
        (("loss", "terms", 0, "type"), "gpro", ["loss.terms[0]", "'gpro'", "or 'grpo'"]),
        (("loss", "terms", 0, "path"), "a.b", ["loss.terms[0]", "either type", "path"]),
        (("loss", "terms", 0), {"name": "policy"}, ["loss.terms[0]: without a loss: give type (a built-in term) or path"]),
        (("loss", "terms", 1, "name"), "policy", ["loss", "'policy' is used twice"]),
        (("loss", "terms", 1, "wieght"), 1.0, ["loss.terms[1].wieght", "did you mean 'weight'"]),
        (("loss", "terms", 0, "aggregation"), "mean", ["loss.terms[0].aggregation", "token_mean"]),
        (("loss", "terms"), [], ["loss", "no terms"]),
        (("loss", "path"), "a.b", ["loss", "either terms or path"]),
        (("loss", "terms", 1, "weight"), "high", ["loss.terms[1].weight", "'high'"]),
        (("loss", "terms", 1, "weight"), {"schedule": "liner", "start": 0, "end": 1}, ["loss.terms[1].weight", "liner", "linear"]),
        (("rewards", "weights", "code/tests"), 1.0, ["rewards", "'code/tests'", "math, safety"]),
        (("rewards", "weights", "correctness"), 1.0, ["rewards", "'correctness'"]),
        (("rewards", "scorers", "math"), [], ["rewards.scorers.math"]),
        (("rewards", "missing"), "zero", ["rewards.missing", "drop_sample"]),
        (("optim", "steps"), -1, ["optim.steps", "-1"]),
        (("optim", "learning_rate"), None, ["optim.learning_rate"]),
        (("optim", "gradient_clipping"), -0.1, ["optim.gradient_clipping", "-0.1"]),
        (("data", "heldout"), "held.jsonl", ["evaluation.accuracy", "'math'"]),
        (("data", "curriculum"), {"by": "pass_rate"}, ["evaluation.accuracy", "'math'", "data.curriculum needs one"]),
        (("deepspeed",), {"zero_stage": 4}, ["deepspeed.zero_stage", "4"]),
        (("deepspeed",), {"dtype": "float32"}, ["deepspeed.dtype", "fp32"]),
        (("checkpoint",), {"every_steps": 0}, ["checkpoint.every_steps"]),
        (("checkpont",), {}, ["checkpont", "did you mean 'checkpoint'"]),
    ],
)
def test_refusals_name_the_field_and_the_mend(path, value, expected):
    text = problems(edited(path, value))
    for part in expected:
        assert part in text, text


def test_a_missing_table_is_named():
    changed = tree()
    del changed["optim"], changed["loss"]
    told = problems(changed)
    assert "optim: is missing" in told and "add [[loss.terms]] with name, and type or path" in told


def test_every_problem_is_told_at_once():
    changed = edited(("job", "seed"), -1)
    changed["rollout"]["samples_per_prompt"] = 0
    with pytest.raises(JobFileError) as refusal:
        parse_job(changed)
    assert len(refusal.value.problems) == 2


@pytest.mark.parametrize(("content", "part"), [(b"[job\n", "TOML"), (b"a = " + b"[" * 9000, "nested too deeply"), (b"\xff\xfe", "UTF-8"), (None, "cannot be read")])
def test_files_that_are_no_job(tmp_path, content, part):
    path = tmp_path / "job.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(JobFileError, match=part):
        read_job(path)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", json.dumps({"job": []})])
def test_wire_text_that_is_no_job(text):
    with pytest.raises(JobFileError):
        job_from_json(text)


def test_reading_a_job_loads_no_torch(tmp_path):
    (tmp_path / "job.toml").write_text(GOOD)
    script = "import sys, pathlib; from trainer.config import read_job; read_job(pathlib.Path(sys.argv[1])); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "job.toml")], check=True, timeout=60)


KL_CONTROLLER = {
    "controller": "target_kl", "start": 0.05, "min": 0.001, "max": 1.0, "target": 0.02, "metric": "term/kl/k1"
}
BALANCE = {"start": 1.0, "min": 0.1, "max": 10.0}


def changed_by(**sections):
    changed = tree()
    for section, values in sections.items():
        changed.setdefault(section, {}).update(values)
    return changed


def test_controllers_stand_wherever_a_number_moves_and_survive_the_wire():
    changed = edited(("loss", "terms", 1, "weight"), KL_CONTROLLER)
    changed["loss"]["terms"][0]["kwargs"] = {"eps_high": {**KL_CONTROLLER, "start": 0.2}, "eps_low": 0.2}
    changed["rewards"]["weights"]["math/correctness"] = {**KL_CONTROLLER, "metric": "reward/math/correctness"}
    changed["rewards"]["domain_weights"] = {"math": {"safety/toxicity": -2.0}}
    changed["optim"]["learning_rate_factor"] = {**KL_CONTROLLER, "metric": "reward/total"}
    job = parse_job(changed)
    assert job_from_json(job_to_json(job)) == job
    places = job.places()
    assert {place for place, value in places.items() if isinstance(value, dict) and "controller" in value} == {
        "terms.kl.weight",
        "terms.policy.kwargs.eps_high",
        "rewards.math/correctness",
        "optim.learning_rate_factor",
    }
    assert places["rewards.math.safety/toxicity"] == -2.0 and places["rewards.safety/toxicity"]["end"] == -0.5
    assert "terms.kl.kwargs.estimator" not in places and places["optim.learning_rate"] == 1e-4


def test_the_weights_of_a_run_are_the_places_of_its_job():
    changed = changed_by(rewards={"domain_weights": {"math": {"math/correctness": {"schedule": "linear", "start": 1.0, "end": 3.0}}}})
    job = parse_job(changed)
    weights = RewardWeights.of(job.rewards)
    assert weights.places().keys() == {place for place in job.places() if place.startswith("rewards.")}
    assert weights.at(2, 3) == ({"math/correctness": 1.0, "safety/toxicity": -0.5}, {"math": {"math/correctness": 3.0}})


def test_a_schedule_of_ones_own_is_not_imported_when_a_job_is_read():
    changed = edited(("loss", "terms", 1, "weight"), {"schedule": "no_such_package.mod.fn", "knob": 3})
    assert parse_job(changed).places()["terms.kl.weight"]["knob"] == 3


@pytest.mark.parametrize(
    ("advantage", "kind"),
    [
        ({"combine": "gated", "gates": ["math/syntax"]}, "gated"),
        ({"combine": "lexicographic", "order": ["safety/toxicity", "math/correctness"]}, "lexicographic"),
        ({"combine": "normalise_first", "whiten": True, "normalise": "leave_one_out"}, "normalise_first"),
    ],
)
def test_an_advantage_section_says_how_components_are_combined(advantage, kind):
    section = parse_job(changed_by(advantage=advantage)).advantage
    assert section.combination().kind == kind
    assert section.combination().gates == tuple(advantage.get("gates", ()))
    assert section.combination().order == tuple(advantage.get("order", ()))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("loss", "terms", 1, "weight"), {"controller": "target_lk"}, ["loss.terms[1].weight", "did you mean 'target_kl'"]),
        (("loss", "terms", 1, "weight"), {**KL_CONTROLLER, "start": 2.0}, ["loss.terms[1].weight", "start 2.0", "max 1.0"]),
        (("loss", "terms", 1, "weight"), {**KL_CONTROLLER, "metric": "term/kll/k1"}, ["terms.kl.weight", "did you mean 'kl'"]),
        (("loss", "terms", 1, "weight"), {**KL_CONTROLLER, "metric": "terms/kl/k1"}, ["terms.kl.weight", "did you mean 'term'"]),
        (("loss", "terms", 1, "weight"), {**KL_CONTROLLER, "metric": "reward/code/tests"}, ["of the scorers", "math, safety"]),
        (("loss", "terms", 0, "weight"), {"controller": "uncertainty", **BALANCE}, ["terms.policy.weight", "'running_scale'"]),
        (("loss", "terms", 0, "weight"), {"controller": "gradnorm", **BALANCE}, ["terms.policy.weight", "two terms or more"]),
        (("loss", "terms", 0, "kwargs"), {"eps_low": KL_CONTROLLER | {"min": 0}}, ["loss.terms[0].kwargs", "eps_low", "min must be above 0"]),
        (("loss", "terms", 0, "kwargs"), {"eps_low": {"schedule": "liner"}}, ["loss.terms[0].kwargs", "eps_low", "'linear'"]),
        (("loss", "terms", 0, "non_negative"), True, ["loss.terms[0]", "non_negative is for your own functions"]),
        (("rewards", "weights", "math/correctness"), {"controller": "running_scale", **BALANCE}, ["rewards.math/correctness", "term of the loss"]),
        (("optim", "learning_rate"), KL_CONTROLLER, ["optim.learning_rate", "learning_rate_factor"]),
        (("optim", "learning_rate_factor"), "fast", ["optim.learning_rate_factor", "'fast'"]),
        (("rewards", "domain_weights"), {"code": {"math/correctness": 1.0}}, ["domain_weights", "'code'", "known: math"]),
        (("rewards", "domain_weights"), {"math": {"code/tests": 1.0}}, ["domain_weights.math", "'code/tests'", "math, safety"]),
        (("rewards", "domain_weights"), {"math": {"math/correctness": "high"}}, ["rewards.domain_weights.math.math/correctness", "'high'"]),
        (("advantage",), {"normalise": "zscore"}, ["advantage.normalise", "'max_rl'"]),
        (("advantage",), {"combine": "sum"}, ["advantage.combine", "'weighted_sum'"]),
        (("advantage",), {"combine": "gated"}, ["advantage", "needs gates"]),
        (("advantage",), {"gates": ["math/syntax"]}, ["advantage", "gates is for combine = 'gated'"]),
        (("advantage",), {"combine": "gated", "gates": ["math/correctness"]}, ["advantage.gates", "'math/correctness'", "take its weight away"]),
        (("advantage",), {"combine": "gated", "gates": ["code/style"]}, ["advantage.gates", "'code/style'", "no scorer"]),
        (("advantage",), {"combine": "lexicographic", "order": ["math/correctness"]}, ["advantage.order", "math/correctness, safety/toxicity"]),
        (("advantage",), {"whitten": True}, ["advantage.whitten", "did you mean 'whiten'"]),
    ],
)
def test_what_cannot_move_or_combine_so_is_refused(path, value, expected):
    text = problems(edited(path, value))
    for part in expected:
        assert part in text, text


def test_a_function_of_ones_own_may_be_weighed_by_its_uncertainty_on_ones_word():
    changed = edited(("loss", "terms", 0), {"name": "own", "path": "a.b", "weight": {"controller": "uncertainty", **BALANCE}})
    assert "non_negative = true" in problems(changed)
    changed["loss"]["terms"][0]["non_negative"] = True
    assert parse_job(changed).loss.terms[0].is_non_negative()
