"""The job file: what is accepted, and that every refusal names the field and the mend."""

import copy
import json
import subprocess
import sys
import tomllib

import pytest

from trainer.config import JobFileError, job_from_json, job_to_json, parse_job, read_job

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
        (("rollout", "temperature"), float("nan"), ["rollout.temperature", "finite"]),
        (("rollout", "top_p"), 1.5, ["rollout.top_p", "1.5"]),
        (("rollout", "timeout_seconds"), -1.0, ["rollout.timeout_seconds", "-1.0"]),
        (("loss", "terms", 0, "type"), "gpro", ["loss.terms[0]", "'gpro'", "did you mean 'grpo'"]),
        (("loss", "terms", 0, "path"), "a.b", ["loss.terms[0]", "either type", "path"]),
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
    del changed["optim"]
    assert "optim: is missing" in problems(changed)


def test_every_problem_is_told_at_once():
    changed = edited(("job", "seed"), -1)
    changed["rollout"]["samples_per_prompt"] = 0
    with pytest.raises(JobFileError) as refusal:
        parse_job(changed)
    assert len(refusal.value.problems) == 2


@pytest.mark.parametrize(("content", "part"), [(b"[job\n", "TOML"), (b"\xff\xfe", "UTF-8"), (None, "cannot be read")])
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
