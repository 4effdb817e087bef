"""What a look at the data tells before a run: that every row makes a prompt, and that its scorers can judge it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trainer.checks import check_problems
from trainer.components import described
from trainer.config import JobConfig
from trainer.data import DataError, Prompt
from trainer.demonstrations import read_supervised
from trainer.moving import moving_range, parse_moving, sampled_steps
from trainer.prompt_source import policy_tokenizer, read_heldout
from trainer.prompt_stream import open_stream
from trainer.schedule_shapes import ScheduleError
from trainer.schedules import parse_schedule


def data_problems(config: JobConfig) -> list[str]:
    """A line for each fault of the prompts, of their difficulties, of the held-out prompts, and of the rows of the warm-up.

    Every row of every file is read, and the first ones of an iterator. The policy's tokenizer is loaded where `[data]` needs
    it, and no model.
    """
    if problems := _chat_problems(config):
        return problems
    try:
        stream = open_stream(config, policy_tokenizer(config))
        problems += _prompt_problems(config, _field(config), stream.known()) or _difficulty_problems(config, stream.known())
    except DataError as error:
        problems.append(f"{_field(config)}: {error}")
    if config.data.has_heldout():
        try:
            problems += _prompt_problems(config, "data.heldout", read_heldout(config, policy_tokenizer(config)))
        except DataError as error:
            problems.append(f"data.heldout: {error}")
    try:
        if config.warmup:
            read_supervised(Path(config.warmup.path))
    except DataError as error:
        problems.append(f"warmup.path: {error}")
    return problems


def choice_problems(config: JobConfig) -> list[str]:
    """What is wrong with the weights and the wanted pass rate at some step, where their schedules can be read."""
    return [*_weight_problems(config), *_target_problems(config)]


def _chat_problems(config: JobConfig) -> list[str]:
    """That the tokenizer has a chat template where a source needs one: a look at its files, which takes no time."""
    chats = [source.name for source in config.data.sources if source.chat is not None]
    folder = Path(config.model.path)
    try:
        has_template = "chat_template" in (folder / "tokenizer_config.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        has_template = False
    if not chats or has_template or any(folder.glob("chat_template.*")) or not folder.is_dir():
        return []
    return [
        f"data.sources: {chats[0]!r} has chat, and the tokenizer in {folder} has no chat template: take chat away, or save the"
        " tokenizer with one"
    ]


def _prompt_problems(config: JobConfig, field: str, prompts: Iterable[Prompt]) -> list[str]:
    found = check_problems(prompts, config.rewards.scorers, described(config).checks)
    return [f"{field}: {problem}" for problem in found]


def _weight_problems(config: JobConfig) -> list[str]:
    weights = {source.name: parse_schedule(source.weight) for source in config.data.sources}
    for step in sampled_steps(config.optim.steps) if weights and config.optim.steps else ():
        now = {name: weight(step, config.optim.steps) for name, weight in weights.items()}
        if negative := [name for name, weight in now.items() if weight < 0]:
            return [
                f"data.sources: {negative[0]!r} has the weight {now[negative[0]]:g} at step {step}; a weight is 0 or more"
            ]
        if not any(now.values()):
            return [f"data.sources: every weight is 0 at step {step}, so nothing would be drawn"]
    return []


def _target_problems(config: JobConfig) -> list[str]:
    if config.data.curriculum is None or not config.optim.steps:
        return []
    lowest, highest = moving_range(parse_moving(config.data.curriculum.target), config.optim.steps)
    if lowest < 0 or highest > 1:
        return [f"data.curriculum.target: it goes from {lowest:g} to {highest:g}; a pass rate is 0 to 1"]
    return []


def _difficulty_problems(config: JobConfig, prompts: Iterable[Prompt]) -> list[str]:
    """That every prompt has a difficulty where there is a limit to it, and that some are below it at every step."""
    if config.data.max_difficulty is None:
        return []
    easiest = float("inf")
    for prompt in prompts:
        if prompt.difficulty is None:
            return [f"data.max_difficulty: {_field(config)}: prompt {prompt.id!r} has no field 'difficulty', a number"]
        easiest = min(easiest, prompt.difficulty)
    if not config.optim.steps:
        return []
    try:
        lowest, _ = moving_range(parse_moving(config.data.max_difficulty), config.optim.steps)
    except ScheduleError:
        return []  # told where the numbers that move are looked at
    if lowest < easiest:
        return [f"data.max_difficulty: it falls to {lowest:g}, and the easiest prompt has a difficulty of {easiest:g}"]
    return []


def _field(config: JobConfig) -> str:
    return "data.sources" if config.data.sources else "data.train"
