"""Which term pulls how hard, and against which: from the terms' gradients with respect to what the policy gave.

All of it follows from the inner products of those gradients, K by K numbers for each domain. Inner products add up over
tokens, so they add up over micro-batches and ranks, and what is told of a step does not depend on its cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.composite import CompositeGradients
from trainer.losses.packed import PackedBatch


def inner_products(part: CompositeGradients, batch: PackedBatch) -> Tensor:
    """Inner products of the terms' gradients over the tokens of each domain: float64 `[D, K, K]`."""
    terms = len(part.gradients)
    if batch.domain_index is None or batch.domain_count == 1:
        flat = part.gradients.reshape(1, terms, -1)
    else:
        of_token = batch.domain_index[batch.sequence_index]
        belongs = torch.arange(batch.domain_count, device=of_token.device)[:, None] == of_token
        flat = (part.gradients[None] * belongs[:, None, None]).reshape(batch.domain_count, terms, -1)
    return flat @ flat.transpose(1, 2)


@dataclass(frozen=True)
class Attribution:
    """The inner products of a whole step."""

    names: tuple[str, ...]
    """The K terms."""
    domains: tuple[str, ...]
    """The D domains."""
    products: NDArray[np.float64]
    """`[D, K, K]`, of unweighted gradients."""

    @property
    def total(self) -> NDArray[np.float64]:
        """`[K, K]`, over all domains."""
        return self.products.sum(0)

    def metrics(self, weights: Sequence[float]) -> dict[str, float]:
        """Norms, shares and cosines of the terms under these weights, over all tokens and for each domain.

        `term/<name>/gradient_norm` is that of the unweighted gradient; `term/<name>/share` is its weighted norm over the
        sum of all weighted norms, between 0 and 1; `cosine/<a>/<b>` is there where both have a gradient, between -1 and 1;
        `loss/score_gradient_norm` is the norm of the weighted sum. With several domains the same under `domain/<name>/`.
        """
        told = self._metrics("", self.total, weights)
        if len(self.domains) > 1:
            for domain, products in zip(self.domains, self.products, strict=True):
                told |= self._metrics(f"domain/{domain}/", products, weights)
        return told

    def _metrics(self, prefix: str, products: NDArray[np.float64], weights: Sequence[float]) -> dict[str, float]:
        scale = np.array(weights)
        counted = scale != 0
        norms = np.sqrt(np.clip(np.diagonal(products), 0.0, None))
        pulls = np.where(counted, np.abs(scale) * norms, 0.0)
        whole = pulls.sum()
        taking_part = products[np.ix_(counted, counted)]
        square = float(scale[counted] @ taking_part @ scale[counted])
        told = {f"{prefix}loss/score_gradient_norm": float(np.sqrt(max(square, 0.0)))}
        for place, name in enumerate(self.names):
            told[f"{prefix}term/{name}/gradient_norm"] = float(norms[place])
            told[f"{prefix}term/{name}/share"] = float(pulls[place] / whole) if whole > 0 else 0.0
        return told | cosines(f"{prefix}cosine", self.names, products)


def cosines(prefix: str, names: Sequence[str], products: NDArray[np.float64]) -> dict[str, float]:
    """`prefix/<a>/<b>`, from inner products `[K, K]`, for the pairs of which both have a length: between -1 and 1."""
    norms = np.sqrt(np.clip(np.diagonal(products), 0.0, None))
    told: dict[str, float] = {}
    for place, name in enumerate(names):
        for other in range(place + 1, len(names)):
            size = norms[place] * norms[other]
            if size > 0:
                told[f"{prefix}/{name}/{names[other]}"] = float(np.clip(products[place, other] / size, -1.0, 1.0))
    return told


def without_conflicts(
    products: NDArray[np.float64], weights: Mapping[str, float], seed: int, step: int
) -> dict[str, float]:
    """Weights under which no term undoes another: PCGrad (Yu et al. 2020, algorithm 1) in the space of `products`.

    Each weighted gradient that points against another loses its part along that one, the others taken in an order that
    is drawn anew at each step from the seed and does not depend on the order of the terms. What remains is a sum of the
    terms' own gradients, so the result is a weight for each. `products` are the `[K, K]` inner products of the whole
    step, in the order of `weights`. Two gradients alone end at a right angle to what they conflicted with; with more,
    later projections may bring back a part of an earlier conflict, as in the paper.
    """
    names = list(weights)
    scale = np.array([weights[name] for name in names])
    # a term of weight 0 takes no part, whatever its gradient is
    taking_part = np.outer(scale != 0, scale != 0)
    weighted = np.where(taking_part, products, 0.0) * np.outer(scale, scale)
    order = np.random.Generator(np.random.Philox(key=[seed, step])).permutation(len(names))
    ranked = [names.index(sorted(names)[place]) for place in order]
    parts = np.eye(len(names))
    for row in range(len(names)):
        for other in ranked:
            against = float(parts[row] @ weighted[:, other])
            # A gradient whose square is no normal number is as good as none, and no divisor.
            if other != row and against < 0 and weighted[other, other] >= np.finfo(np.float64).tiny:
                parts[row, other] -= against / weighted[other, other]
    return {name: float(weight) for name, weight in zip(names, parts.sum(0) * scale, strict=True)}
