"""Takes a policy's tensors from the trainer's GPU by vLLM's own weight transfer over NCCL, in place of a folder's files.

vLLM can also rendezvous at an address and a port, and then pickles what it says there; NCCL's unique id in the request
does without. Its backend `ipc` unpickles handles, so it is not offered.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Coroutine, Mapping
from typing import Any

from services.rollout.engine import EngineError, EngineFault, Transfer
from services.rollout.vllm_weights import Contents

CONFIG = {"backend": "nccl"}
"""vLLM's `weight_transfer_config`."""
PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def transfer_workers(options: Mapping[str, Any]) -> int:
    """GPU workers of one engine with these options; 0 where vLLM does not compute with CUDA."""
    from vllm.platforms import current_platform

    return math.prod(int(options.get(name) or 1) for name in PARALLEL) if current_platform.is_cuda() else 0


def check_transfer(transfer: Transfer, workers: int) -> None:
    """Raises EngineError (FAILED_PRECONDITION) where these workers cannot take part in it."""
    if not workers:
        raise _unfit("vLLM does not compute on an NVIDIA GPU here; send the update without transfer")
    if transfer.world_size != workers + 1:
        raise _unfit(
            f"world_size is {transfer.world_size}; it must be {workers + 1}, the trainer and {workers} of vLLM"
        )


def check_tensors(transfer: Transfer, contents: Contents) -> None:
    """Raises EngineError (FAILED_PRECONDITION) where the tensors are others than the folder's."""
    given = tuple(sorted((each.name, f"torch.{each.dtype}", each.shape) for each in transfer.tensors))
    if given != contents.tensors:
        other = next(iter(set(given) ^ set(contents.tensors)))
        raise _unfit(f"tensors are not those in path; {other[0]!r} is one that differs")


def check_group(transfer: Transfer, joined: bytes) -> None:
    """Raises EngineError (FAILED_PRECONDITION) for a group that the workers should be in and are not."""
    if not transfer.new_group and transfer.group != joined:
        raise _unfit("group is not one that vLLM's workers are in; they were started anew. Send a new one")


async def take(llm: Any, transfer: Transfer, joined: bytes) -> None:
    """Has an `AsyncLLM`, which nothing is asked meanwhile, join the group if it is new, and load what is broadcast there.

    joined: the group that its workers are in, or nothing. Whatever it raises, nobody knows which weights are there.
    """
    from vllm.distributed.weight_transfer.base import WeightTransferInitRequest, WeightTransferUpdateRequest

    await llm.pause_generation(mode="abort", clear_cache=True)
    if transfer.new_group:
        if joined:
            await llm.shutdown_weight_transfer_engine()
        await llm.init_weight_transfer_engine(
            WeightTransferInitRequest(
                init_info={
                    "nccl_unique_id_b64": base64.b64encode(transfer.group).decode(),
                    "rank_offset": 1,
                    "world_size": transfer.world_size,
                    "packed": False,
                }
            )
        )
    await llm.start_weight_update()
    await llm.update_weights(
        WeightTransferUpdateRequest(
            update_info={
                "names": [each.name for each in transfer.tensors],
                "dtype_names": [each.dtype for each in transfer.tensors],
                "shapes": [list(each.shape) for each in transfer.tensors],
            }
        )
    )
    await llm.finish_weight_update()
    await llm.resume_generation()


async def while_sent(work: Coroutine[Any, Any, None], gone: asyncio.Event) -> None:
    """Awaits the work until `gone` is set: then nobody sends what it waits for. Raises EngineError (CANCELLED)."""
    tasks = asyncio.ensure_future(work), asyncio.ensure_future(gone.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise EngineError(EngineFault.CANCELLED, "the caller of the update went away")
        tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()


def _unfit(why: str) -> EngineError:
    return EngineError(EngineFault.FAILED_PRECONDITION, f"transfer: {why}")
