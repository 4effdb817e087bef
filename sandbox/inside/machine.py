"""Lists of system calls that are made one after the other without Python in between.

After a fork the kernel copies each page that parent or child writes to, and Python writes to many whatever it does, since
it counts references. What both do around a fork is therefore no Python: a few dozen bytes of machine code walk a list of
system calls, and a run begins with a third of its pages uncopied.
"""

from __future__ import annotations

import ctypes
import struct

from sandbox.inside import kernel
from sandbox.inside.syscalls import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CODE = bytes.fromhex(
    "53"  # push rbx
    "4889fb"  # mov rbx, rdi: the first record
    "488b03"  # next: mov rax, [rbx]: the number of the call
    "488b7b08"  # mov rdi, [rbx + 8]: its six arguments
    "488b7310"  # mov rsi, [rbx + 16]
    "488b5318"  # mov rdx, [rbx + 24]
    "4c8b5320"  # mov r10, [rbx + 32]
    "4c8b4328"  # mov r8, [rbx + 40]
    "4c8b4b30"  # mov r9, [rbx + 48]
    "0f05"  # syscall
    "488b4b38"  # mov rcx, [rbx + 56]: where its result goes
    "8901"  # mov [rcx], eax
    "4885c0"  # test rax, rax
    "780e"  # js negative
    "7406"  # jz zero
    "488b5b40"  # mov rbx, [rbx + 64]: what follows a result above zero
    "eb0a"  # jmp check
    "488b5b48"  # zero: mov rbx, [rbx + 72]
    "eb04"  # jmp check
    "488b5b50"  # negative: mov rbx, [rbx + 80]
    "4885db"  # check: test rbx, rbx
    "75c1"  # jnz next
    "5b"  # pop rbx
    "c3"  # ret, with the last result
)
_RECORD = struct.Struct("=7Q4Q")
RECORD_BYTES = _RECORD.size
END = 0
"""What follows the last call of a list."""
_WORD = (1 << 64) - 1
_sink = ctypes.create_string_buffer(4)
_nowhere = ctypes.addressof(_sink)


class Call:
    """A system call of a list, and where the list goes on after it.

    result: address of four bytes where its result goes, `-errno` where it failed. zero, failure: addresses of what follows
    a result of 0, and a failure; None for what follows any other result.
    """

    def __init__(
        self, name: str, *arguments: int, result: int | None = None, zero: int | None = None, failure: int | None = None
    ) -> None:
        self.number = NUMBERS[name]
        self.arguments = [argument & _WORD for argument in arguments] + [0] * (6 - len(arguments))
        self.result = _nowhere if result is None else result
        self.zero = zero
        self.failure = failure


def assemble(calls: Sequence[Call], address: int, last: int = END) -> bytes:
    """The records of a list that will lie at `address`, where each call is followed by the next and the last by `last`."""
    records: list[bytes] = []
    for index, call in enumerate(calls, 1):
        follows = last if index == len(calls) else address + index * RECORD_BYTES
        zero = follows if call.zero is None else call.zero
        failure = follows if call.failure is None else call.failure
        records.append(_RECORD.pack(call.number, *call.arguments, call.result, follows, zero, failure))
    return b"".join(records)


class Machine:
    """The code, ready to run. Raises OSError where this process may not have code of its own."""

    def __init__(self) -> None:
        self._run = ctypes.PYFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(kernel.executable(_CODE))

    def run(self, address: int) -> int:
        """Makes the calls of the list at `address`; the result of the last one, `-errno` where it failed."""
        return self._run(address)
