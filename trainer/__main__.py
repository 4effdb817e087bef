"""`python -m trainer --run-dir DIR`: trains the job in `DIR/job.json`, from its last checkpoint where there is one.

The training task of the queue starts it. With `[deepspeed] processes` above 1 this process starts the ranks and waits.
Exit codes: 0 done; 2 the job cannot be run (the last line of stderr says why); 75 stopped on request, with a checkpoint;
anything else is a crash, worth another attempt.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from services.server.parent import watch_parent
from trainer.config import JobConfig, JobFileError, job_from_json
from trainer.exits import BAD_JOB
from trainer.ranks import run_ranks


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    parser.add_argument("--run-dir", type=Path, required=True, help="directory with job.json; results go there too")
    arguments = parser.parse_args()
    watch_parent()
    try:
        config = _read(arguments.run_dir)
    except (OSError, JobFileError) as error:
        # one line: the last one is the job's message
        print(str(error).replace("\n", "; "), file=sys.stderr)
        return BAD_JOB
    if config.deepspeed.processes > 1 and "RANK" not in os.environ:
        return run_ranks(config.deepspeed.processes, arguments.run_dir)
    from trainer.run import run_job

    return run_job(config, arguments.run_dir)


def _read(run_dir: Path) -> JobConfig:
    return job_from_json((run_dir / "job.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
