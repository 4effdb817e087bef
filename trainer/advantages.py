"""From named reward components to one advantage for each completion, and one for each of its components.

A component that is missing is no number, so the completion is kept out of its group's statistics and is not trained on; it
is never counted as 0. How components are combined is `trainer/combination.py`'s, how they are normalised
`trainer/normalisation.py`'s.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainer.combination import Combination
from trainer.normalisation import NORMALISATIONS, Floats, Normalisation, normalise_group, whiten, whitens

MissingPolicy = Literal["drop_sample", "drop_group", "fail"]
NO_DOMAIN_WEIGHTS: Mapping[str, Mapping[str, float]] = {}


class MissingRewardError(ValueError):
    """A component is missing and the job's policy is to fail."""


class NothingCountsError(ValueError):
    """None of the completions has a component with a weight."""


@dataclass(frozen=True)
class ScoredCompletion:
    """A completion's components. A name that no completion of the group has does not apply to it, and counts nothing."""

    group: Hashable
    """Which prompt it answers."""
    components: Mapping[str, float]
    """Finite values."""
    missing: frozenset[str] = frozenset()
    """Components that could not be had. What others of the group have and this one has not is missing too."""
    domain: str = ""
    """The domain of the prompt, equal for a whole group."""


@dataclass(frozen=True)
class Advantages:
    """Arrays have shape `[n]`, in the order of the completions."""

    advantages: Floats
    """0 where `kept` is False."""
    rewards: Floats
    """The components combined; NaN where a component is missing."""
    named: tuple[Mapping[str, float], ...]
    """The advantage of each component alone, without its weight, normalised as the whole is; empty where `kept` is False.

    Components of weight 0 are there too. Under `max_rl` those are not that are below 0 in the group.
    """
    kept: NDArray[np.bool_]
    """False for completions that are not to be trained on."""
    groups: int
    """How many groups there are."""
    zero_signal_groups: int
    """Groups with all rewards they need whose advantages are all 0: they teach nothing."""
    dropped_completions: int
    """Not kept for a missing reward."""
    dropped_groups: int
    """Groups of which nothing was kept for missing rewards."""
    filtered_groups: int
    """Groups without signal that were not kept."""


def compute_advantages(
    completions: Sequence[ScoredCompletion],
    weights: Mapping[str, float],
    normalise: Normalisation = "group_mean_std",
    missing: MissingPolicy = "drop_sample",
    *,
    combination: Combination | None = None,
    whitened: bool = False,
    drop_zero_signal: bool = False,
    domain_weights: Mapping[str, Mapping[str, float]] = NO_DOMAIN_WEIGHTS,
) -> Advantages:
    """Advantages of completions whose components count `weights`, combined and normalised within each group.

    weights: the values at this step; a component of weight 0 may be missing without harm.
    normalise: see `trainer.normalisation.normalise_group`. combination: the weighted sum where there is none.
    whitened: whether the advantages of all kept completions of the step get mean 0 and standard deviation 1 afterwards.
    drop_zero_signal: whether groups without signal are not kept; they still count in what whitening measures.
    domain_weights: domain to the weights that differ there from `weights`.

    Raises MissingRewardError under the policy `fail`, NothingCountsError where no weight, one of 0 included, names a
    component of any completion, and ValueError where an option or a value is not what it must be, and for negative
    rewards under `max_rl`.
    """
    _check(completions, normalise, missing)
    combination = combination or Combination()
    groups = _groups(completions, weights, domain_weights, combination.gates)
    _check_names(groups, combination, {*weights, *(name for each in domain_weights.values() for name in each)})
    advantages, rewards = np.zeros(len(completions)), np.full(len(completions), np.nan)
    kept = np.zeros(len(completions), dtype=bool)
    for group in groups:
        if missing == "fail":
            group.refuse_absent()
        if len(group.complete) == 0:
            continue
        rewards[group.complete], _ = combination.rewards(len(group.complete), group.components, group.weights)
        if missing == "drop_sample" or len(group.complete) == len(group.places):
            advantages[group.complete] = combination.advantages(
                len(group.complete), group.components, group.weights, normalise
            )
            kept[group.complete] = True
    whole_step = whitened or whitens(normalise)
    if whole_step:
        advantages[kept] = whiten(advantages[kept])
    named = _named(completions, [g for g in groups if kept[g.places].any()], normalise, whole_step)
    silent = [g for g in groups if kept[g.places].any() and not advantages[g.places].any()]
    dropped = int((~kept).sum())
    dropped_groups = sum(not kept[group.places].any() for group in groups)
    if drop_zero_signal:
        for group in silent:
            kept[group.places] = False
    return Advantages(
        advantages=advantages,
        rewards=rewards,
        named=tuple(table if keep else {} for table, keep in zip(named, kept, strict=True)),
        kept=kept,
        groups=len(groups),
        zero_signal_groups=len(silent),
        dropped_completions=dropped,
        dropped_groups=dropped_groups,
        filtered_groups=len(silent) if drop_zero_signal else 0,
    )


@dataclass(frozen=True)
class _Group:
    """The completions of one prompt."""

    places: NDArray[np.int64]
    absent: Sequence[frozenset[str]]
    """For each, the counted components that apply to the group and that it has not."""
    complete: NDArray[np.int64]
    """Those of `places` with nothing absent."""
    weights: Mapping[str, float]
    """Of the components that count here."""
    components: Mapping[str, Floats]
    """Of the complete ones, `[len(complete)]` each: the components that all of them have."""
    names: frozenset[str]
    """Components that some of them have or miss."""

    def refuse_absent(self) -> None:
        for place, names in zip(self.places, self.absent, strict=True):
            if names:
                raise MissingRewardError(f"completion {place} has no {min(names)!r}, and the policy for that is 'fail'")


def _groups(
    completions: Sequence[ScoredCompletion],
    weights: Mapping[str, float],
    domain_weights: Mapping[str, Mapping[str, float]],
    gates: Sequence[str],
) -> list[_Group]:
    members: dict[Hashable, list[int]] = {}
    for place, completion in enumerate(completions):
        members.setdefault(completion.group, []).append(place)
    groups = []
    for places in members.values():
        of_domain = domain_weights.get(completions[places[0]].domain, {})
        # A gate counts, so that one that is missing is noticed.
        own = {**weights, **of_domain, **dict.fromkeys(gates, 1.0)}
        groups.append(_group(completions, places, {name: float(w) for name, w in own.items() if w != 0}))
    return groups


def _group(completions: Sequence[ScoredCompletion], places: Sequence[int], counted: Mapping[str, float]) -> _Group:
    has = [completions[place].components.keys() - completions[place].missing for place in places]
    names = frozenset(name for place in places for name in (*completions[place].components, *completions[place].missing))
    absent = [names.intersection(counted) - those for those in has]
    complete = [place for place, lacking in zip(places, absent, strict=True) if not lacking]
    shared = names.intersection(*(those for those, lacking in zip(has, absent, strict=True) if not lacking))
    return _Group(
        places=np.array(places),
        absent=absent,
        complete=np.array(complete, dtype=np.int64),
        weights=counted,
        components={n: np.array([completions[p].components[n] for p in complete], dtype=np.float64) for n in sorted(shared)},
        names=names,
    )


def _named(
    completions: Sequence[ScoredCompletion], groups: Sequence[_Group], normalise: Normalisation, whole_step: bool
) -> list[dict[str, float]]:
    """The advantage of each component alone for the completions of these groups."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for group in groups:
        for name in sorted(group.names):
            places = [p for p in group.complete if name in completions[p].components.keys() - completions[p].missing]
            values = np.array([completions[place].components[name] for place in places], dtype=np.float64)
            if places and not (normalise == "max_rl" and values.min() < 0):
                alone = normalise_group(normalise, values, float(np.abs(values).max()))
                of_name = found.setdefault(name, ([], []))
                of_name[0].extend(places)
                of_name[1].extend(alone.tolist())
    tables: list[dict[str, float]] = [{} for _ in completions]
    for name, (places, values) in found.items():
        for place, value in zip(places, whiten(np.array(values)).tolist() if whole_step else values, strict=True):
            tables[place][name] = value
    return tables


def _check(completions: Sequence[ScoredCompletion], normalise: str, missing: str) -> None:
    if normalise not in NORMALISATIONS:
        raise ValueError(f"normalise must be one of {', '.join(NORMALISATIONS)}, not {normalise!r}")
    if missing not in ("drop_sample", "drop_group", "fail"):
        raise ValueError(f"missing must be one of drop_sample, drop_group, fail, not {missing!r}")
    for place, completion in enumerate(completions):
        for name, value in completion.components.items():
            if not np.isfinite(value):
                raise ValueError(f"completion {place}: component {name!r} is {value!r}; a score is a finite number")


def _check_names(groups: Sequence[_Group], combination: Combination, known: set[str]) -> None:
    counted = {name: None for group in groups for name in group.weights}
    present = frozenset[str]().union(*(group.names for group in groups))
    if groups and counted and present.isdisjoint({*counted, *known}):
        raise NothingCountsError(
            f"no completion has any of the components that count ({', '.join(counted)}); they have"
            f" {', '.join(sorted(present)) or 'none'}"
        )
    unordered = sorted(set(counted) - set(combination.order))
    if combination.kind == "lexicographic" and unordered:
        raise ValueError(f"order lacks {unordered[0]!r}, which has a weight; it is {', '.join(combination.order)}")
