"""The sender's end of a group of NCCL: the trainer's rank 0 and the workers of an engine, processes that share no torch group.

torch.distributed rendezvouses through a store that vLLM does not speak without pickle, and its groups cannot be given up while
a peer is silent. So this calls the NCCL that torch has brought, without blocking: whoever waits looks whether the peers are
still there.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LIBRARY = "libnccl.so.2"
SUCCESS, IN_PROGRESS = 0, 7
DTYPES = {torch.float16: 6, torch.float32: 7, torch.bfloat16: 9}
SUM = 0
POLL_SECONDS = 2e-4


class TransferError(Exception):
    """The tensors could not be sent."""


class _UniqueId(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_char * 128),)


class _Config(ctypes.Structure):
    """`ncclConfig_t` as of 2.14, which later versions take."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("magic", ctypes.c_uint),
        ("version", ctypes.c_uint),
        ("blocking", ctypes.c_int),
    )


def absence() -> str:
    """Why this process cannot send from a GPU; empty where it can."""
    if not torch.cuda.is_available():
        return "torch sees no NVIDIA GPU"
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        return f"{LIBRARY} cannot be loaded: {error}"
    return ""


class NcclGroup:
    """Rank 0 of a group on a CUDA device. After an error, `abort` it.

    stay: called while a method waits; raises to end the wait. Methods raise TransferError.
    """

    def __init__(self, world_size: int, device: torch.device) -> None:
        self._world_size, self._device = world_size, device
        self._library = ctypes.CDLL(LIBRARY)
        self._library.ncclGetErrorString.restype = ctypes.c_char_p
        self._comm = ctypes.c_void_p()
        self._id = _UniqueId()
        self._call("ncclGetUniqueId", ctypes.byref(self._id))

    @property
    def unique_id(self) -> bytes:
        """What the other ranks join by; 128 bytes."""
        return bytes(self._id)

    def join(self, stay: Callable[[], None]) -> None:
        """Returns when all ranks have come, each with the all-reduce of one float32 that vLLM begins with."""
        config = _Config(ctypes.sizeof(_Config), 0xCAFEBEEF, 21400, 0)
        with torch.cuda.device(self._device):
            comm = ctypes.byref(self._comm)
            self._call("ncclCommInitRankConfig", comm, self._world_size, self._id, 0, ctypes.byref(config))
            self._settle(stay)
            one = torch.zeros(1, device=self._device)
            self._run("ncclAllReduce", one, SUM, stay)

    def send(self, tensor: Tensor, stay: Callable[[], None]) -> None:
        """Broadcasts a tensor of the group's device; returns when it may be changed."""
        with torch.cuda.device(self._device):
            self._run("ncclBroadcast", tensor.contiguous(), 0, stay)

    def abort(self) -> None:
        """Gives the group up, whatever it waits for."""
        if self._comm:
            self._library.ncclCommAbort(self._comm)
            self._comm = ctypes.c_void_p()

    def _run(self, name: str, tensor: Tensor, argument: int, stay: Callable[[], None]) -> None:
        """A collective in place. argument: its operation or its root."""
        stream = torch.cuda.current_stream()
        here = ctypes.c_void_p(tensor.data_ptr())
        size, dtype = ctypes.c_size_t(tensor.numel()), DTYPES[tensor.dtype]
        self._call(name, here, here, size, dtype, argument, self._comm, ctypes.c_void_p(stream.cuda_stream))
        self._settle(stay)
        done = stream.record_event()
        while not done.query():
            self._check_peers()
            stay()
            time.sleep(POLL_SECONDS)

    def _settle(self, stay: Callable[[], None]) -> None:
        while self._check_peers() == IN_PROGRESS:
            stay()
            time.sleep(POLL_SECONDS)

    def _check_peers(self) -> int:
        state = ctypes.c_int()
        self._call("ncclCommGetAsyncError", self._comm, ctypes.byref(state))
        return self._checked("NCCL", state.value)

    def _call(self, name: str, *arguments: Any) -> None:
        self._checked(name, getattr(self._library, name)(*arguments))

    def _checked(self, name: str, result: int) -> int:
        if result not in (SUCCESS, IN_PROGRESS):
            text = self._library.ncclGetErrorString(result)
            raise TransferError(f"{name}: {text.decode() if text else result}")
        return result
