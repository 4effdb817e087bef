"""Reinforcement learning: sample, score, weigh, step, publish, and again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from trainer.assembly import teacher_at_service
from trainer.composite import Composite
from trainer.config import JobConfig
from trainer.exits import Interrupted
from trainer.learner import Learner
from trainer.metrics import MetricsLog
from trainer.record import RolloutRecord
from trainer.report import Accuracy, Summary, draw_curves, write_summary
from trainer.run import Run
from trainer.sampler import Sampler
from trainer.saves import Saves


def reinforce(run: Run, start: Path, warmup_seconds: float) -> None:
    """Trains from the model in `start` to the job's last step, evaluates, and writes the summary. Raises Interrupted."""
    began, config, total = time.monotonic(), run.config, run.config.optim.steps
    learner = Learner(run, start)
    sampler = Sampler(run, learner.engine, start, frozen_models(config, learner.composite, start), learner.has_signal)
    saves = Saves(run, learner.engine, "rl", {"controllers": learner.controllers, "experience": sampler})
    first = saves.restore()
    sampler.publish(first)
    before = sampler.evaluate("before")
    is_first = run.group.rank == 0
    with (
        sampler,
        MetricsLog(run.run_dir, "rl", first, enabled=is_first) as log,
        RolloutRecord(run.run_dir, first, enabled=is_first and config.rollout.record) as record,
    ):
        for step in range(first, total):
            groups = None if run.stop_requested() else sampler.collect(step, learner.max_difficulty(step))
            if groups is None:
                saves.save(step)
                raise Interrupted
            record.write(step, groups)
            metrics = learner.learn(groups, step)
            sampler.publish(step + 1)
            report(run, log, step, {**metrics, **sampler.metrics})
            if (step + 1) % config.checkpoint.every_steps == 0 or step + 1 == total:
                saves.save(step + 1)
    after = sampler.evaluate("after")
    if run.group.rank == 0:
        seconds = {"warmup": warmup_seconds, "rl": time.monotonic() - began, **sampler.seconds}
        summarise(run, before, after, sampler.calls, seconds, saves.latest())


def frozen_models(config: JobConfig, composite: Composite, start: Path) -> dict[str, Path]:
    """Role to directory of the models whose log-probabilities of the samples the rollout service is to compute."""
    frozen = {"reference": start} if "ref_logprobs" in composite.needs else {}
    if teacher_at_service(config, composite):
        frozen["teacher"] = Path(str(config.model.teacher))
    return frozen


def report(run: Run, log: MetricsLog, step: int, metrics: Mapping[str, float]) -> None:
    """Tells one step to the run's own log and to the job service."""
    log.write(step, metrics)
    done = step + 1 + (run.config.warmup.steps if run.config.warmup else 0)
    if run.group.rank == 0:
        run.progress.step(done, run.config.total_steps(), metrics)


def summarise(
    run: Run,
    before: Accuracy | None,
    after: Accuracy | None,
    calls: Mapping[str, int],
    seconds: Mapping[str, float],
    checkpoint: Path | None,
) -> None:
    """Writes `summary.json` and `curves.png`. Calls and seconds are those of the attempt that came to the end."""
    run.progress.check()
    curves = draw_curves(run.run_dir)
    model = run.run_dir / "weights" / str(run.config.optim.steps)
    write_summary(
        run.run_dir,
        Summary(
            job=run.progress.job_id,
            steps=run.config.optim.steps,
            accuracy_before=before,
            accuracy_after=after,
            calls=dict(sorted(calls.items())),
            seconds={name: round(value, 2) for name, value in seconds.items()},
            checkpoint=str(checkpoint or ""),
            model=str(model),
            curves=str(curves),
        ),
    )
