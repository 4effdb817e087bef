"""`assay check`: a job file's faults, or its loss as a formula."""

from __future__ import annotations

from pathlib import Path

from trainer.cli.formula import joined, loss_lines, rate_lines, reward_lines
from trainer.cli.job_file import read_checked_job
from trainer.cli.jobs import print_problems
from trainer.config import JobConfig, JobFileError


def check(path: Path) -> int:
    """Prints every problem and returns 2, or prints the loss and returns 0."""
    try:
        config = read_checked_job(path)
    except JobFileError as error:
        print_problems(error)
        return 2
    print(describe(config))
    return 0


def describe(config: JobConfig) -> str:
    """What a job that was checked trains on, in at most 80 columns."""
    from trainer.assembly import make_composite
    from trainer.probe import verdict

    terms = make_composite(config).terms
    probed = {term.name: verdict(term, config.optim.steps) for term in terms}
    rollout = config.rollout
    title = f"job {config.job.name}: {config.optim.steps} optimizer steps"
    rollouts = f"each of {rollout.prompts_per_step} prompts with {rollout.samples_per_prompt} completions"
    return joined(
        [[f"{title}, {rollouts}"], loss_lines(config, terms, probed), reward_lines(config), rate_lines(config)]
    )
