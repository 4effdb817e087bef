"""Before a model loads: schedules that cannot be had, and components that are used as their range does not allow."""

import json
import tomllib

import pytest

from benchmarks.loss_refusals import make_folder
from services.verdicts import Component
from trainer.config import JobFileError, parse_job
from trainer.preflight import check_components, check_job, environment_problems

JOB = """
job.name = "demo"
model.path = "model"
data.train = "train.jsonl"
rollout = { prompts_per_step = 1, samples_per_prompt = 2, max_new_tokens = 4 }
rewards.scorers = { math = ["math"] }
rewards.weights = { "math/correctness" = 1.0 }
loss.terms = [{ name = "policy", type = "grpo" }]
optim = { steps = 10, learning_rate = 1e-4 }
"""
COMPONENTS = {
    component.name: component
    for component in (
        Component("math/correctness", ""),
        Component("math/syntax", ""),
        Component("math/length", "", higher_is_better=False),
        Component("math/margin", "", low=-1.0),
    )
}


def job(**sections):
    tree = tomllib.loads(JOB)
    for section, values in sections.items():
        tree.setdefault(section, {}).update(values)
    return parse_job(tree)


def problems(check, *arguments):
    with pytest.raises(JobFileError) as refusal:
        check(*arguments)
    return refusal.value.problems


def schedule_problems(**sections):
    return [p for p in problems(check_job, job(**sections)) if not p.startswith(("model.path", "data.train"))]


@pytest.mark.parametrize(
    ("most", "said"),
    [
        (1.0, "prompt 'b' has no field 'difficulty', a number"),
        ({"schedule": "linear", "start": 0.2, "end": 1.0}, "it falls to 0.2, and the easiest prompt has a difficulty of 0.5"),
        ({"controller": "threshold", "start": 1.0, "min": 0.1, "max": 2.0, "high": 0.8, "metric": "reward/total"}, "it falls to 0.1"),
        ({"schedule": "linear", "start": 0.5, "end": 1.0}, None),
    ],
)
def test_a_limit_to_difficulty_leaves_a_prompt_at_every_step(tmp_path, most, said):
    rows = [{"id": name, "domain": "math", "prompt": "1 + 1 =", "checks": {"gold": "2"}, "difficulty": 0.5} for name in "ab"]
    if most == 1.0:
        del rows[1]["difficulty"]
    folder = make_folder(tmp_path)
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = job(data={"train": str(folder / "train.jsonl"), "max_difficulty": most}, model={"path": str(folder / "model")})
    if said is None:
        check_job(config)
    else:
        (found,) = problems(check_job, config)
        assert found.startswith("data.max_difficulty: ") and said in found


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The name of a module with schedules of a user's."""
    name = f"preflight_schedules_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(
        "def late(step, total_steps):\n    return 1.0 if step < total_steps - 1 else float('nan')\n"
        "def good(step, total_steps, high):\n    return high\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_schedules_of_ones_own_are_tried_at_every_place(own):
    late = {"schedule": f"{own}.late"}
    found = schedule_problems(
        rewards={"weights": {"math/correctness": late}, "domain_weights": {"math": {"math/correctness": late}}},
        loss={"terms": [{"name": "policy", "type": "grpo", "weight": late, "kwargs": {"eps_low": late}}]},
        optim={"learning_rate": late, "learning_rate_factor": late},
    )
    assert [line.split(":")[0] for line in found] == [
        "terms.policy.weight",
        "terms.policy.kwargs.eps_low",
        "rewards.math/correctness",
        "rewards.math.math/correctness",
        "optim.learning_rate",
        "optim.learning_rate_factor",
    ]
    assert all("returned nan at step 9 of 10; return a finite number" in line for line in found)


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        ({"schedule": "no_such_package.fn"}, "cannot be imported"),
        ({"schedule": "{own}.goood", "high": 1.0}, "did you mean 'good'"),
        ({"schedule": "{own}.good", "hihg": 1.0}, "it is called as function(step, total_steps, hihg=...)"),
        ({"schedule": "warmup_hold_decay", "peak": 1.0, "warmup_steps": 5, "hold_steps": 5}, "leave none of 10 steps"),
        ({"schedule": "linear", "start": -1.7e308, "end": 1.7e308}, "at step 0 of 10"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(own, weight, said):
    weight["schedule"] = weight["schedule"].replace("{own}", own)
    (found,) = schedule_problems(rewards={"weights": {"math/correctness": weight}})
    assert found.startswith("rewards.math/correctness: ") and said in found


def test_a_learning_rate_is_not_negative():
    (found,) = schedule_problems(optim={"learning_rate_factor": {"schedule": "linear", "start": 1.0, "end": -0.5}})
    assert found == "optim.learning_rate_factor: it falls to -0.5; a learning rate is 0 or more"


def test_a_run_without_a_step_has_no_schedule_to_refuse():
    hold = {"schedule": "warmup_hold_decay", "peak": 1.0, "warmup_steps": 5, "hold_steps": 5}
    sections = {"rewards": {"weights": {"math/correctness": hold}}, "optim": {"steps": 0}}
    assert schedule_problems(**sections) == []
    check_components(job(**sections), COMPONENTS)


CONTROLLED = {"controller": "threshold", "metric": "reward/total", "low": 0.1}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"rewards": {"weights": {"math/corectness": 1.0}}}, ["rewards.weights", "did you mean 'math/correctness'"]),
        ({"rewards": {"weights": {"math/length": 1.0}}}, ["rewards.weights: 'math/length'", "negative or 0, not 1.0"]),
        (
            {"rewards": {"weights": {"math/length": {"schedule": "cyclic", "start": -1.0, "end": 0.5, "period": 4}}}},
            ["rewards.weights: 'math/length'", "negative or 0"],
        ),
        (
            {"rewards": {"weights": {"math/length": {**CONTROLLED, "start": 0.5, "min": 0.1, "max": 1.0}}}},
            ["rewards.weights: 'math/length'", "negative or 0"],
        ),
        (
            {"rewards": {"domain_weights": {"math": {"math/length": 1.0}}}},
            ["rewards.domain_weights.math: 'math/length'", "negative or 0"],
        ),
        ({"advantage": {"combine": "gated", "gates": ["math/sintax"]}}, ["advantage.gates", "did you mean 'math/syntax'"]),
        ({"advantage": {"combine": "gated", "gates": ["math/margin"]}}, ["advantage.gates: 'math/margin'", "0 or more"]),
        ({"advantage": {"combine": "gated", "gates": ["math/length"]}}, ["advantage.gates: 'math/length'", "better when it"]),
        (
            {
                "advantage": {"combine": "gated", "gates": ["math/syntax"]},
                "rewards": {"weights": {"math/correctness": 1.0, "math/length": -0.5}},
            },
            ["rewards.weights: 'math/length'", "a gate that fails", "'normalise_first'"],
        ),
        (
            {"advantage": {"normalise": "max_rl"}, "rewards": {"weights": {"math/length": -0.5}}},
            ["rewards.weights: 'math/length'", "'max_rl'", "take 'group_mean'"],
        ),
        (
            {"advantage": {"normalise": "max_rl"}, "rewards": {"weights": {"math/margin": 0.5}}},
            ["rewards.weights: 'math/margin'", "'max_rl'"],
        ),
    ],
)
def test_components_that_cannot_be_used_so_are_refused(sections, expected):
    (found,) = problems(check_components, job(**sections), COMPONENTS)
    for part in expected:
        assert part in found, found


def test_good_uses_of_components_pass():
    fading = {**CONTROLLED, "start": -0.1, "min": -0.5, "max": -0.01}
    check_components(job(rewards={"weights": {"math/correctness": 1.0, "math/length": fading}}), COMPONENTS)
    check_components(job(advantage={"combine": "gated", "gates": ["math/syntax"], "normalise": "max_rl"}), COMPONENTS)


@pytest.fixture
def environments(tmp_path, monkeypatch):
    (tmp_path / "own_environments.py").write_text(
        "class Asks:\n"
        "    def __init__(self, times=1): ...\n"
        "    async def reply(self, turn): ...\n"
        "class Blocks:\n"
        "    def reply(self, turn): ...\n"
        "def asks(times=1):\n"
        "    return Asks(times)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "kwargs", "said"),
    [
        ("no_such_environments:Asks", {}, "rollout.environment: path 'no_such_environments:Asks': no_such_environments cannot"),
        ("own_environments:Block", {}, "did you mean 'Blocks'"),
        ("own_environments:Asks", {"tims": 2}, "rollout.environment.kwargs: own_environments:Asks: got an unexpected"),
        ("own_environments:asks", {"tims": 2}, "rollout.environment.kwargs: own_environments:asks: got an unexpected"),
        ("own_environments:Blocks", {}, "rollout.environment.path: own_environments:Blocks: it has no method `async def"),
    ],
)
def test_an_environment_that_no_collector_could_ask_is_refused(environments, path, kwargs, said):
    (found,) = environment_problems(job(rollout={"environment": {"path": path, "kwargs": kwargs}}))
    assert said in found


@pytest.mark.parametrize("path", ["own_environments:Asks", "own_environments.Asks", "own_environments:asks"])
def test_an_environment_is_a_class_or_what_makes_one(environments, path):
    assert environment_problems(job(rollout={"environment": {"path": path, "kwargs": {"times": 2}}})) == []
