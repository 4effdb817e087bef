"""The main job with vLLM as the engine: `make test-vllm`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.stack import StackError, rollout_spec

ROOT = Path(__file__).parents[2]


def has_vllm():
    try:
        return bool(rollout_spec("vllm"))
    except StackError:
        return False


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not has_vllm(), reason="no vLLM: `make test-vllm` sets up an environment with it")
def test_the_quickstart_learns_with_vllm(tmp_path):
    """A gain of 10 points on the held-out problems, as with transformers, and every update through its canary."""
    command = [sys.executable, "-m", "examples.quickstart", "--engine", "vllm", "--runs-dir", str(tmp_path), "--plain"]
    ours = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    }
    done = subprocess.run(command, cwd=ROOT, env=ours, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (path,) = tmp_path.glob("*/summary.json")
    summary = json.loads(path.read_text())
    before, after = summary["accuracy_before"], summary["accuracy_after"]
    assert after["overall"] >= before["overall"] + 0.10
    assert all(after["by_domain"][name] >= value for name, value in before["by_domain"].items())
    lines = [json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()]
    updates = [line["values"] for line in lines if line["phase"] == "rl"]
    assert len(updates) == 60
    assert 0 < max(step["canary/difference"] for step in updates) < 1e-4
    assert all(step["mismatch/difference_max"] < 1e-3 for step in updates)
