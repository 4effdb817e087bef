"""One attempt at a job, from its last checkpoint to its end or to the next interruption."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from services.addresses import UnknownAddressError, address_of
from services.client.channel import ServiceError
from services.server.logs import configure_logs
from trainer.advantages import MissingRewardError
from trainer.checkpoint import CheckpointError
from trainer.composite import NotFiniteLossError
from trainer.config import JobConfig, JobFileError
from trainer.controller_spec import ControllerError
from trainer.data import DataError
from trainer.engine_config import EngineConfigError
from trainer.exits import BAD_JOB, CRASHED, DONE, INTERRUPTED, Interrupted, StopRequest
from trainer.group import RankGroup, join_group, leave_group
from trainer.imports import ImportPathError
from trainer.losses.user import LossContractError
from trainer.nccl import absence
from trainer.policy import ModelError
from trainer.preflight import check_job
from trainer.progress import Progress, Superseded, progress_from_environment
from trainer.rollouts import CanaryError, RolloutError
from trainer.schedule_shapes import ScheduleError
from trainer.steps import BarrenError
from trainer.term import TermError

NOT_WORTH_ANOTHER_ATTEMPT = (
    JobFileError,
    DataError,
    ModelError,
    CheckpointError,
    TermError,
    ImportPathError,
    LossContractError,
    EngineConfigError,
    NotFiniteLossError,
    ScheduleError,
    ControllerError,
    UnknownAddressError,
)
MAY_PASS = (BarrenError, CanaryError, RolloutError, ServiceError, MissingRewardError, Superseded)


@dataclass(frozen=True)
class Run:
    """What every phase of an attempt needs."""

    config: JobConfig
    run_dir: Path
    group: RankGroup
    progress: Progress
    stop: StopRequest

    def stop_requested(self) -> bool:
        """Whether any rank was asked to stop; every rank gets the same answer."""
        return any(self.group.gather(self.stop.received))


def run_job(config: JobConfig, run_dir: Path) -> int:
    """Runs the job and returns the exit code; what went wrong is the last line of stderr."""
    stop = StopRequest()
    try:
        return _run(config, run_dir, stop)
    except Interrupted:
        return INTERRUPTED
    except NOT_WORTH_ANOTHER_ATTEMPT as error:
        # one line: the last one is the job's message
        print(str(error).replace("\n", "; "), file=sys.stderr)
        return BAD_JOB
    except MAY_PASS as error:
        print(error, file=sys.stderr)
        return CRASHED


def _run(config: JobConfig, run_dir: Path, stop: StopRequest) -> int:
    configure_logs("trainer")
    disable_progress_bar()
    check_job(config)
    if config.rollout.transfer == "nccl" and (why := absence()):
        raise JobFileError([f"rollout.transfer is 'nccl', and the trainer cannot send: {why}; take 'files'"])
    for scorer in config.scorer_names():
        address_of(scorer)  # one that nobody serves is told before the warm-up, not after it
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(config.job.seed)
    run = Run(config, run_dir, join_group(), progress_from_environment(), stop)
    try:
        from trainer.loop import reinforce
        from trainer.warmup import warm_up

        began = time.monotonic()
        start = warm_up(run)
        reinforce(run, start, warmup_seconds=time.monotonic() - began)
        return DONE
    finally:
        leave_group()
