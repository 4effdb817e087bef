"""`assay check`: a job file's faults, or its loss as a formula."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.cli.formula import joined, loss_lines, rate_lines, reward_lines, warning_lines
from trainer.cli.job_file import read_checked_job
from trainer.cli.problems import print_problems
from trainer.config import JobConfig, JobFileError

if TYPE_CHECKING:
    from trainer.loss_sections import TermSection
    from trainer.term import Term


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
    from trainer.assembly import make_composite, warmup_composite
    from trainer.components import described, named_components
    from trainer.probe import verdict

    components = named_components(config)

    def told(name: str, written: Sequence[TermSection], terms: Sequence[Term], steps: int) -> list[str]:
        probed = [verdict(term, steps, components) for term in terms]
        return loss_lines(name, written, terms, probed, steps)

    rollout, steps = config.rollout, config.optim.steps
    title = f"job {config.job.name}: {steps} optimizer steps"
    blocks = [[f"{title}, each of {rollout.prompts_per_step} prompts with {rollout.samples_per_prompt} completions"]]
    if config.warmup and config.warmup.terms:
        blocks.append(told("warm-up", config.warmup.terms, warmup_composite(config).terms, config.warmup.steps))
    if not steps:
        return joined([*blocks, ["no step of reinforcement learning: [loss] and [rewards] are not used"]])
    composite = make_composite(config)
    blocks.append(told("loss", config.loss.all_terms(), composite.terms, steps))
    if config.loss.combination == "pcgrad":
        blocks.append(["combined by pcgrad: a term that pulls against another loses that part"])
    blocks += [reward_lines(config), rate_lines(config)]
    blocks += [warning_lines(config.advantage.groups.warnings(composite.compares_pairs))]
    blocks += [
        [f"scorer {name!r} is not known here: its components were not checked"] for name in described(config).elsewhere
    ]
    return joined(block for block in blocks if block)
