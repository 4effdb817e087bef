"""Groups of completions that are compared with each other, by other strategies than one group a prompt.

Every completion is in exactly one group. No group holds two kinds, which are domains and, in them, prompts whose rewards
are made of other components. Within a kind completions are gone through in an order that the seed, the step and their own
content give, so the groups do not depend on the order in which completions came: only completions that are equal in all
may change places.

A completion joins the group with room whose first member it is most like, if it is as like as is asked; else it begins one.
Then, while a group is smaller than `min_size`, the smallest (the first of equals) is joined with the group whose first member
is most like its own: of those with room for it, or, where none has, with any, and the two are then dealt out in halves. With
`max_size >= 2 min_size - 1` all groups end within both sizes; a kind with fewer completions than `min_size` is one group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainer.likeness import Likeness, by_length, by_prefix, by_reward, by_vectors, weighted

GroupBy = Literal["prompt", "random", "semantic", "performance", "adaptive", "multi_criteria", "dialogue_context"]
Criterion = Literal["semantic", "performance", "dialogue_context", "length"]
THRESHOLDS = tuple(step / 20 for step in range(19, -1, -1))
"""What `adaptive` tries: 0.95, 0.9, ... 0."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A completion that is to be compared with others."""

    prompt_id: str
    kind: tuple[str, ...]
    """The domain of the prompt, and the components that count for it."""
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    reward: float
    """Its components by their weights; NaN where one is missing."""
    response: str = ""


Embed = Callable[[Sequence[Candidate]], NDArray[np.float32]]
"""Unit vectors of the prompts or the responses of n candidates, `[n, d]`."""


@dataclass(frozen=True)
class Formation:
    """How groups are formed; see `docs/groups.md`."""

    by: GroupBy
    min_size: int = 2
    max_size: int = 8
    """At least `2 * min_size - 1`."""
    similarity: float = 0.7
    of: Literal["prompt", "response"] = "prompt"
    criteria: Mapping[Criterion, float] = field(default_factory=dict)

    @property
    def embeds(self) -> bool:
        """Whether it asks for embeddings."""
        return self.by in ("semantic", "adaptive") or "semantic" in self.criteria


def form_groups(
    candidates: Sequence[Candidate], formation: Formation, seed: int, step: int, embed: Embed | None = None
) -> list[int]:
    """The group of each candidate, numbered from 0 in the order of their first. Not for the strategy `prompt`.

    embed: for formations that embed. Raises ValueError where it is wanted and not there.
    """
    order = sorted(range(len(candidates)), key=lambda place: _content(candidates[place], seed, step))
    groups: list[list[int]] = []
    for kind in sorted({candidate.kind for candidate in candidates}):
        places = [place for place in order if candidates[place].kind == kind]
        formed = _of_kind([candidates[place] for place in places], formation, embed)
        groups += [[places[row] for row in group] for group in formed]
    number: dict[int, int] = {}
    for index, group in enumerate(sorted(groups, key=min)):
        number |= dict.fromkeys(group, index)
    return [number[place] for place in range(len(candidates))]


def _content(candidate: Candidate, seed: int, step: int) -> bytes:
    parts = (seed, step, candidate.prompt_id, candidate.prompt_ids, candidate.completion_ids, candidate.reward)
    return hashlib.sha256(repr(parts).encode()).digest()


def _of_kind(candidates: Sequence[Candidate], formation: Formation, embed: Embed | None) -> list[list[int]]:
    order = list(range(len(candidates)))
    if formation.by == "random":
        return [part.tolist() for part in np.array_split(order, -(-len(order) // formation.max_size))]
    if formation.by == "performance":
        # from the best on, so that a group is a range of rewards; those without one come last
        order.sort(key=lambda row: (np.isnan(candidates[row].reward), -candidates[row].reward))
    likeness = _likeness(candidates, formation, embed)
    if formation.by != "adaptive":
        return _sized(_led(order, likeness, formation.similarity, formation.max_size), likeness, formation)
    tried = [_led(order, likeness, threshold, formation.max_size) for threshold in THRESHOLDS]
    best = min(tried, key=lambda groups: sum(len(group) for group in groups if len(group) < formation.min_size))
    return _sized(best, likeness, formation)


def _likeness(candidates: Sequence[Candidate], formation: Formation, embed: Embed | None) -> Likeness:
    def of_one(criterion: str) -> Likeness:
        if criterion == "performance":
            return by_reward([candidate.reward for candidate in candidates])
        if criterion == "dialogue_context":
            return by_prefix([candidate.prompt_ids for candidate in candidates])
        if criterion == "length":
            return by_length([len(candidate.completion_ids) for candidate in candidates])
        if embed is None:
            raise ValueError(f"groups by {formation.by!r} need embeddings")
        return by_vectors(embed(candidates))

    if formation.by == "multi_criteria":
        return weighted([(of_one(name), weight) for name, weight in sorted(formation.criteria.items())])
    return of_one("semantic" if formation.by == "adaptive" else formation.by)


def _led(order: Sequence[int], likeness: Likeness, threshold: float, max_size: int) -> list[list[int]]:
    """Groups in which each member is as like the first as asked."""
    groups: list[list[int]] = []
    for row in order:
        room = [group for group in groups if len(group) < max_size]
        if room:
            like = likeness(row, np.array([group[0] for group in room]))
            best = int(np.argmax(like))
            if like[best] >= threshold:
                room[best].append(row)
                continue
        groups.append([row])
    return groups


def _sized(groups: list[list[int]], likeness: Likeness, formation: Formation) -> list[list[int]]:
    """The same without groups that are too small."""
    while len(groups) > 1:
        smallest = min(groups, key=len)
        if len(smallest) >= formation.min_size:
            break
        others = [group for group in groups if group is not smallest]
        room = [group for group in others if len(group) + len(smallest) <= formation.max_size]
        like = likeness(smallest[0], np.array([group[0] for group in room or others]))
        partner = (room or others)[int(np.argmax(like))]
        union = partner + smallest
        groups = [group for group in others if group is not partner]
        half = len(union) if room else (len(union) + 1) // 2
        groups += [part for part in (union[:half], union[half:]) if part]
    return groups
