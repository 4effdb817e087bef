"""What goes over HTTP: the JSON of requests and answers, which is also the OpenAPI page."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, model_validator

from services.conversation import prompt_text
from services.rewards import Asking, Reward
from services.verdicts import Item
from services.wire import ScorerDescription

MAX_ITEMS = 4096
LONGEST_TIMEOUT_SECONDS = 3600.0

Finite = Annotated[float, AllowInfNan(False)]


class Body(BaseModel):
    """A JSON object without keys that are not known."""

    model_config = ConfigDict(extra="forbid")


class Message(Body):
    """One message of a conversation."""

    role: str = Field(description="system, user or assistant")
    content: str


class ItemBody(Body):
    """One response to score."""

    id: str | None = Field(
        None, min_length=1, max_length=256, description="Comes back with the result; else its place."
    )
    domain: str = Field(description="A route of the server's, or the name of a scorer: math, code, safety, coherence.")
    prompt: str | None = Field(None, description="What the response answers.")
    messages: list[Message] | None = Field(
        None, description="Instead of `prompt`, the conversation before the response."
    )
    response: str
    checks: dict[str, Any] = Field(
        default_factory=dict, description="What to check it against; each scorer takes the keys that it knows."
    )
    timeout_seconds: Finite = Field(
        0.0, ge=0.0, le=LONGEST_TIMEOUT_SECONDS, description="In a worker; 0: the scorer's own."
    )

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        if self.prompt is not None and self.messages is not None:
            raise ValueError("give `prompt` or `messages`, not both")
        return self

    def asking(self, place: int) -> Asking:
        """The item, with its place as id."""
        messages = [message.model_dump() for message in self.messages or []]
        prompt = self.prompt or prompt_text(messages)
        return Asking(self.domain, Item(str(place), prompt, self.response, self.checks, "", self.timeout_seconds))


class ScoreRequest(Body):
    """Responses to score."""

    items: list[ItemBody] = Field(max_length=MAX_ITEMS)
    weights: dict[str, Finite] | None = Field(None, description="Component to weight, instead of the server's.")
    options: dict[str, dict[str, Any]] | None = Field(
        None,
        description="Scorer to checks of every item that does not have the same key itself, instead of the server's.",
    )
    timeout_seconds: Finite = Field(
        60.0, gt=0.0, le=LONGEST_TIMEOUT_SECONDS, description="For all of it; what is not scored by then is missing."
    )

    @model_validator(mode="after")
    def _own_ids(self) -> Self:
        ids = [item.id for item in self.items if item.id is not None]
        if len(set(ids)) < len(ids):
            raise ValueError("two items have the same id")
        return self


class Result(BaseModel):
    """What became of one item."""

    id: str
    total: float | None = Field(description="The weighted sum; null where a part of it is missing. Never a stand-in.")
    components: dict[str, float]
    labels: dict[str, str] = Field(description="Scorer to the label of its verdict.")
    missing: dict[str, str] = Field(description="Scorer to the reason why it gave no verdict.")
    messages: dict[str, str] = Field(description="For a person: more about what is missing.")
    evidence: dict[str, dict[str, str]] = Field(description="Scorer to what its verdict rests on. For a person.")

    @classmethod
    def of(cls, name: str, reward: Reward) -> Result:
        """The result of the item that the caller calls so."""
        scored = reward.scored
        messages = dict(scored.messages)
        if reward.total is None and not scored.missing:
            messages["total"] = "no component has a weight"
        return cls(
            id=name,
            total=reward.total,
            # in order, as the maps of protobuf have none: the same item is then the same answer, byte for byte
            components=dict(sorted(scored.components.items())),
            labels=dict(scored.labels),
            missing=dict(scored.missing),
            messages=messages,
            evidence={scorer: dict(sorted(found.items())) for scorer, found in scored.evidence.items()},
        )


class ScoreResponse(BaseModel):
    """One result for each item, in the order of the items."""

    results: list[Result]


class OpenRLHFRequest(BaseModel):
    """What OpenRLHF posts to a remote reward."""

    query: list[str] = Field(max_length=MAX_ITEMS, description="Prompts with their responses.")
    prompts: list[str]
    labels: list[Any]

    @model_validator(mode="after")
    def _of_one_length(self) -> Self:
        if not len(self.query) == len(self.prompts) == len(self.labels):
            raise ValueError("query, prompts and labels must have the same length")
        return self


class OpenRLHFResponse(BaseModel):
    """Each a list, but a number for a single query."""

    rewards: float | list[float]
    scores: float | list[float]
    extra_logs: dict[str, float | list[float]]


class ComponentBody(BaseModel):
    """A number that a scorer's verdicts hold."""

    name: str
    doc: str
    low: float
    high: float
    higher_is_better: bool


class ScorerBody(BaseModel):
    """A scorer, or why it does not answer."""

    name: str
    ready: bool
    message: str = ""
    version: str = ""
    cacheable: bool = False
    components: list[ComponentBody] = []
    checks_schema: dict[str, Any] = Field(default={}, description="JSON schema of the checks.")

    @classmethod
    def of(cls, name: str, description: ScorerDescription) -> ScorerBody:
        """A scorer that answers."""
        components = [
            ComponentBody(name=one.name, doc=one.doc, low=one.low, high=one.high, higher_is_better=one.higher_is_better)
            for one in description.components
        ]
        return cls(
            name=name,
            ready=True,
            version=description.version,
            cacheable=description.cacheable,
            components=components,
            checks_schema=dict(description.checks_schema),
        )


class ScorersResponse(BaseModel):
    """The scorers that the server asks."""

    scorers: list[ScorerBody]
    routes: dict[str, list[str]] = Field(
        description="Domain to its scorers; any other domain is the scorer of its name."
    )
    weights: dict[str, float]


class ErrorResponse(BaseModel):
    """Why a request was refused: fields and what is expected of them, never their values."""

    error: str
