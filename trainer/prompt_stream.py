"""The prompts of a job in the order of its run: opens the sources of `[data]`, mixes them, and keeps where each one is.

It is the `PromptStream` of `trainer/stream.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from trainer.config import JobConfig
from trainer.curriculum import PassRates
from trainer.data import DataError, Prompt
from trainer.data_sections import SourceSection
from trainer.mixing import Mixer, shares_of
from trainer.prompt_form import PromptForm
from trainer.prompt_iterator import PromptIterator
from trainer.prompt_length import PromptLength
from trainer.prompt_source import StoredSource, read_store
from trainer.schedules import Schedule, parse_schedule
from trainer.stream import Drawn


class _Source(Protocol):
    name: str

    def eligible(self, most: float | None) -> int | None: ...
    def take(self, count: int, step: int, most: float | None) -> list[Prompt]: ...
    def learned(self, prompt: Prompt, pass_rate: float) -> None: ...
    def metrics(self) -> Mapping[str, float]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class MixedPrompts:
    """Draws from one source or several. See `trainer.stream.PromptStream`."""

    def __init__(
        self, sources: Sequence[_Source], weights: Sequence[Schedule], total_steps: int, seed: int, length: PromptLength
    ) -> None:
        self._sources, self._weights, self._total = sources, weights, max(1, total_steps)
        self._seed, self._length = seed, length
        self._mixer = Mixer(len(sources))
        self._serial = 0
        self._metrics: dict[str, float] = {}
        self._told_step, self._drawn, self._in_band = -1, Counter[int](), 0.0

    def draw(self, count: int, step: int, max_difficulty: float | None = None) -> list[Drawn]:
        """The next `count` prompts. Raises DataError where none is eligible, a weight is no weight, or an iterator fails."""
        eligible = [source.eligible(max_difficulty) for source in self._sources]
        shares = self._shares(step, max_difficulty, eligible)
        picks = [self._mixer.pick(shares) for _ in range(count)]
        counts = Counter(picks)
        taken = [
            iter(source.take(counts[place], step, max_difficulty) if counts[place] else ())
            for place, source in enumerate(self._sources)
        ]
        drawn = [Drawn(self._serial + place, next(taken[source])) for place, source in enumerate(picks)]
        self._serial += count
        if step != self._told_step:
            self._told_step, self._drawn, self._in_band = step, Counter(), 0.0
        self._drawn.update(counts)
        rates = [source.metrics() for source in self._sources]
        self._in_band += sum(counts[place] * each.get("in_band", 0.0) for place, each in enumerate(rates))
        self._metrics = self._told(max_difficulty, eligible, [each for each in rates if each])
        return drawn

    def learned(self, prompt: Prompt, pass_rate: float) -> None:
        """For the curriculum. Raises DataError for a prompt of other data, ValueError for what is no pass rate."""
        self._source_of(prompt).learned(prompt, pass_rate)

    def metrics(self) -> Mapping[str, float]:
        """Of the last step that drew, all its draws together: `data/share/<source>`, and `data/eligible`,
        `data/max_difficulty`, `data/in_band`, `data/pass_rate` (mean of the averages), `data/measured` (prompts),
        `data/overlong` where the job has what they tell."""
        return dict(self._metrics)

    def state_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "serial": self._serial,
            "seed": self._seed,
            "overlong": self._length.count,
            "mixer": self._mixer.state_dict(),
            "sources": {source.name: source.state_dict() for source in self._sources},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there. Raises DataError for a state of other sources, other data, or another seed."""
        try:
            saved, names = state["sources"], [source.name for source in self._sources]
            if list(saved) != names:
                raise DataError(f"the checkpoint has the sources {', '.join(saved)}; the job has {', '.join(names)}")
            if state["seed"] != self._seed:
                raise DataError(f"the checkpoint is of job.seed {state['seed']}, the job has {self._seed}")
            for source in self._sources:
                source.load_state_dict(saved[source.name])
            self._mixer.load_state_dict(state["mixer"])
            self._serial, self._length.count = int(state["serial"]), int(state["overlong"])
        except DataError:
            raise
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise DataError(
                f"the checkpoint's state of the data cannot be read: {type(error).__name__}: {error}"
            ) from error

    def known(self) -> Iterator[Prompt]:
        """For a look before the run: every prompt of the sources that are read whole, the first ones of the others."""
        for source in self._sources:
            if isinstance(source, StoredSource):
                yield from source.store
            elif isinstance(source, PromptIterator):
                yield from source.sample()

    def _shares(self, step: int, most: float | None, eligible: Sequence[int | None]) -> list[int]:
        weights = [weight(step, self._total) for weight in self._weights]
        if min(weights) < 0:
            source = self._sources[weights.index(min(weights))]
            raise DataError(
                f"source {source.name!r} has the weight {min(weights):g} at step {step}; a weight is 0 or more"
            )
        weights = [0.0 if found == 0 else weight for weight, found in zip(weights, eligible, strict=True)]
        if not any(weights):
            limit = "" if most is None else f"no prompt has a difficulty of {most:g} or less"
            raise DataError(f"{limit or 'every source has the weight 0'}, at step {step}")
        return shares_of(weights)

    def _source_of(self, prompt: Prompt) -> _Source:
        if len(self._sources) == 1:
            return self._sources[0]
        name = prompt.id.partition("/")[0]
        found = next((source for source in self._sources if source.name == name), None)
        if found is None:
            raise DataError(f"prompt {prompt.id!r} is of no source of the job")
        return found

    def _told(
        self, most: float | None, eligible: Sequence[int | None], rates: Sequence[Mapping[str, float]]
    ) -> dict[str, float]:
        told: dict[str, float] = {}
        if len(self._sources) > 1:
            drawn = self._drawn.total()
            told |= {f"data/share/{each.name}": self._drawn[place] / drawn for place, each in enumerate(self._sources)}
        if most is not None:
            told["data/max_difficulty"] = most
        if (most is not None or rates) and None not in eligible:
            told["data/eligible"] = float(sum(found or 0 for found in eligible))
        if rates:
            measured = sum(each["measured"] for each in rates)
            told["data/measured"] = measured
            told["data/in_band"] = self._in_band / self._drawn.total()
            if measured:
                told["data/pass_rate"] = sum(each["sum"] for each in rates) / measured
        if self._length.most is not None:
            told["data/overlong"] = float(self._length.count)
        return told


def open_stream(config: JobConfig, tokenizer: Any) -> MixedPrompts:
    """The prompts of a job, from the first draw on. Reads all data but those of iterators, once. Raises DataError.

    tokenizer: of the policy; may be None where `[data]` asks for none (`DataSection.needs_tokenizer`).
    """
    data = config.data
    length = PromptLength(tokenizer, data.max_prompt_tokens, data.overlong)
    sources = [
        _open(config, source, config.job.seed + (place << 32), tokenizer, length)
        for place, source in enumerate(data.sources or [None])
    ]
    weights = [parse_schedule(source.weight) for source in data.sources] or [parse_schedule(1.0)]
    return MixedPrompts(sources, weights, config.optim.steps, config.job.seed, length)


def _open(
    config: JobConfig, source: SourceSection | None, key: int, tokenizer: Any, length: PromptLength
) -> StoredSource | PromptIterator:
    data = config.data
    form = PromptForm(sorted(config.rewards.scorers), source, tokenizer)
    if source is not None and source.iterator is not None:
        return PromptIterator(source, form, length)
    store = read_store(Path(str(source.path if source else data.train)), form, length)
    rates = PassRates(data.curriculum, len(store), config.optim.steps) if data.curriculum else None
    return StoredSource(source.name if source else "data.train", store, key, rates)
