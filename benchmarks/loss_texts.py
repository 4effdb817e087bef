"""A language so small that all its texts can be listed: expectations are sums, and what a term says of its mean is exact."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.losses.packed import PackedBatch

VOCABULARY = 3
LONGEST = 3


def _texts() -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """All texts of at most LONGEST tokens: token 0 ends one, the others go on."""
    longer = [prefix for length in range(LONGEST) for prefix in itertools.product(range(1, VOCABULARY), repeat=length)]
    ended = [(*prefix, 0) for prefix in longer]
    full = list(itertools.product(range(1, VOCABULARY), repeat=LONGEST))
    return longer, ended + full


PREFIXES, TEXTS = _texts()
ROWS = [PREFIXES.index(text[:place]) for text in TEXTS for place in range(len(text))]
"""For each token of each text, all texts in one row, the row of its prefix."""


def logits(seed: int) -> Tensor:
    """Random logits of a policy: one row for each prefix, with gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(PREFIXES), VOCABULARY, generator=generator, dtype=torch.float64, requires_grad=True)


@dataclass(frozen=True)
class Texts:
    """Every text of the language once, under a policy: expectations are sums with the texts' probabilities."""

    policy: Tensor
    """The logits, `[prefixes, vocabulary]`."""

    def logprobs(self) -> Tensor:
        """Of each token of each text, all texts in one row, with gradient."""
        return self.policy.log_softmax(1)[ROWS, list(itertools.chain(*TEXTS))]

    def sums(self, per_token: Tensor) -> Tensor:
        """Over each text."""
        index = self.batch().sequence_index
        return per_token.new_zeros(len(TEXTS)).index_add(0, index, per_token)

    def probabilities(self) -> Tensor:
        """Of each text, with gradient."""
        return self.sums(self.logprobs()).exp()

    def batch(self, **tensors: Any) -> PackedBatch:
        """A batch of all texts; `advantages` may be one for each text."""
        lengths = torch.tensor([len(text) for text in TEXTS])
        index = torch.arange(len(TEXTS)).repeat_interleave(lengths)
        if len(tensors.get("advantages", ())) == len(TEXTS):
            tensors["advantages"] = tensors["advantages"][index]
        return PackedBatch(
            trainer_logprobs=self.logprobs(),
            sequence_index=index,
            sequence_count=len(TEXTS),
            loss_mask=torch.ones(len(index), dtype=torch.bool),
            **tensors,
        )

    def gradient(self, expectation: Tensor) -> Tensor:
        """Of a scalar, with respect to the logits."""
        (gradient,) = torch.autograd.grad(expectation, self.policy, retain_graph=True)
        return gradient

    def mean_gradient(self, values: Tensor, sampler: Texts | None = None) -> Tensor:
        """The mean over texts, drawn by the sampler or the policy itself, of the gradient of a sum of token values."""
        weights = (sampler or self).probabilities().detach()
        return self.gradient((weights * self.sums(values)).sum())
