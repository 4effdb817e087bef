"""Draws the next token of every sequence of a batch at once, each from a random stream of its own."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from services.rollout.engine import EngineError, EngineFault, Sampling


def uniform_stream(seed: int, prompt_id: str, sample: int, length: int) -> np.ndarray:
    """Numbers in [0, 1), float64 of shape (length,), that depend on the arguments and on nothing else.

    The generator is counter-based (Philox; Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), keyed by
    a hash of the arguments, so that streams of different samples are independent.
    """
    key = hashlib.blake2b(f"{seed}/{sample}/{prompt_id}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "big"))).random(length)


def draw(
    logits: torch.Tensor, uniforms: torch.Tensor, sampling: Sampling, allowed: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The next token of each row and its log-probability in nats, int64 and float32 of shape (rows,).

    Takes logits (rows, vocabulary) of any float type, uniforms (rows,) float64 in [0, 1), and where the choice of tokens
    is guided, which are allowed, bool (rows, vocabulary), at least one in each row. The log-probability is that of the
    softmax of the logits as they are, whatever the token was drawn with.

    Raises EngineError (INTERNAL) where the logits are not finite.
    """
    logits = logits.float()
    normaliser = logits.logsumexp(dim=-1)
    if not bool(torch.isfinite(normaliser).all()):
        raise EngineError(EngineFault.INTERNAL, "the policy's logits are not finite")
    guided = logits if allowed is None else logits.where(allowed, -torch.inf)
    tokens = _inverse_cdf(guided, uniforms, sampling) if sampling.temperature else guided.argmax(dim=-1)
    return tokens, logits.gather(1, tokens[:, None])[:, 0] - normaliser


def _inverse_cdf(logits: torch.Tensor, uniforms: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    # In double precision: the sum over a large vocabulary would round small probabilities away in single precision.
    # Below the maximum, so that a temperature near 0 gives minus infinity and not infinity.
    below = (logits - logits.amax(dim=-1, keepdim=True)).double()
    probabilities = (below / sampling.temperature).softmax(dim=-1)
    if sampling.min_p > 0:
        floor = sampling.min_p * probabilities.amax(dim=-1, keepdim=True)
        probabilities = probabilities.where(probabilities >= floor, 0.0)
        probabilities /= probabilities.sum(dim=-1, keepdim=True)
    if 0 < sampling.top_p < 1:
        probabilities = _nucleus(probabilities, sampling.top_p)
    cumulative = probabilities.cumsum(dim=-1)
    # The first token whose cumulative probability is above the target: one of probability 0 never is.
    return torch.searchsorted(cumulative, (uniforms * cumulative[:, -1])[:, None], right=True)[:, 0]


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Sets to 0 all but the smallest set of most probable tokens whose probabilities sum to `top_p` or more.

    Source: Holtzman et al. 2020, "The curious case of neural text degeneration", section 3.1.
    """
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    return probabilities.scatter(1, order, ordered.where(before < top_p, 0.0))
