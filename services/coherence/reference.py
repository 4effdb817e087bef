"""Fluency under a reference policy that the rollout service holds: how likely its model finds each token of a response."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from services.client.channel import ServiceError, ServiceUnavailableError
from services.client.rollout import RolloutClient
from services.rollout.engine import Prompt, Sampling, TokenSequence
from services.verdicts import ErrorReason, Item, ItemError

CONTEXT_CHARACTERS = 4000
"""Of the prompt, its end, and of the response, its beginning."""
PATIENCE_SECONDS = 2.0
CALL_SECONDS = 8.0
"""Longest time of one call; a chunk of items makes two."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a response is."""

    mean_logprob: float
    """In nats a token."""
    tokens: int
    version: int
    """Of the policy that answered."""

    @property
    def fluency(self) -> float:
        """The geometric mean of the tokens' probabilities, 0 to 1."""
        return min(1.0, math.exp(self.mean_logprob))

    @property
    def described(self) -> str:
        """For the evidence."""
        return (
            f"reference policy, version {self.version}: mean log-prob {self.mean_logprob:.4f} of {self.tokens} tokens"
        )


class Reference:
    """A policy of a rollout service. The service's own tokenizer cuts the texts, so none is needed here."""

    def __init__(self, address: str, policy: str) -> None:
        """Connects at the first call. address: `host:port`. policy: the name it was published under."""
        self._client = RolloutClient(address, patience_seconds=PATIENCE_SECONDS)
        self._policy = policy

    def likelihoods(self, items: Sequence[Item]) -> list[Likelihood | ItemError]:
        """One for each item, in order. What the service refuses for one item holds up no other.

        UNAVAILABLE where the service is away, too late or does not hold the policy; INVALID_ITEM where a text does not fit
        the policy's context.
        """
        try:
            return self._ask(items)
        except ServiceUnavailableError as error:
            return [_unavailable(error)] * len(items)
        except ServiceError as error:
            if error.code is not grpc.StatusCode.INVALID_ARGUMENT:
                return [_unavailable(error)] * len(items)
            if half := len(items) // 2:
                return [*self.likelihoods(items[:half]), *self.likelihoods(items[half:])]
            return [
                ItemError(ErrorReason.INVALID_ITEM, "prompt and response do not fit the reference policy's context")
            ]

    def _ask(self, items: Sequence[Item]) -> list[Likelihood | ItemError]:
        if not items:
            return []
        pairs = [(item.prompt[-CONTEXT_CHARACTERS:], item.response[:CONTEXT_CHARACTERS]) for item in items]
        texts = [text for prompt, response in pairs for text in (prompt or "\n", (prompt or "\n") + response)]
        cut = self._client.generate(
            self._policy,
            [Prompt(str(place), text) for place, text in enumerate(texts)],
            samples=1,
            sampling=Sampling(temperature=0.0, max_new_tokens=1),  # only the prompts' tokens are wanted
            timeout_seconds=CALL_SECONDS,
        )
        tokens = [each.prompt_token_ids for each in cut]
        sequences = [_split(before, whole) for before, whole in zip(tokens[::2], tokens[1::2], strict=True)]
        answer = self._client.logprobs(self._policy, sequences, timeout_seconds=CALL_SECONDS)
        return [_likelihood(values, answer.policy_version) for values in answer.sequences]


def _split(before: Sequence[int], whole: Sequence[int]) -> TokenSequence:
    """The prompt's tokens and the response's: the whole, cut where it begins to differ from the prompt alone."""
    common = 0
    while common < min(len(before), len(whole)) and before[common] == whole[common]:
        common += 1
    cut = max(1, min(common, len(whole) - 1))
    return TokenSequence(tuple(whole[:cut]), tuple(whole[cut:]))


def _likelihood(logprobs: Sequence[float], version: int) -> Likelihood | ItemError:
    if not logprobs:
        return ItemError(ErrorReason.INVALID_ITEM, "the reference policy's tokenizer makes no tokens of the response")
    return Likelihood(max(sum(logprobs) / len(logprobs), -700.0), len(logprobs), version)


def _unavailable(error: ServiceError) -> ItemError:
    return ItemError(
        ErrorReason.UNAVAILABLE, f"no fluency under the reference policy: {error.code.name} from the rollout service"
    )
