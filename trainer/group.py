"""The ranks of a training run as one group: who this process is, and how ranks exchange small values.

What travels is JSON or plain bytes. torch.distributed's own object collectives pickle, so they are not used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(days=7)
"""How long ranks wait for each other. The first one waits for rollouts and evaluations as long as the job lets it; a rank that
has ended is noticed by whoever started them all."""


@dataclass(frozen=True, slots=True)
class RankGroup:
    """This process among the ranks. All methods are collectives: every rank calls them in the same order."""

    rank: int
    world_size: int
    device: torch.device

    def gather(self, value: Any) -> list[Any]:
        """The JSON values of all ranks, in the order of ranks, on every rank."""
        if self.world_size == 1:
            return [value]
        return [json.loads(part) for part in self.gather_bytes(json.dumps(value).encode())]

    def broadcast(self, data: bytes | None) -> bytes:
        """Rank 0's bytes, on every rank; what others pass is ignored."""
        if self.world_size == 1:
            return data or b""
        size = torch.tensor([len(data or b"")], device=self.device)
        distributed.broadcast(size, src=0)
        buffer = self._bytes(data or b"") if self.rank == 0 else self._bytes(bytes(int(size)))
        distributed.broadcast(buffer, src=0)
        return bytes(buffer.cpu().numpy())

    def barrier(self) -> None:
        """Returns when every rank has come here."""
        self.gather(None)

    def gather_bytes(self, data: bytes) -> list[bytes]:
        """The bytes of all ranks, in the order of ranks, on every rank."""
        if self.world_size == 1:
            return [data]
        sizes = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.world_size)]
        distributed.all_gather(sizes, torch.tensor([len(data)], device=self.device))
        longest = max(int(size) for size in sizes)
        buffers = [self._bytes(bytes(longest)) for _ in range(self.world_size)]
        distributed.all_gather(buffers, self._bytes(data.ljust(longest)))
        return [bytes(b.cpu().numpy()[: int(size)]) for b, size in zip(buffers, sizes, strict=True)]

    def _bytes(self, data: bytes) -> Tensor:
        return (
            torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self.device)
            if data
            else torch.empty(0, dtype=torch.uint8, device=self.device)
        )


def join_group(environment: Mapping[str, str] = os.environ) -> RankGroup:
    """Joins the ranks named by RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; with none of them set, a group of one.

    LOCAL_RANK picks the GPU where there is one; LOCAL_WORLD_SIZE is how many ranks this machine has, all unless it is set.
    Raises ValueError where only some of the variables are set.
    """
    unset = [name for name in VARIABLES if not environment.get(name)]
    if unset and len(unset) < len(VARIABLES):
        raise ValueError(f"{unset[0]} is not set; ranks need all of {', '.join(VARIABLES)}, a single process none")
    rank, world_size = (0, 1) if unset else (int(environment["RANK"]), int(environment["WORLD_SIZE"]))
    local_rank = int(environment.get("LOCAL_RANK", rank))
    # DeepSpeed reads these from the environment and has no other way to be told. Without the second it asks numactl, and
    # fails where a folder of PATH is closed to the user.
    os.environ["LOCAL_RANK"] = str(local_rank)
    os.environ["LOCAL_SIZE"] = environment.get("LOCAL_WORLD_SIZE", str(world_size))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if not distributed.is_initialized():
        # A group of one meets in its own memory: it needs no port, so nothing can take the port from it.
        store = distributed.HashStore() if unset else None  # pyright: ignore[reportPrivateImportUsage]
        distributed.init_process_group(backend, timeout=PATIENCE, store=store, rank=rank, world_size=world_size)
    return RankGroup(rank, world_size, device)


def leave_group() -> None:
    """Leaves the group, where one was joined. Not calling it makes torch complain at exit."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
