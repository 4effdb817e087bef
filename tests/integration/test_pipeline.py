"""Jobs through the whole pipeline: real services over sockets, Redis, Celery workers, DeepSpeed."""

import json
import math
import os
import signal
from pathlib import Path

import psutil
import pytest

from services.jobs.job import Job, JobState, LogLine, StepMetrics
from services.stack import running_stack
from trainer.places import METRICS

# Numbers that depend on nothing but the job: neither clocks nor calls.
DETERMINISTIC = ("reward/", "term/", "loss/", "rollout/", "group/", "optim/", "cosine/", "controller/", "data/")


def finish(client, job):
    """The job when it has ended, and its metrics by step."""
    metrics = {}
    for event in client.watch(job.id):
        if isinstance(event.what, StepMetrics):
            metrics[event.what.step] = event.what.values
    return client.get(job.id), metrics


def run_metrics(job):
    lines = [json.loads(line) for line in (Path(job.run_dir) / "metrics.jsonl").read_text().splitlines()]
    return {
        (line["phase"], line["step"]): {n: v for n, v in line["values"].items() if n.startswith(DETERMINISTIC)}
        for line in lines
    }


def wait_for_step(client, job, step):
    for event in client.watch(job.id):
        if isinstance(event.what, StepMetrics) and event.what.step >= step:
            return
        assert not (isinstance(event.what, Job) and event.what.state.final), event.what.message
    raise AssertionError("the job ended early")


def trainer_log(client, job):
    return "\n".join(e.what.line for e in client.watch(job.id, history_only=True) if isinstance(e.what, LogLine))


@pytest.fixture(scope="module")
def uninterrupted(client, make_job):
    job, metrics = finish(client, client.submit(make_job()))
    assert job.state is JobState.SUCCEEDED, trainer_log(client, job)
    return job, metrics


def test_a_job_runs_to_its_end_and_leaves_its_results(uninterrupted):
    job, metrics = uninterrupted
    run_dir = Path(job.run_dir)
    summary = json.loads((run_dir / "summary.json").read_text())
    assert sorted(metrics) == list(range(1, 15))
    assert (job.step, job.total_steps, job.attempts) == (14, 14, 1)
    assert set(summary["accuracy_before"]["by_domain"]) == {"math"}
    assert summary["accuracy_after"]["scored"] == 12
    assert min(summary["calls"][name] for name in ("math", "brevity", "rollout")) > 0
    assert (Path(summary["model"]) / "model.safetensors").exists()
    assert (Path(summary["checkpoint"]) / "state.json").exists()
    assert (run_dir / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((run_dir / "tensorboard").rglob("events.*"))


def test_weights_and_rewards_follow_their_schedules(uninterrupted):
    _, metrics = uninterrupted
    first, last = metrics[7], metrics[14]
    assert (first["term/kl/weight"], last["term/kl/weight"]) == (0.0, 0.05)
    assert (first["weight/brevity/short"], last["weight/brevity/short"]) == (1.0, 0.5)
    assert first["rollout/staleness"] == last["rollout/staleness"] == 0.0
    # on policy the first step's ratio is 1 up to the rounding of two implementations
    assert first["term/policy/ratio"] == pytest.approx(1.0, abs=1e-4)


def test_prompts_become_harder_as_the_limit_rises(uninterrupted):
    rows = [values for (phase, _), values in run_metrics(uninterrupted[0]).items() if phase == "rl"]
    sums = [a + b for a in range(2, 8) for b in range(2, 8)][:24]
    limits = [min(8.0 * 1.1**step, 14.0) for step in range(8)]
    assert [row["data/max_difficulty"] for row in rows] == pytest.approx(limits)
    assert [row["data/eligible"] for row in rows] == [sum(value <= limit for value in sums) for limit in limits]


def test_a_step_tells_every_metric_that_a_controller_may_watch(uninterrupted):
    known = {f"{area}/{name}" for area, names in METRICS.items() for name in names}
    told = {name for name in uninterrupted[1][14] if name.split("/")[0] in METRICS}
    assert told - known == {"mismatch/kl/staleness_0"}  # of as many versions as there are in the step
    assert known <= told


def test_a_run_whose_worker_is_killed_equals_an_uninterrupted_one(client, make_job, stack, uninterrupted):
    job = client.submit(make_job())
    wait_for_step(client, job, 9)
    trainers = [p for p in psutil.process_iter(["cmdline"]) if job.id in " ".join(p.info["cmdline"] or [])]
    worker = trainers[0].parent()
    worker.kill()
    ended, _ = finish(client, job)
    assert ended.state is JobState.SUCCEEDED, trainer_log(client, job)
    assert ended.attempts == 2
    assert run_metrics(ended) == run_metrics(uninterrupted[0])
    betas = [values.get("controller/terms.pairs.kwargs.beta") for values in run_metrics(ended).values()]
    assert len({beta for beta in betas if beta is not None}) > 3  # it has moved, before and after
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in trainers)


def test_a_warm_up_on_pairs_prefers_by_its_own_loss(client, make_job, folder):
    rows = [{"prompt": f"{n} + 1 = ", "chosen": "#### 1", "rejected": "#### 9"} for n in range(9)]
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    terms = [{"name": "pairs", "type": "dpo"}, {"name": "imitate", "type": "nll_chosen", "weight": 0.1}]
    warmup = {"path": str(folder / "pairs.jsonl"), "steps": 6, "batch_size": 8, "learning_rate": 1e-2, "terms": terms}
    ended, metrics = finish(client, client.submit(make_job(("warmup", warmup), ("optim.steps", 1))))
    assert ended.state is JobState.SUCCEEDED, trainer_log(client, ended)
    assert metrics[1]["term/pairs/value"] == pytest.approx(math.log(2), abs=1e-6)
    assert metrics[1]["batch/pairs"] == 8.0 and metrics[1]["batch/sequences"] == 16.0
    assert metrics[6]["term/pairs/reward_gap"] > 0.05 and metrics[6]["term/pairs/accuracy"] == 1.0


def test_a_cancelled_job_leaves_a_checkpoint(client, make_job):
    job = client.submit(make_job(("optim.steps", 500), ("checkpoint.every_steps", 400)))
    wait_for_step(client, job, 8)
    client.cancel(job.id)
    ended, metrics = finish(client, job)
    assert ended.state is JobState.CANCELLED
    assert 8 <= max(metrics) < 500
    assert (Path(ended.run_dir) / "checkpoints" / "rl" / "latest").exists()


def test_two_ranks_train_as_one_does(client, make_job, uninterrupted):
    job = client.submit(make_job(("deepspeed.processes", 2), ("deepspeed.zero_stage", 2), ("optim.steps", 2)))
    ended, metrics = finish(client, job)
    assert ended.state is JobState.SUCCEEDED, trainer_log(client, job)
    # The warm-up sees the same data: the same losses, up to the order of sums.
    for step in range(1, 7):
        assert metrics[step]["term/sft/value"] == pytest.approx(uninterrupted[1][step]["term/sft/value"], abs=1e-5)


def test_a_scorer_killed_in_mid_run_costs_scores_and_nothing_else(client, make_job, stack, state_dir):
    job = client.submit(make_job(("optim.steps", 12)))
    wait_for_step(client, job, 8)
    os.kill(running_stack(state_dir).pids["brevity"], signal.SIGKILL)
    ended, metrics = finish(client, job)
    assert ended.state is JobState.SUCCEEDED, trainer_log(client, job)
    # every answer is short: a missing score that had become a number would pull the mean down
    assert {values["reward/brevity/short"] for values in metrics.values() if "reward/brevity/short" in values} == {1.0}
    assert stack.restarts["brevity"] >= 1


def test_a_job_whose_every_score_is_missing_fails_and_says_so(client, make_job, folder):
    row = {"domain": "math", "prompt": "1 + 1 = ", "checks": {"gold": ""}, "difficulty": 2}
    rows = [{"id": f"n{i}", **row} for i in range(8)]
    (folder / "numbers.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    changes = [("data.train", str(folder / "numbers.jsonl")), ("optim.steps", 3), ("job.max_attempts", 1)]
    job, _ = finish(client, client.submit(make_job(*changes)))
    assert job.state is JobState.FAILED
    assert "3 steps in a row had no rollout to train on" in job.message and "scores of 'math' were missing (INVALID_ITEM)" in job.message


def test_a_weight_for_a_component_that_no_scorer_has_fails_the_job_at_once(client, make_job):
    job, _ = finish(client, client.submit(make_job(("rewards.weights", {"math/corectness": 1.0}))))
    assert job.state is JobState.FAILED
    assert job.attempts == 1
    assert "did you mean 'math/correctness'" in job.message


def test_a_scorer_that_nobody_serves_fails_the_job_before_the_warm_up(client, make_job):
    custom = {"unserved": "examples.scorers.brevity:Brevity"}
    rewards = {"custom": custom, "scorers": {"math": ["math", "unserved"]}, "weights": {"unserved/short": 1.0}}
    ended, metrics = finish(client, client.submit(make_job(("rewards", rewards))))
    assert (ended.state, ended.attempts, metrics) == (JobState.FAILED, 1, {})
    assert "ASSAY_UNSERVED_ADDRESS" in ended.message
    assert "--scorer unserved=" in ended.message


def test_a_data_line_with_a_check_that_nobody_knows_is_named(client, make_job, folder):
    row = {"id": "odd", "domain": "math", "prompt": "1 + 1 = ", "checks": {"golld": "2"}, "difficulty": 1}
    (folder / "odd.jsonl").write_text(json.dumps(row))
    job, _ = finish(client, client.submit(make_job(("data.train", str(folder / "odd.jsonl")))))
    assert job.state is JobState.FAILED
    assert "'odd'" in job.message
    assert "did you mean 'gold'" in job.message


def test_a_job_that_the_client_did_not_check_fails_with_its_reason(client, make_job):
    tree = make_job()
    tree["model"]["path"] = "/nowhere"
    job, _ = finish(client, client.submit(tree))
    assert job.state is JobState.FAILED
    assert "model.path: /nowhere is no directory" in job.message
    tree["optim"]["stepz"] = 3
    job, _ = finish(client, client.submit(tree))
    assert "optim.stepz" in job.message
