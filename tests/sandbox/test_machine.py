"""Lists of system calls: what runs, in what order, and where results go."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from sandbox.inside import kernel
from sandbox.inside.machine import END, RECORD_BYTES, Call, Machine, assemble


class Page:
    """Memory for a list and for what it writes."""

    def __init__(self) -> None:
        self.memory = ctypes.create_string_buffer(4096)
        self.address = ctypes.addressof(self.memory)
        self.results = self.address + 2048

    def run(self, *calls: Call, last: int = END, at: int = 0) -> int:
        self.place(at, *calls, last=last)
        return Machine().run(self.address + at)

    def place(self, at: int, *calls: Call, last: int = END) -> int:
        records = assemble(calls, self.address + at, last)
        ctypes.memmove(self.address + at, records, len(records))
        return self.address + at

    def result(self, number: int) -> int:
        return struct.unpack_from("=i", self.memory, 2048 + 4 * number)[0]

    def text(self, at: int, content: bytes) -> int:
        ctypes.memmove(self.address + at, content, len(content))
        return self.address + at


def test_calls_are_made_in_order_and_their_results_kept() -> None:
    page = Page()
    reader, writer = os.pipe()
    letters = page.text(3000, b"abc")
    calls = [Call("write", writer, letters + place, 1, result=page.results + 4 * place) for place in range(3)]
    last = page.run(*calls, Call("getpid", result=page.results + 12))
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"abc"
    assert [page.result(number) for number in range(4)] == [1, 1, 1, os.getpid()]
    assert last == os.getpid()


def test_all_six_arguments_arrive() -> None:
    """mmap takes six, of which the last chooses the page of the file."""
    page = Page()
    descriptor = os.memfd_create("six")
    os.write(descriptor, b"0" * 4096 + b"second page")
    read_only, private = 1, 2
    address = page.run(Call("mmap", 0, 4096, read_only, private, descriptor, 4096))
    assert ctypes.string_at(address, 11) == b"second page"
    os.close(descriptor)


def test_a_failure_a_zero_and_anything_else_go_on_where_they_are_told_to() -> None:
    page = Page()
    failed = page.place(1000, Call("getppid", result=page.results))
    zero = page.place(1200, Call("getpgrp", result=page.results))
    for call, expected in [
        (Call("close", -1, zero=zero, failure=failed), os.getppid()),
        (Call("fsync", -1, failure=failed), os.getppid()),
        (Call("umask", os.umask(0o22), zero=zero, failure=failed), os.getpid()),
        (Call("sched_yield", zero=zero, failure=failed), os.getpgrp()),
    ]:
        assert page.run(call, Call("getpid", result=page.results)) == expected == page.result(0)
    os.umask(0o22)


def test_without_being_told_a_list_goes_on_after_a_failure_and_keeps_its_number() -> None:
    page = Page()
    assert page.run(Call("close", -1, result=page.results), Call("getpid", result=page.results + 4)) == os.getpid()
    assert (page.result(0), page.result(1)) == (-errno.EBADF, os.getpid())


def test_a_list_can_be_followed_by_another_and_by_itself() -> None:
    """Reads a pipe's bytes one by one until there are none, and then goes on to a list that lies elsewhere."""
    page = Page()
    reader, writer = os.pipe()
    os.write(writer, b"xyz")
    os.close(writer)
    done = page.place(1000, Call("getpid"))
    read = Call("read", reader, page.results, 1, zero=done, failure=done)
    assert page.run(read, last=page.address) == os.getpid()
    assert page.memory[2048] == b"z"
    os.close(reader)


def test_a_record_is_as_long_as_the_code_takes_it_for() -> None:
    assert RECORD_BYTES == 88
    assert len(assemble([Call("getpid")] * 3, 0)) == 3 * 88


def test_the_thread_id_that_the_c_library_keeps_is_found() -> None:
    """A child that was not made by the C library has its parent's there, until it is written."""
    addresses = kernel.thread_id_addresses()
    assert addresses
    assert [ctypes.c_uint32.from_address(address).value for address in addresses] == [os.getpid()] * len(addresses)


def test_filters_say_where_a_value_stands_in_them() -> None:
    program = struct.pack("=HBBIHBBIHBBI", 1, 0, 0, 77, 2, 0, 0, 5, 3, 0, 0, 77)
    found = kernel.Filter(program)
    for address in found.places(77):
        ctypes.c_uint32.from_address(address).value = 78
    assert struct.unpack("=HBBIHBBIHBBI", found.program) == (1, 0, 0, 78, 2, 0, 0, 5, 3, 0, 0, 78)
