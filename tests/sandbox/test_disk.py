"""What a run takes up of the machine's disk, where it has no file system of its own: files that no walk finds count too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.inside.jail import JAIL
from sandbox.inside.namespaces import NAMESPACES, USER_NAMESPACE
from sandbox.jobs import Kind
from sandbox.results import Ending

if TYPE_CHECKING:
    from conftest import Box

NO_NAMESPACES = (NAMESPACES, USER_NAMESPACE)
PLACES = pytest.mark.parametrize("without", [NO_NAMESPACES, (JAIL,), (NAMESPACES, JAIL)])
WITH_FILES = pytest.mark.parametrize("kind", [Kind.FILES, Kind.SUBPROCESS])
OPEN = """
kept = []
for number in range(40):
    file = open("f", "wb", buffering=0)
    os.unlink("f")
    kept.append(file)
    for _ in range(4): file.write(bytes(1 << 20))
"""
MAPPED = """
libc.mmap.restype = ctypes.c_void_p
for number in range(10):
    file = open("f", "wb+", buffering=0)
    os.unlink("f")
    file.write(bytes(16 << 20))
    libc.mmap(None, 4096, 1, 1, file.fileno(), 0)
    file.close()
"""
UNLISTED = """
os.mkdir("d", 0o300)
for number in range(10): open(f"d/{number}", "wb").write(bytes(16 << 20))
"""
FAR_DOWN = """
for number in range(20):
    os.mkdir("d" * 250)
    os.chdir("d" * 250)
for number in range(10): open(f"{number}", "wb").write(bytes(16 << 20))
"""
HELD_BY_A_THREAD = """
def hold():
    time.sleep(0.1)
    exec(work)
    time.sleep(0.3)
    print("through", flush=True)
    os._exit(0)
threading.Thread(target=hold).start()
libc.syscall(60, 0)
"""
TABLE_OF_ITS_OWN = "print(libc.syscall(56, 0x10000 | 0x800 | 0x100, 0, 0, 0, 0))"
HONEST = """
import os, tempfile
with tempfile.TemporaryFile() as file:
    file.write(b"x" * (8 << 20))
    file.seek(0)
    print(len(file.read()))
with tempfile.NamedTemporaryFile("w+") as file:
    file.write("text")
    file.flush()
    print(open(file.name).read())
with tempfile.TemporaryDirectory() as folder:
    open(f"{folder}/a", "w").write("1")
    open(f"{folder}/b", "w").write("2")
    os.replace(f"{folder}/a", f"{folder}/b")
    print(os.listdir(folder), open(f"{folder}/b").read())
for number in range(12):  # more in all than there is room for at once
    with tempfile.TemporaryFile() as file: file.write(b"x" * (8 << 20))
with open("big", "wb") as file: os.posix_fallocate(file.fileno(), 0, 1 << 20)
print(os.path.getsize("big"), os.path.exists(folder))
"""


IMPORTS = "import ctypes, os, threading, time\nlibc = ctypes.CDLL(None)\n"


@WITH_FILES
@PLACES
@pytest.mark.parametrize("work", [OPEN, MAPPED, UNLISTED, FAR_DOWN], ids=["open", "mapped", "unlisted", "far_down"])
def test_there_is_no_more_room_on_the_disk(
    make_box: Callable[..., Box], without: tuple[str, ...], kind: Kind, work: str, new_scratch: Callable[[], set[Path]]
) -> None:
    box = make_box(without=without)
    result = box.run(f"{IMPORTS}{work}\ntime.sleep(0.3)\nprint('through')", kind=kind, cpu_seconds=10.0)
    assert (result.ending, result.stdout) == (Ending.MEMORY_LIMIT, b""), result
    assert not new_scratch()


@WITH_FILES
def test_there_is_no_more_room_on_the_disk_when_the_first_thread_has_ended(
    make_box: Callable[..., Box], kind: Kind
) -> None:
    box = make_box(without=NO_NAMESPACES)
    source = f"{IMPORTS}work = {OPEN!r}\n{HELD_BY_A_THREAD}"
    result = box.run(source, kind=kind, cpu_seconds=10.0, wall_seconds=20.0)
    assert (result.ending, result.stdout) == (Ending.MEMORY_LIMIT, b""), result


@WITH_FILES
def test_threads_share_their_descriptors(box: Box, kind: Kind) -> None:
    """Else what one of them has open would have to be looked for in each."""
    assert box.run(IMPORTS + TABLE_OF_ITS_OWN, kind=kind).stdout == b"-1\n"


@WITH_FILES
@PLACES
def test_temporary_files_are_as_everywhere(make_box: Callable[..., Box], without: tuple[str, ...], kind: Kind) -> None:
    result = make_box(without=without).run(HONEST, kind=kind)
    assert result.ending is Ending.EXITED, result
    assert result.stdout == b"8388608\ntext\n['b'] 1\n1048576 False\n"
