"""Sends the policy's tensors from the trainer's GPU to those of vLLM, while the call that updates the weights is under way.

The folder of the version is written before, and a transfer that breaks off is made good from it. So whatever happens here
costs time, never a version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import grpc
import structlog
import torch
from torch import Tensor

from services.client.channel import ServiceError
from services.client.rollout import PendingUpdate
from services.rollout.engine import Served, TensorInfo, Transfer
from trainer.config import JobFileError
from trainer.engine import Engine
from trainer.group import RankGroup
from trainer.nccl import TransferError

DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""By their names in a safetensors header."""


class SendingGroup(Protocol):
    """What `trainer.nccl.NcclGroup` is; see there."""

    @property
    def unique_id(self) -> bytes: ...

    def join(self, stay: Callable[[], None]) -> None: ...

    def send(self, tensor: Tensor, stay: Callable[[], None]) -> None: ...

    def abort(self) -> None: ...


class Sender:
    """Rank 0's end: a group with the workers of one engine, kept from one update to the next until one fails."""

    def __init__(
        self, workers: int, device: torch.device, make_group: Callable[[int, torch.device], SendingGroup]
    ) -> None:
        """workers: of the engine. make_group: of a world size and a device."""
        self._world_size, self._device, self._make_group = workers + 1, device, make_group
        self._group: SendingGroup | None = None
        self._joined = False
        self._call: PendingUpdate | None = None
        self._failure = ""

    def begin(self, tensors: Sequence[TensorInfo], update: Callable[[Transfer], PendingUpdate]) -> None:
        """Starts the call, and a group if there is none; neither where a group cannot be had."""
        self._failure, self._call = "", None
        if self._group is None:
            try:
                self._group, self._joined = self._make_group(self._world_size, self._device), False
            except TransferError as error:
                self._give_up(str(error))
                return
        transfer = Transfer("nccl", self._group.unique_id, not self._joined, self._world_size, tuple(tensors))
        self._call = update(transfer)

    def send(self, info: TensorInfo, tensor: Tensor) -> None:
        """Sends the next tensor; nothing where one before it has failed, so that the ranks go on together."""
        if self._failure or self._group is None:
            return
        try:
            if (str(tensor.dtype), tuple(tensor.shape)) != (f"torch.{info.dtype}", info.shape):
                raise TransferError(f"{info.name} is {tensor.dtype} {list(tensor.shape)}, its file has {info}")
            if not self._joined:
                self._group.join(self._stay)
                self._joined = True
            self._group.send(tensor, self._stay)
        except TransferError as error:
            self._failure = str(error)

    def end(self) -> Served | None:
        """What the call ended with; None where the transfer broke off. Raises ServiceError (DATA_LOSS) for a missed canary."""
        if self._call is None:
            return None
        if self._failure and not self._call.ended():
            self._call.cancel()
            self._give_up(self._failure)
            return None
        try:
            served = self._call.result()
        except ServiceError as error:
            self._give_up(str(error))
            if error.code is grpc.StatusCode.DATA_LOSS:
                raise
            return None
        if self._failure:  # the service had no need of it: it began with the files
            self._give_up(self._failure)
        return served

    def _stay(self) -> None:
        if self._call is None or self._call.ended():
            raise TransferError("the update ended before all tensors were sent")

    def _give_up(self, why: str) -> None:
        structlog.get_logger().warning("transfer of weights given up", reason=why)
        if self._group is not None:
            self._group.abort()
            self._group = None


def send_weights(
    engine: Engine,
    folder: Path,
    group: RankGroup,
    sender: Sender | None,
    update: Callable[[Transfer], PendingUpdate] | None,
) -> Served | None:
    """Sends the engine's weights, which `folder` holds too. A collective; its result is rank 0's, see `Sender.end`.

    sender, update: on rank 0, None elsewhere; `update` starts the call. Holds one tensor whole at a time. Raises JobFileError.
    """
    infos = file_tensors(folder) if sender else []
    infos = [
        TensorInfo(**{**each, "shape": tuple(each["shape"])}) for each in group.gather([asdict(i) for i in infos])[0]
    ]
    if sender and update:
        sender.begin(infos, update)
    for info, tensor in zip(infos, engine.each_weight([info.name for info in infos]), strict=True):
        if sender:
            sender.send(info, tensor)
    return sender.end() if sender else None


def file_tensors(folder: Path) -> list[TensorInfo]:
    """What `model.safetensors` holds, from its header. Raises JobFileError for a dtype that cannot be sent."""
    with (folder / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    infos = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise JobFileError(
                [f"rollout.transfer: {name} is {entry['dtype']}, which 'nccl' does not send; take 'files'"]
            )
        infos.append(TensorInfo(name, DTYPES[entry["dtype"]], tuple(entry["shape"])))
    return infos
