"""`assay run` that is stopped by Ctrl-C goes on where it was, by the command that it prints."""

import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from trainer.lines import read_lines

ROOT = Path(__file__).parents[2]
STEPS = 20
JOB = f"""
job.name = "stopped"
model.path = "model"
data.train = "train.jsonl"
rollout = {{ prompts_per_step = 4, samples_per_prompt = 2, max_new_tokens = 4 }}
rewards.scorers = {{ sums = ["waiting"] }}
rewards.custom = {{ waiting = "benchmarks.waiting_scorer:Waiting" }}
rewards.weights = {{ "waiting/value" = 1.0 }}
loss.terms = [{{ name = "policy", type = "grpo" }}]
optim = {{ steps = {STEPS}, learning_rate = 1e-4 }}
"""


@contextmanager
def assay(tmp_path, *arguments):
    """What it starts ends with it, also where the test fails."""
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    with subprocess.Popen(
        [sys.executable, "-m", "trainer.cli", *arguments],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_by_the_command_that_it_prints(folder, tmp_path):
    (tmp_path / "model").symlink_to(folder / "model")
    (tmp_path / "train.jsonl").write_text("".join(f'{{"domain": "sums", "prompt": "{a} + 1 = "}}\n' for a in range(40)))
    (tmp_path / "job.toml").write_text(JOB)
    with assay(tmp_path, "run", "job.toml", "--plain") as running:
        assert any(line.startswith("step    10 ") for line in running.stdout)
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=120)
    assert running.returncode == 130, rest
    (command,) = re.findall(r"goes on from its last checkpoint with: assay (run job\.toml .+)", rest)
    (run_dir,) = (tmp_path / "runs").iterdir()
    done = len(list(read_lines(run_dir / "metrics.jsonl")))
    assert 10 <= done < STEPS
    with assay(tmp_path, *shlex.split(command)) as again:
        rest, _ = again.communicate(timeout=200)
    assert again.returncode == 0, rest
    assert list((tmp_path / "runs").iterdir()) == [run_dir]
    assert [line["step"] for line in read_lines(run_dir / "metrics.jsonl")] == list(range(STEPS))
