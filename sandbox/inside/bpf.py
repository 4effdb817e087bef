"""Assembles seccomp filters: programs of classic BPF that answer each system call with an action.

A filter is a chain of tests of the call's number, each before the block that answers it. Sources: the kernel's
`Documentation/userspace-api/seccomp_filter.rst` and `include/uapi/linux/{bpf_common,seccomp,audit}.h`.
"""

from __future__ import annotations

import struct

from sandbox.inside.syscalls import FIRST_NEW, NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALLOW = 0x7FFF0000
KILL = 0x80000000
"""The process dies by SIGSYS, which nothing in it can catch."""
_ERRNO = 0x00050000

_LOAD, _AND, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X86_64 = 0xC000003E
_X32 = 0x40000000
"""Numbers from here on are of the x32 ABI, which would pass tests of the number."""
_INSTRUCTION = struct.Struct("HBBI")
_ENOSYS = 38

PID_OF_OWN = 0x7AB1D5ED
"""Stands in `policy.own` for the process id that each child writes there before it puts the filter in force."""

Instructions = list[tuple[int, int, int, int]]


def fail(number: int) -> int:
    """The action that makes the call fail with this errno; 0: it does nothing and succeeds."""
    return _ERRNO | number


def always(action: int) -> Instructions:
    """The same answer whatever the arguments."""
    return [(_RETURN, 0, 0, action)]


def allow_masked(argument: int, mask: int, value: int, otherwise: int) -> Instructions:
    """Allows the call where `argument & mask == value`; of the argument only the lower half, all of an int, is read."""
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
        (_AND, 0, 0, mask),
        (_JUMP_EQUAL, 0, 1, value),
        (_RETURN, 0, 0, ALLOW),
        (_RETURN, 0, 0, otherwise),
    ]


def answer_unless_masked(argument: int, mask: int, action: int) -> Instructions:
    """The action where any bit of the mask is set in the argument; else what follows decides."""
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
        (_AND, 0, 0, mask),
        (_JUMP_EQUAL, 1, 0, 0),
        (_RETURN, 0, 0, action),
    ]


def answer_where_masked(argument: int, mask: int, value: int, action: int) -> Instructions:
    """The action where `argument & mask == value`; else what follows decides."""
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
        (_AND, 0, 0, mask),
        (_JUMP_EQUAL, 0, 1, value),
        (_RETURN, 0, 0, action),
    ]


def allow_listed(argument: int, values: Iterable[int], otherwise: int) -> Instructions:
    """Allows the call where the lower half of the argument is one of the values."""
    chosen = list(values)
    tests = [(_JUMP_EQUAL, len(chosen) - index, 0, value) for index, value in enumerate(chosen)]
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
        *tests,
        (_RETURN, 0, 0, otherwise),
        (_RETURN, 0, 0, ALLOW),
    ]


def fail_below(argument: int, least: int, flags: tuple[int, int], action: int) -> Instructions:
    """The action where an argument is less than `least` and one of the flags (an argument and a mask) is set; else the
    call is allowed."""
    where, mask = flags
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * where),
        (_AND, 0, 0, mask),
        (_JUMP_EQUAL, 4, 0, 0),
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
        (_JUMP_AT_LEAST, 2, 0, least),
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4),
        (_JUMP_EQUAL, 1, 0, 0),
        (_RETURN, 0, 0, ALLOW),
        (_RETURN, 0, 0, action),
    ]


def allow_null(argument: int, otherwise: int) -> Instructions:
    """Allows the call where a pointer is null."""
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
        (_JUMP_EQUAL, 0, 3, 0),
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4),
        (_JUMP_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, ALLOW),
        (_RETURN, 0, 0, otherwise),
    ]


def assemble(answers: Mapping[str, Instructions], known: Instructions, new: Instructions) -> bytes:
    """A filter that gives each call named its answer, every other call of Linux 5.1 `known`, and newer ones `new`.

    Calls by other conventions than x86-64's kill the process.
    """
    program: Instructions = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, _X86_64),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, KILL),
    ]
    for name, block in answers.items():
        program += [(_JUMP_EQUAL, 0, len(block), NUMBERS[name]), *block]
    program += [(_JUMP_AT_LEAST, 0, len(new), FIRST_NEW), *new, *known]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


NEW_CALLS = always(fail(_ENOSYS))
"""As on an older kernel, so that the C library does without."""
