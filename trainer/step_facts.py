"""What holds of a whole optimizer step, and must not change with its cut: groups, preference pairs, domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from trainer.losses.aggregation import Counts
from trainer.losses.packed import PackedBatch
from trainer.normalisation import RELATIVE_FLOOR
from trainer.sample import Sample


@dataclass(frozen=True, slots=True)
class StepFacts:
    """Counted over all samples of a step, before they are dealt out."""

    counted: Sequence[int]
    """Tokens that count in each sample."""
    tokens: Mapping[int, int]
    """Group to the tokens that count in it."""
    sequences: Mapping[int, int]
    """Group to its samples with a token that counts."""
    first: Mapping[int, int]
    """Group to the place of the first of them."""
    best: Mapping[int, tuple[int, int]]
    """Group to the places of its best and its worst, where they differ."""
    domains: tuple[str, ...]

    @staticmethod
    def of(samples: Sequence[Sample]) -> StepFacts:
        """The facts of a step's samples."""
        counted = [int(sample.counted().sum()) for sample in samples]
        members: dict[int, list[int]] = {}
        for place, sample in enumerate(samples):
            if sample.group is not None:
                members.setdefault(sample.group, [])
                members[sample.group] += [place] if counted[place] else []
        pairs = {group: _pair(samples, places) for group, places in members.items()}
        return StepFacts(
            counted=counted,
            tokens={group: sum(counted[place] for place in places) for group, places in members.items()},
            sequences={group: len(places) for group, places in members.items()},
            first={group: places[0] for group, places in members.items() if places},
            best={group: pair for group, pair in pairs.items() if pair},
            domains=tuple(sorted({sample.domain for sample in samples})) or ("",),
        )

    def fields(self, samples: Sequence[Sample], chunk: Sequence[int], whole_groups: bool) -> dict[str, Any]:
        """The fields of `PackedBatch` about groups, pairs and domains, for a micro-batch of these samples."""
        import torch

        domains = {domain: place for place, domain in enumerate(self.domains)}
        found: dict[str, Any] = {
            "domain_index": torch.tensor([domains[samples[place].domain] for place in chunk]),
            "domain_count": len(self.domains),
        }
        if samples[chunk[0]].group is None:
            return found
        groups = list(dict.fromkeys(_group(samples[place]) for place in chunk))
        rows = {place: row for row, place in enumerate(chunk)}
        found |= {
            "group_index": torch.tensor([groups.index(_group(samples[place])) for place in chunk]),
            "group_tokens": torch.tensor([self.tokens[group] for group in groups]),
            "group_sequences": torch.tensor([self.sequences[group] for group in groups]),
        }
        if samples[chunk[0]].reward is not None:
            found["rewards"] = torch.tensor([samples[place].reward for place in chunk], dtype=torch.float64)
            if whole_groups:
                pairs = [self.best[group] for group in groups if group in self.best]
                found["chosen"] = torch.tensor([rows[best] for best, _ in pairs], dtype=torch.int64)
                found["rejected"] = torch.tensor([rows[worst] for _, worst in pairs], dtype=torch.int64)
        return found

    def counts(self, known: PackedBatch, samples: Sequence[Sample], chunk: Sequence[int]) -> Counts:
        """What a micro-batch of these samples holds. A group that is spread over several counts where its first is."""
        groups = {samples[place].group for place in chunk}
        firsts = set(chunk).intersection(self.first.values())
        segments = known.segment_index
        return Counts(
            tokens=int(known.loss_mask.sum()),
            sequences=sum(self.counted[place] > 0 for place in chunk),
            segments=0 if segments is None else int(segments[known.loss_mask].unique().numel()),
            groups=len(firsts),
            pairs=len([g for g in self.best if g in groups]) if known.chosen is not None else 0,
            dropped_tokens=int((~known.loss_mask).sum()) - sum(sum(samples[place].given or ()) for place in chunk),
        )


def _group(sample: Sample) -> int:
    return cast(int, sample.group)


def _pair(samples: Sequence[Sample], places: Sequence[int]) -> tuple[int, int] | None:
    """Of equals the first is taken, so that the pair does not depend on anything but the step."""
    if not places or samples[places[0]].reward is None:
        return None
    rewards = {place: float(samples[place].reward or 0.0) for place in places}
    best, worst = max(places, key=rewards.__getitem__), min(places, key=rewards.__getitem__)
    size = max(abs(reward) for reward in rewards.values())
    return (best, worst) if rewards[best] - rewards[worst] > RELATIVE_FLOOR * size else None
