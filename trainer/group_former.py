"""Forms the groups of each optimizer step: once, on rank 0, so that all ranks compare the same completions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import structlog
from numpy.typing import NDArray

from trainer.group import RankGroup
from trainer.grouping import Candidate, Embed, Formation, form_groups

log = structlog.get_logger()


class GroupFormer:
    """The groups of completions by a strategy other than one group a prompt."""

    def __init__(
        self,
        formation: Formation,
        seed: int,
        group: RankGroup,
        decode: Callable[[Sequence[int]], str],
        warnings: Sequence[str],
    ) -> None:
        """Loads the embedding model on rank 0 where the strategy asks for it, and logs the warnings there.

        decode: the text of a prompt's tokens. Raises FileNotFoundError where there is no embedding model.
        """
        self._formation, self._seed, self._group = formation, seed, group
        self._embed = _embedding(formation, decode) if group.rank == 0 and formation.embeds else None
        for warning in warnings if group.rank == 0 else ():
            log.warning(warning)

    def __call__(self, candidates: Sequence[Candidate], step: int) -> list[int]:
        """The group of each candidate. A collective."""
        formed = b""
        if self._group.rank == 0:
            formed = json.dumps(form_groups(candidates, self._formation, self._seed, step, self._embed)).encode()
        return json.loads(self._group.broadcast(formed))


def _embedding(formation: Formation, decode: Callable[[Sequence[int]], str]) -> Embed:
    import torch

    from services.embeddings import Embedder

    threads = torch.get_num_threads()
    embedder = Embedder()
    torch.set_num_threads(threads)  # an embedder leaves its process one, and this process trains

    def embed(candidates: Sequence[Candidate]) -> NDArray[np.float32]:
        if formation.of == "response":
            return embedder.embed([candidate.response for candidate in candidates])
        texts = {prompt: decode(prompt) for prompt in dict.fromkeys(candidate.prompt_ids for candidate in candidates)}
        return embedder.embed([texts[candidate.prompt_ids] for candidate in candidates])

    return embed
