"""The supervised warm-up: steps on demonstrations, or on pairs of which one is preferred, before any rollout."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer

from trainer.assembly import engine_config, wanted_policy, warmup_composite
from trainer.batching import make_micro_batches
from trainer.checkpoint import publish
from trainer.demonstrations import Comparison, Demonstration, draw, read_supervised
from trainer.engine import Engine
from trainer.exits import Interrupted
from trainer.metrics import MetricsLog
from trainer.run import Run
from trainer.sample import Sample
from trainer.saves import Saves


def warm_up(run: Run) -> Path:
    """The directory of the model that RL starts from: the job's own, or the warmed-up one.

    An attempt that finds the warmed-up model complete does not train again. Raises Interrupted.
    """
    section = run.config.warmup
    if section is None:
        return Path(run.config.model.path)
    target = run.run_dir / "warmed-up"
    if target.exists():
        return target
    tokenizer = AutoTokenizer.from_pretrained(run.config.model.path, local_files_only=True)
    rows = read_supervised(Path(section.path))
    composite = warmup_composite(run.config)
    start = Path(run.config.model.path)
    engine = Engine(wanted_policy(run.config, start, composite, reference=start), engine_config(run.config), run.group)
    saves = Saves(run, engine, "warmup")
    first = saves.restore()
    with MetricsLog(run.run_dir, "warmup", first, enabled=run.group.rank == 0) as metrics:
        for step in range(first, section.steps):
            if run.stop_requested():
                saves.save(step)
                raise Interrupted
            drawn = draw(rows, run.config.job.seed, step, section.batch_size)
            samples = [sample for place, row in enumerate(drawn) for sample in _samples(row, place, tokenizer)]
            result = engine.train_step(
                make_micro_batches(
                    samples,
                    run.config.optim.micro_batch_size,
                    rank=run.group.rank,
                    world_size=run.group.world_size,
                    whole_groups=composite.whole_groups,
                ),
                composite,
                step=step,
                total_steps=section.steps,
                learning_rate=section.learning_rate,
            )
            metrics.write(step, result.metrics)
            if run.group.rank == 0:
                run.progress.step(step + 1, run.config.total_steps(), result.metrics)
            if (step + 1) % run.config.checkpoint.every_steps == 0:
                saves.save(step + 1)
    run.progress.check()
    publish(engine, tokenizer, target, run.group)
    return target


def _samples(row: Demonstration | Comparison, group: int, tokenizer) -> list[Sample]:
    prompt = tokenizer(row.prompt).input_ids

    def sample(completion: str, **options) -> Sample:
        ids = tokenizer(completion, add_special_tokens=False).input_ids
        return Sample(prompt_ids=prompt, completion_ids=[*ids, tokenizer.eos_token_id], **options)

    if isinstance(row, Demonstration):
        return [sample(row.completion)]
    return [sample(row.chosen, group=group, reward=1.0), sample(row.rejected, group=group, reward=0.0)]
