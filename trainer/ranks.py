"""Starts one process a rank on this machine, with the environment that torch.distributed reads."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from trainer.exits import DONE, INTERRUPTED, StopRequest

# Ranks that stop together write their checkpoint first; after a crash the others can only wait for the dead one.
STOP_GRACE_SECONDS = 60.0
CRASH_GRACE_SECONDS = 2.0


def run_ranks(count: int, run_dir: Path) -> int:
    """Runs the trainer `count` times and returns the first exit code that is not 0.

    A rank that fails would leave the others waiting in a collective for ever, so they are ended with it. A request to
    stop goes to every rank; rank 0 decides at which step all of them stop.
    """
    stop = StopRequest()
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(count)}
    shared["ASSAY_EXIT_WITH_PARENT"] = "1"
    command = [sys.executable, "-m", "trainer", "--run-dir", str(run_dir)]
    ranks = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(count)
    ]
    told = False
    while True:
        codes = [rank.poll() for rank in ranks]
        failed = [code for code in codes if code not in (None, DONE)]
        if failed:
            _end(ranks, STOP_GRACE_SECONDS if INTERRUPTED in failed else CRASH_GRACE_SECONDS)
            return failed[0] if failed[0] > 0 else 128 - failed[0]
        if all(code == DONE for code in codes):
            return DONE
        if stop.received and not told:
            told = True
            for rank in ranks:
                rank.send_signal(signal.SIGTERM)
        time.sleep(0.05)


def _end(ranks: list[subprocess.Popen[bytes]], grace_seconds: float) -> None:
    deadline = time.monotonic() + grace_seconds
    for rank in ranks:
        try:
            rank.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            rank.kill()
            rank.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
