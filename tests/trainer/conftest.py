"""Runs all cases of `engine_worker.py` once on one real rank and once on two: a process takes seconds to start."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("engine_worker.py")


def _environment(rank, world_size, port, closed):
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PATH"] = f"{closed}{os.pathsep}{environment['PATH']}"
    if world_size == 1:
        return environment
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return environment | address | {"RANK": str(rank), "WORLD_SIZE": str(world_size)}


ONE_RANK = (
    *(f"partition:{stage}:fp32" for stage in range(4)),
    "partition:2:bf16",
    "clipping:0:fp32",
    "clipping:2:fp32",
    "everything:0:sum",
    "everything:2:pcgrad",
    "resume:0:fp32",
    "publish:0:fp32",
    "mismatch:0",
)
TWO_RANKS = (
    *(f"partition:{stage}:fp32" for stage in range(4)),
    "partition:2:bf16",
    "clipping:0:fp32",
    "clipping:2:fp32",
    "not_finite:0:fp32:raise:poisoned",
    "not_finite:0:fp32:skip_step:root",
    "not_finite:2:fp32:raise:root",
    "not_finite:2:bf16:skip_step:poisoned",
    "not_finite:3:fp32:skip_step:poisoned",
    "group",
    "unequal",
    "nothing",
    "everything:1:sum",
    "everything:2:pcgrad",
    "everything:3:sum",
    "resume:2:fp32",
    "resume:3:fp32",
    "publish:3:fp32",
    "publish:2:bf16",
    "mismatch:2",
    "learner",
)


@pytest.fixture(scope="session")
def closed(tmp_path_factory):
    """A folder whose `numactl` may not be run, as in a folder of PATH that is another user's."""
    folder = tmp_path_factory.mktemp("closed")
    (folder / "numactl").touch(mode=0o644)
    return folder


@pytest.fixture(scope="session")
def one_rank(closed):
    """What one rank found: `[({case: result}, standard error)]`."""
    return _run(1, ONE_RANK, closed)


@pytest.fixture(scope="session")
def two_ranks(closed):
    """What each of two ranks found: `[({case: result}, standard error)]`."""
    return _run(2, TWO_RANKS, closed)


def _run(world_size, cases, closed):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, str(WORKER), *cases],
            env=_environment(rank, world_size, port, closed),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    try:
        outputs = [rank.communicate(timeout=280) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    for rank, (_, errors) in zip(ranks, outputs, strict=True):
        assert rank.returncode == 0, errors[-3000:]
    return [(json.loads(out), errors) for out, errors in outputs]
