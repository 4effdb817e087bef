"""Keys and values of the tokens so far, in buffers that are allocated once.

The library's own growing cache concatenates at every token, which copies the whole cache; with hundreds of short
sequences that is the larger part of the time. This one writes the new token into room that is there already.
"""

from __future__ import annotations

import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer


class ReservedLayer(DynamicLayer):
    """One layer's cache: `keys` and `values` [rows, heads, length, head_dim] are views of buffers with more room.

    Used in this order: `update` with the prompts, `batch_select_indices` (which makes room), `update` with one token
    after another, with further selections in between.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        """Tokens that fit, prompt and completion together."""
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends the states [rows, heads, new, head_dim]; returns all of them, old and new."""
        if self._buffers is None:
            return super().update(key_states, value_states)
        start, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        keys, values = self._buffers
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps, drops or repeats rows: `indices` int64 (new rows,)."""
        if self.keys is None or self.values is None:
            return
        length = self.get_seq_length()
        keys, values = self._rows(self.keys, indices), self._rows(self.values, indices)
        self._buffers = keys, values
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]

    def _rows(self, states: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        _, heads, length, width = states.shape
        buffer = states.new_empty(len(indices), heads, self.capacity, width)
        # Straight into its place: indexing first and copying then takes seven times as long.
        torch.index_select(states, 0, indices, out=buffer[:, :, :length])
        return buffer


def reserved_cache(config: PretrainedConfig, capacity: int) -> DynamicCache:
    """An empty cache for `capacity` tokens a row; layers with a sliding window keep the library's own kind."""
    cache = DynamicCache(config=config)
    cache.layers = [ReservedLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
