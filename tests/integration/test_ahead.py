"""Jobs whose groups are under way while they train: each group once, none too old, through the death of everything."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from services.jobs.job import JobState, StepMetrics
from trainer.lines import read_lines

STEPS, PROMPTS = 8, 4


@pytest.fixture(scope="module")
def ahead(make_job):
    """The job with sampling and training at the same time, each group kept."""
    return make_job(
        ("rollout.max_staleness", 2), ("rollout.record", True), ("data.max_difficulty", 100.0), ("job.name", "ahead")
    )


def finish(client, job, on_step=lambda step: None):
    for event in client.watch(job.id):
        if isinstance(event.what, StepMetrics):
            on_step(event.what.step)
    return client.get(job.id)


def trained(job):
    """Serials by step, and how far the oldest token of each group was behind."""
    lines = read_lines(Path(job.run_dir) / "rollouts.jsonl")
    serials = Counter(int(line["prompt"].split("/")[0]) for line in lines)
    behind = [line["step"] - each["versions"][0] for line in lines for each in line["completions"]]
    return lines, serials, behind


def check_whole(job):
    lines, serials, behind = trained(job)
    assert job.state is JobState.SUCCEEDED, job.message
    assert serials == Counter(range(STEPS * PROMPTS))
    assert Counter(line["step"] for line in lines) == dict.fromkeys(range(STEPS), PROMPTS)
    assert min(behind) >= 0 and max(behind) <= 2
    return lines, behind


def test_a_trainer_that_is_killed_goes_on_with_what_was_under_way(client, ahead, tmp_path):
    killed = []

    def kill(step):
        if step in (9, 12) and step not in killed:  # of 6 + 8 steps
            pid = next(int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _is_trainer(p, job.id))
            os.kill(pid, signal.SIGKILL)
            killed.append(step)

    job = client.submit(ahead)
    job = finish(client, job, kill)
    assert killed == [9, 12]
    assert job.attempts == 3
    lines, behind = check_whole(job)
    assert max(behind) >= 1  # some were under way while a step trained
    metrics = [line["values"] for line in read_lines(Path(job.run_dir) / "metrics.jsonl") if line["phase"] == "rl"]
    assert [step["canary/difference"] < 1e-4 for step in metrics] == [True] * STEPS
    assert all(each["components"] and not each["missing"] for line in lines for each in line["completions"])


def _is_trainer(process, job_id):
    try:
        command = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"trainer" in command and any(job_id.encode() in part for part in command)


def test_synchronous_jobs_sample_and_train_alike_twice(client, make_job):
    """With groups that are replaced, because their completions got equal rewards, in the same way too."""
    changes = (("rollout.record", True), ("rollout.resample", 2.0), ("optim.steps", 3), ("evaluation", {}))
    jobs = [finish(client, client.submit(make_job(*changes, ("data.heldout", None)))) for _ in range(2)]
    first, second = (trained(job)[0] for job in jobs)
    assert json.dumps(first) == json.dumps(second)
    serials = trained(jobs[0])[1]
    assert len(serials) == 3 * PROMPTS and set(serials.values()) == {1}
    metrics = [line["values"] for line in read_lines(Path(jobs[0].run_dir) / "metrics.jsonl") if line["phase"] == "rl"]
    drawn = sum(step["group/resampled"] for step in metrics) + 3 * PROMPTS
    assert drawn > 3 * PROMPTS and max(serials) < drawn


def test_a_job_for_another_engine_is_refused(client, make_job):
    job = finish(client, client.submit(make_job(("rollout.engine", "vllm"), ("warmup", None))))
    assert job.state is JobState.FAILED
    assert "rollout.engine is 'vllm', and the rollout service at" in job.message
    assert "samples with 'transformers'" in job.message
