"""Batches for tests of loss terms, their tokens written by hand."""

from typing import Any

import torch

from trainer.losses.packed import PackedBatch


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
