"""A rollout service whose vLLM, on a CPU, takes transfers over gloo: `python -m tests.services.rollout.gloo_transfer FLAGS`.

It stands in for NCCL and for nothing else: messages, checks, the order of calls, vLLM's own engine for transfers and its
loading of what comes are the real ones.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import BroadcastOptions, ProcessGroupGloo, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from services.rollout.vllm_worker import WorkerExtension

LONGEST = timedelta(seconds=600)


class GlooGroup:
    """A `trainer.weight_transfer.SendingGroup`: rank 0, and the same for the other ranks."""

    def __init__(self, world_size: int, device: torch.device, rank: int = 0, address: bytes = b"127.0.0.1:0") -> None:
        host, port = address.decode().rstrip("\0").split(":")
        self._rank, self._size = rank, world_size
        self._store = TCPStore(host, int(port), None, rank == 0, LONGEST, wait_for_workers=False)
        self._group: Any = None
        self.joins = 0

    @property
    def unique_id(self) -> bytes:
        return f"127.0.0.1:{self._store.port}".encode().ljust(128, b"\0")

    def join(self, stay: Callable[[], None]) -> None:
        self._group = ProcessGroupGloo(self._store, self._rank, self._size, LONGEST)
        self.joins += 1

    def send(self, tensor: torch.Tensor, stay: Callable[[], None]) -> None:
        from trainer.nccl import TransferError

        try:
            self.broadcast(tensor.contiguous(), 0)
        except RuntimeError as error:  # the peer's process has ended
            raise TransferError(str(error)) from error

    def broadcast(self, tensor: torch.Tensor, src: int, stream: Any = None) -> None:
        options = BroadcastOptions()
        options.rootRank = src
        self._group.broadcast([tensor], options).wait()

    def abort(self) -> None:
        self._group = None

    destroy = abort


class GlooWorker(WorkerExtension):
    """vLLM's worker with gloo for NCCL."""

    def __new__(cls, *given: Any, **more: Any) -> Any:
        from vllm.distributed.weight_transfer import nccl_engine  # pyright: ignore[reportMissingImports]

        nccl_engine.worker_init_process_group = _join
        torch.cuda.current_stream = lambda *_: None
        return super().__new__(cls, *given, **more)


def _join(info: Any, _parallel: Any) -> GlooGroup:
    group = GlooGroup(info.world_size, torch.device("cpu"), 1, info.nccl_unique_id_bytes)
    group.join(lambda: None)
    return group


def stand_in() -> None:
    """Has the service take its vLLM for one on a GPU."""
    from services.rollout import vllm_core, vllm_engine

    given = vllm_core.engine_arguments

    def arguments(*more: Any) -> Any:
        made = given(*more)
        made.worker_extension_cls = "tests.services.rollout.gloo_transfer.GlooWorker"
        return made

    vllm_core.engine_arguments = arguments
    vllm_engine.transfer_workers = lambda _options: 1


if __name__ == "__main__":
    stand_in()
    runpy.run_module("services.rollout", run_name="__main__")
