"""How every command reads a job file: checked as far as that goes before anything is started."""

from __future__ import annotations

from pathlib import Path

from trainer.components import described
from trainer.config import JobConfig, JobFileError, read_job
from trainer.preflight import check_components, check_job, environment_problems


def read_checked_job(path: Path) -> JobConfig:
    """A job that can be run, as far as can be told here. Raises JobFileError with what is wrong.

    Looks at the file, the components of its scorers, its environment, the model's folder, the data sets, and each loss term
    on synthetic tensors; imports torch for the last only, and never loads the model.
    """
    config = read_job(path)
    scorers = described(config)
    if problems := [*scorers.problems, *environment_problems(config)]:
        raise JobFileError(problems)
    check_components(config, scorers.components)
    check_job(config)
    return config
