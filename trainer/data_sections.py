"""The tables of the job file about data: `[data]`, its sources, and its curriculum."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from trainer.finite import is_finite_number
from trainer.places import Moves, Scheduled
from trainer.section import Fraction, Positive, Section
from trainer.template import parse_template

Text = Annotated[str, Field(min_length=1)]


def _check_template(text: str) -> str:
    parse_template(text)
    return text


Template = Annotated[Text, AfterValidator(_check_template)]


class FieldsSection(Section):
    """`[data.sources.fields]`: which column of a row holds what. A dot reaches into a column: `reward_model.ground_truth`."""

    id: Text = "id"
    """A text or a whole number; a row without it is named by its place."""
    prompt: Text | None = None
    """The text, or the messages where `chat` is given; without `template` and messages of your own it is `prompt`."""
    domain: Text = "domain"
    """Which scorers judge it."""
    checks: str | dict[str, Text] = "checks"
    """A column with an object, or with one written as JSON; or what the scorers ask for, by column: `{ gold = "answer" }`."""
    difficulty: Text = "difficulty"
    """A number, for `max_difficulty`."""


class MessageSection(Section):
    """`[[data.sources.chat]]`: a message of a conversation."""

    role: Literal["system", "user", "assistant"]
    """Who says it."""
    content: Template
    """What is said: a template, as `template` is."""


class SourceSection(Section):
    """`[[data.sources]]`: rows of one kind."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    """Lower-case letters, digits, dashes and underscores, at most 32; its prompts are named `name/id`."""
    path: Text | None = None
    """JSON lines, a Parquet file or a folder of them, or a Hugging Face dataset saved to disk."""
    iterator: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """Import path (`pkg.mod:function`) of your own function, which returns an iterable of rows."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the function."""
    heldout: Text | None = None
    """Held-out rows of the same form: a path of any kind."""
    weight: Scheduled = 1.0
    """Its part of what is drawn, beside the weights of the other sources."""
    domain: Text | None = None
    """Of rows that name none."""
    fields: FieldsSection = FieldsSection()
    """Which columns hold what."""
    template: Template | None = None
    """The prompt, with columns in braces: `"{question} Answer with a number."`; a literal brace is written twice."""
    chat: str | list[MessageSection] | None = None
    """Puts the prompt into the tokenizer's chat template: a system text (empty for none) before it, or all the messages."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> SourceSection:
        if self.path is None and self.iterator is None:
            raise ValueError("without rows: give path (a file or folder) or iterator (your own function)")
        if self.path is not None and self.iterator is not None:
            raise ValueError("give either path (a file or folder) or iterator (your own function), and not both")
        if self.kwargs and self.iterator is None:
            raise ValueError("kwargs are the arguments of iterator; a path has none")
        if self.template is not None and self.fields.prompt is not None:
            raise ValueError("give either template or fields.prompt, and not both")
        if isinstance(self.chat, list):
            if self.template is not None or self.fields.prompt is not None:
                raise ValueError("the messages of chat are the prompt: take template and fields.prompt away")
            if not self.chat or self.chat[-1].role == "assistant":
                raise ValueError("chat: the last message is what the policy answers, so it is not the assistant's")
        if is_finite_number(self.weight) and self.weight < 0:
            raise ValueError(f"weight: {self.weight:g} is negative; a weight is 0 or more")
        return self


class CurriculumSection(Section):
    """`[data.curriculum]`: prompts that the policy solves neither always nor never come first, by what it has shown."""

    by: Literal["pass_rate"]
    """How often the policy solved a prompt, by `[evaluation.accuracy]`; for difficulty as the data declare it, take `max_difficulty`."""
    target: Scheduled = 0.5
    """The wanted pass rate; one that falls goes from easy prompts to hard ones."""
    width: Fraction = 0.25
    """Prompts are preferred whose pass rate differs from `target` by at most this."""
    explore: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the draws that goes to other prompts: those not measured yet, then those out of the band."""
    smoothing: Fraction = 0.5
    """What the newest pass rate counts in a prompt's average; 1 forgets the ones before."""


class DataSection(Section):
    """`[data]`: what is learned from: `train`, with columns as Assay names them, or `[[data.sources]]`."""

    train: Text | None = None
    """Rows with `id`, `domain`, `prompt`, and `checks` for the scorers: any file or folder that a source may have as `path`."""
    sources: list[SourceSection] = Field(default_factory=list)
    """Rows of several kinds, mixed by weight."""
    heldout: Text | None = None
    """Prompts that are never trained on, answered greedily before and after; as `train`."""
    max_difficulty: Moves | None = None
    """Only prompts whose `difficulty` is at most this are drawn; one that rises is a curriculum."""
    curriculum: CurriculumSection | None = None
    """Chooses by measured pass rate."""
    max_prompt_tokens: Positive | None = None
    """Longest prompt, in tokens of the policy; without it none is counted."""
    overlong: Literal["refuse", "drop", "truncate_left"] = "refuse"
    """What becomes of a longer one: an error before the run, or it is left out, or loses its beginning."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> DataSection:
        if self.train is None and not self.sources:
            raise ValueError("without prompts: give train (a path) or [[data.sources]]")
        if self.train is not None and self.sources:
            raise ValueError("give either train (a path) or [[data.sources]], and not both")
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"sources: the name {twice[0]!r} is used twice")
        if self.sources and all(source.weight == 0 for source in self.sources):
            raise ValueError("sources: every weight is 0, so nothing would be drawn")
        if self.overlong != "refuse" and self.max_prompt_tokens is None:
            raise ValueError(f"overlong = {self.overlong!r} without max_prompt_tokens: say how long a prompt may be")
        for source in self.sources:
            if source.chat is not None and self.overlong == "truncate_left":
                raise ValueError(
                    f'overlong = "truncate_left" would cut the first message of source {source.name!r}, which has chat;'
                    ' take "drop" or "refuse"'
                )
            if source.iterator is not None and self.curriculum is not None:
                raise ValueError(
                    f"curriculum: the rows of source {source.name!r} come in the order of its iterator and cannot be chosen"
                    " from; give it a path, or take the curriculum away"
                )
        return self

    def has_heldout(self) -> bool:
        """Whether anything is held out."""
        return self.heldout is not None or any(source.heldout is not None for source in self.sources)

    def needs_tokenizer(self) -> bool:
        """Whether prompts are made with the policy's tokenizer, or counted with it."""
        return self.max_prompt_tokens is not None or any(source.chat is not None for source in self.sources)
