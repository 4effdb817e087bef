"""Job files with a mistake: refused with the field and the mend, by what `assay check` does."""

import pytest

from benchmarks.bad_jobs import BAD_JOBS, GOOD
from benchmarks.loss_refusals import ask, make_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("refusals"))


def test_the_good_job_passes(folder):
    assert ask(folder, GOOD).problems == []


@pytest.mark.parametrize("job", BAD_JOBS, ids=lambda job: job.mistake)
def test_a_bad_job_is_refused_with_its_mend(folder, job):
    answer = ask(folder, job.text)
    assert answer.refuses(job), answer.problems


def test_a_loss_may_read_any_component_that_the_samples_of_every_domain_have(folder, tmp_path, monkeypatch):
    (tmp_path / "reads_components.py").write_text(
        "from trainer.losses.contract import LossOutputs\n"
        "def loss(inputs, name='code/compiles', get=True):\n"
        "    score = inputs.rewards.get(name, 1.0) if get else inputs.rewards[name]\n"
        "    return LossOutputs(-(score * inputs.trainer_logprobs)[inputs.loss_mask].sum())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = 'path = "reads_components.loss"'
    assert ask(folder, GOOD.replace('type = "grpo"', path)).problems == []
    for name, said in {"code/compile": "'code/compile'", "code/compiles": "known: math/correctness, "}.items():
        arguments = f'\nkwargs = {{ name = "{name}", get = false }}'
        (problem,) = ask(folder, GOOD.replace('type = "grpo"', path + arguments)).problems
        assert "of the components of a domain's samples, unknown name" in problem and said in problem
        assert "rewards.get(...) is None" in problem


def test_a_value_head_may_learn_returns_that_a_loss_makes_from_advantages_too(folder, tmp_path, monkeypatch):
    (tmp_path / "learns_returns.py").write_text(
        "from trainer.losses.contract import LossOutputs\n"
        "def loss(inputs):\n"
        "    errors = (inputs.values - inputs.returns).square() * inputs.advantages.abs()\n"
        "    return LossOutputs(errors[inputs.loss_mask].sum())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = '[[loss.terms]]\nname = "critic"\npath = "learns_returns.loss"\nneeds = ["values", "returns"]\n[optim]'
    text = GOOD.replace("[optim]", own).replace('normalise = "group_mean"', 'estimator = "gae"')
    assert ask(folder, text).problems == []


def test_a_run_without_a_step_tries_no_term_of_the_loss(folder):
    hold = 'kwargs = { eps_low = { schedule = "warmup_hold_decay", start = 0.1, end = 0.1, peak = 0.2, warmup_steps = 9, hold_steps = 9 } }'
    text = GOOD.replace('type = "grpo"', f'type = "grpo"\n{hold}')
    assert ask(folder, text).problems == []
    assert ask(folder, text.replace("steps = 60", "steps = 0")).problems == []
    (problem,) = ask(
        folder, text.replace("steps = 60", "steps = 0").replace("hold_steps = 9", "hold_stps = 9")
    ).problems
    assert "did you mean 'hold_steps'" in problem


def test_weights_that_are_0_at_every_fourth_step_of_a_long_run_count(folder):
    cycle = '{ schedule = "cyclic", start = 0.0, end = 1.0, period = 4 }'
    text = GOOD.replace("steps = 60", "steps = 4000").replace("weight = 0.02", f"weight = {cycle}")
    assert ask(folder, text.replace('type = "grpo"', f'type = "grpo"\nweight = {cycle}')).problems == []
