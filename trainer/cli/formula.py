"""A job's loss, rewards and learning rate as its author would write them on paper: aligned text of at most 80 columns."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainer.config import JobConfig
from trainer.controllers import Controller
from trainer.loss_sections import TermSection
from trainer.losses.aggregation import AggregationKind
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.losses.term import BuiltInTerm
from trainer.moving import course, is_moving, parse_moving
from trainer.normalisation import Normalisation
from trainer.term import Term

WIDTH = 80

SUMS: Mapping[AggregationKind, str] = {
    "token_mean": "sum({}) / tokens",
    "segment_mean": "sum({} / tokens of the segment) / segments",
    "sequence_mean": "sum({} / tokens of the sequence) / sequences",
    "group_mean": "sum({} / tokens of the group) / groups",
    "pair_mean": "sum({}) / pairs",
    "sequence_sum": "sum({}) / (sequences * {:g})",
    "sum": "sum({})",
}
"""What a term's aggregation makes of its values, and of its constant."""

DIVISORS: Mapping[AggregationKind, str] = {
    "token_mean": "all tokens of the step, so that long sequences weigh more",
    "segment_mean": "segments of the step, after each was divided by its tokens: every segment weighs the same",
    "sequence_mean": "sequences of the step, after each was divided by its tokens: every sequence weighs the same",
    "group_mean": "groups of the step, after each was divided by its tokens: every prompt weighs the same",
    "pair_mean": "pairs of the step",
    "sequence_sum": "sequences of the step times aggregation_constant, whatever their lengths",
    "sum": "nothing: it grows with the step",
}
"""The same in words. All are counted over every micro-batch of every rank."""

NORMALISERS: Mapping[Normalisation, str] = {
    "group_mean_std": "(x - mean of the group) / spread of the group",
    "group_mean": "x - mean of the group",
    "leave_one_out": "x - mean of the others of the group",
    "max_rl": "(x - mean of the group) / mean of the group",
    "reinforce_plus_plus": "x, then mean 0 and spread 1 over the step",
    "reinforce_plus_plus_baseline": "x - mean of the group, then mean 0 and spread 1 over the step",
    "none": "x",
}
"""What `[advantage] normalise` does with a completion's x."""

TRUNCATED: Mapping[str, str] = {
    "mask": "completions that were cut off are compared with, and not trained on",
    "drop": "completions that were cut off are left out, of their group's baseline too",
}
"""What `[rollout] truncated` does, where it is no part of the reward."""


def loss_lines(
    name: str, written: Sequence[TermSection], terms: Sequence[Term], probed: Sequence[str], total_steps: int
) -> list[str]:
    """A loss as a formula, the weights of its terms, and a paragraph for each.

    written, terms, probed: what the job says of each term, what was made of it, and what the probe has found.
    """
    width = max(len(term.name) for term in terms)
    lines: list[str] = []
    for place, (section, term) in enumerate(zip(written, terms, strict=True)):
        lead = f"{name} = " if place == 0 else f"{'+ ':>{len(name) + 3}}"
        lines += _wrapped(f"{lead}w_{term.name:<{width}} * {_sum(term, section)}", " " * (len(name) + width + 8))
    lines += ["", *weight_table({f"w_{section.name}": section.weight for section in written}, total_steps)]
    for section, term, found in zip(written, terms, probed, strict=True):
        lines += ["", *_paragraph(term, section, total_steps, found)]
    return lines


def reward_lines(config: JobConfig) -> list[str]:
    """The reward and the advantage as formulas, and the weights of the components."""
    advantage, penalty = config.advantage, config.rollout.overlong().weights()
    names = [*config.rewards.weighted(), *penalty]
    total = " + ".join(f"w * {name}" for name in names)
    reward = {
        "gated": f"{' * '.join(advantage.gates)} * ({total})",
        "lexicographic": f"{', then '.join(advantage.order)}: each breaks ties of those before it",
    }.get(advantage.combine, total)
    lines = _wrapped(f"reward    = {reward}", " " * 12)
    whitened = ", then mean 0 and spread 1 over the step" if advantage.whiten else ""
    if advantage.estimator == "gae":
        rule = f"gae(reward at the last token, values), gamma {advantage.gamma:g}, lambda {advantage.gae_lambda:g}"
        lines += _wrapped(f"advantage = {rule}{whitened}", " " * 12)
    else:
        parts = " + ".join(f"w * N({name})" for name in names)
        inner = parts if advantage.combine == "normalise_first" else "N(reward)"
        lines += _wrapped(f"advantage = {inner}{whitened}", " " * 12)
        lines += _wrapped(f"N(x)      = {NORMALISERS[advantage.normalise]}", " " * 12)
    if advantage.groups.mixes:
        lines += _wrapped(f"groups    = {_spoken_groups(config)}", " " * 12)
    if advantage.drop_zero_signal:
        lines.append("groups whose advantages are all 0 are left out")
    if config.rollout.truncated in TRUNCATED:
        lines.append(TRUNCATED[config.rollout.truncated])
    rows: dict[str, Any] = dict(config.rewards.weights)
    for domain, weights in config.rewards.domain_weights.items():
        rows |= {f"{name} in {domain}": weight for name, weight in weights.items()}
    return [*lines, "", *weight_table(rows | penalty, config.optim.steps)]


def warning_lines(warnings: Sequence[str]) -> list[str]:
    """A paragraph for each warning."""
    return [line for warning in warnings for line in _wrapped(f"warning: {warning}", " " * 9)]


def rate_lines(config: JobConfig) -> list[str]:
    """The learning rate and its factor, and what chooses among the prompts, at three steps."""
    rows = {"learning rate": config.optim.learning_rate}
    if config.optim.learning_rate_factor != 1.0:
        rows["times a factor"] = config.optim.learning_rate_factor
    if config.data.max_difficulty is not None:
        rows["prompts up to difficulty"] = config.data.max_difficulty
    if config.data.curriculum is not None:
        rows["prompts solved this often"] = config.data.curriculum.target
    if len(config.data.sources) > 1:
        rows |= {f"source {source.name}": source.weight for source in config.data.sources}
    return weight_table(rows, config.optim.steps)


def weight_table(rows: Mapping[str, Any], total_steps: int) -> list[str]:
    """A line for each number, with its values at the first, the middle and the last step; or its bounds and what moves it."""
    steps = (0, total_steps // 2, max(0, total_steps - 1))
    width = max(28, *map(len, rows))
    lines = [f"{'at step (start, middle, end)':<{width + 2}}" + "".join(f"{step:>10}" for step in steps)]
    for name, value in rows.items():
        moving = parse_moving(value)
        if isinstance(moving, Controller):
            lines += _wrapped(f"  {name:<{width}}{'':>4}{course(moving, total_steps)}", " " * (width + 6))
        else:
            cells = [f"{moving(step, max(1, total_steps)):.4g}" for step in steps]
            lines.append(f"  {name:<{width}}" + "".join(f"{cell:>10}" for cell in cells))
    return lines


def _spoken_groups(config: JobConfig) -> str:
    groups = config.advantage.groups
    formation = groups.formation(config.rollout.samples_per_prompt)
    like = f", as like as {formation.similarity:g}" if groups.by not in ("random", "adaptive") else ""
    of = f" of the {formation.of}" if formation.embeds else ""
    return f"{groups.by}{of}, {formation.min_size} to {formation.max_size} completions{like}"


def _sum(term: Term, section: TermSection) -> str:
    what = section.type or f"{str(section.path).rsplit('.', 1)[-1]}(...)"
    if term.scope == "group" and term.aggregation.kind == "group_mean":
        return f"sum({what}) / groups"
    return SUMS[term.aggregation.kind].format(what, term.aggregation.constant)


def _paragraph(term: Term, section: TermSection, total_steps: int, probed: str) -> list[str]:
    built_in = BUILT_IN_TERMS.get(section.type or "")
    divisor = "groups of the step" if term.scope == "group" and term.aggregation.kind == "group_mean" else None
    default = built_in is not None and term.aggregation.kind == built_in.aggregation
    facts = {
        "is": f"{section.type or section.path}, {_calls(term, built_in)}",
        "divided by": (divisor or DIVISORS[term.aggregation.kind])
        + (f" (default of {section.type})" if default else ""),
        "reads": ", ".join(sorted(term.needs))
        or ("what every loss gets" if built_in is None else "log-probabilities alone"),
        "with": _arguments(term, total_steps),
        "probe": probed,
    }
    lines = [term.name]
    for name, fact in facts.items():
        if fact:
            lines += _wrapped(f"  {name:<12}{fact}", " " * 14)
    return lines


def _calls(term: Term, built_in: BuiltInTerm | None) -> str:
    if built_in is None:
        return f"called for each {term.scope}"
    return f"a value for each {'token' if term.scope == 'sequence' and built_in.per_token else term.scope}"


def _arguments(term: Term, total_steps: int) -> str:
    """What was given, then what else there is, with its default."""
    given = [f"{k} {course(v, total_steps) if is_moving(v) else _spoken(v)}" for k, v in term.kwargs.items()]
    parameters = inspect.signature(term.user_function or term.function).parameters.values()
    others = [
        f"{p.name} {_spoken(p.default)}"
        for p in parameters
        if p.default not in (p.empty, None) and p.name not in term.kwargs
    ]
    return "; ".join(filter(None, [", ".join(given), "by default " + ", ".join(others) if others else ""]))


def _spoken(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def joined(blocks: Iterable[Sequence[str]]) -> str:
    """Blocks of lines with an empty line between them."""
    return "\n\n".join("\n".join(block) for block in blocks)
