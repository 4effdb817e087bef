"""Batches for tests of loss terms: tokens written by hand, and a language so small that all its texts can be listed."""

import itertools
from dataclasses import dataclass
from typing import Any

import torch

from trainer.losses.packed import PackedBatch

VOCABULARY = 3
LONGEST = 3


def batch_of(logprobs, lengths=None, *, dtype: Any = torch.float64, **tensors):
    """A batch of sequences of the given lengths, one by default; token tensors are lists of numbers."""
    lengths = torch.tensor([len(logprobs)] if lengths is None else lengths, dtype=torch.int64)
    whole = {name: value for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    return PackedBatch(
        trainer_logprobs=torch.tensor(logprobs, dtype=dtype, requires_grad=True),
        sequence_index=torch.arange(len(lengths)).repeat_interleave(lengths),
        sequence_count=len(lengths),
        loss_mask=torch.ones(len(logprobs), dtype=torch.bool),
        **{name: torch.tensor(value, dtype=dtype) for name, value in tensors.items() if name not in whole},
        **whole,
    )


def values_and_gradients(term, batch, **kwargs):
    """The term's values, and the gradient of their sum, as lists."""
    values = term(batch, **kwargs).values
    (gradients,) = torch.autograd.grad(values.sum(), batch.trainer_logprobs)
    return values.tolist(), gradients.tolist()


def metric(output, name):
    """The mean that a metric stands for."""
    return float(output.metrics[name].total) / output.metrics[name].count


def _texts():
    """All texts of at most LONGEST tokens: token 0 ends one, the others go on."""
    longer = [prefix for length in range(LONGEST) for prefix in itertools.product(range(1, VOCABULARY), repeat=length)]
    ended = [(*prefix, 0) for prefix in longer]
    full = list(itertools.product(range(1, VOCABULARY), repeat=LONGEST))
    return longer, ended + full


PREFIXES, TEXTS = _texts()
ROWS = [PREFIXES.index(text[:place]) for text in TEXTS for place in range(len(text))]
"""For each token of each text, all texts in one row, the row of its prefix."""


def logits(seed):
    """Random logits of a policy: one row for each prefix, with gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(PREFIXES), VOCABULARY, generator=generator, dtype=torch.float64, requires_grad=True)


@dataclass(frozen=True)
class Texts:
    """Every text of the language once, under a policy: expectations are sums with the texts' probabilities."""

    policy: torch.Tensor
    """The logits, `[prefixes, vocabulary]`."""

    def logprobs(self):
        """Of each token of each text, all texts in one row, with gradient."""
        return self.policy.log_softmax(1)[ROWS, list(itertools.chain(*TEXTS))]

    def sums(self, per_token):
        """Over each text."""
        index = self.batch().sequence_index
        return per_token.new_zeros(len(TEXTS)).index_add(0, index, per_token)

    def probabilities(self):
        """Of each text, with gradient."""
        return self.sums(self.logprobs()).exp()

    def batch(self, **tensors):
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

    def gradient(self, expectation):
        """Of a scalar, with respect to the logits."""
        (gradient,) = torch.autograd.grad(expectation, self.policy, retain_graph=True)
        return gradient

    def mean_gradient(self, values, sampler=None):
        """The mean over texts, drawn by the sampler or the policy itself, of the gradient of a sum of token values."""
        weights = (sampler or self).probabilities().detach()
        return self.gradient((weights * self.sums(values)).sum())
