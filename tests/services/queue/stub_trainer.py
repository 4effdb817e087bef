"""A stand-in for `python -m trainer`: no model, only the behaviour that the training task must cope with.

`job.json` has `stub = {steps, step_seconds, crashes, crash_code, refuse, silent}`. Each step appends its number and the
attempt's token to `steps.txt`, which is also its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from services.jobs.store import JobStore
from services.queue.connection import connect
from services.server.parent import watch_parent


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run-dir", type=Path, required=True)
    run_dir: Path = parser.parse_args().run_dir
    watch_parent()
    (run_dir / "pid.txt").write_text(str(os.getpid()))
    stub = json.loads((run_dir / "job.json").read_text()).get("stub", {})
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    if stub.get("refuse"):
        print("a line before the last", file=sys.stderr)
        print("loss.terms[0].type: unknown term 'grop'; known: grpo", file=sys.stderr)
        return 2
    if stub.get("silent"):
        while not stopped:
            time.sleep(0.05)
        return 75
    store = JobStore(connect(os.environ["REDIS_URL"]))
    job_id, token = os.environ["ASSAY_JOB_ID"], int(os.environ["ASSAY_JOB_TOKEN"])
    crashes = run_dir / "crashes.txt"
    crashed = len(crashes.read_text()) if crashes.exists() else 0
    checkpoint = run_dir / "steps.txt"
    done = len(checkpoint.read_text().splitlines()) if checkpoint.exists() else 0
    steps = stub.get("steps", 3)
    print(f"goes on from step {done}")
    for step in range(done + 1, steps + 1):
        time.sleep(stub.get("step_seconds", 0.01))
        if stopped:
            print("stopped with a checkpoint")
            return 75
        store.check(job_id, token)
        with checkpoint.open("a") as file:
            file.write(f"{step} {token}\n")
        store.record_step(job_id, token, step=step, total_steps=steps, metrics={"loss/total": 1.0 / step})
        if crashed < stub.get("crashes", 0):
            crashes.write_text("x" * (crashed + 1))
            print("RuntimeError: out of luck", file=sys.stderr)
            sys.stderr.flush()
            code = stub.get("crash_code", 1)
            if code < 0:
                os.kill(os.getpid(), -code)
            return code
    print("all done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
