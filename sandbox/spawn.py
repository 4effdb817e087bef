"""Makes a confined process: the one place that knows how a run comes into being.

Here each run starts an interpreter of its own. What it gets is a `Confined`; nothing else of the package depends on how
it was made.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sandbox import frames, scratch
from sandbox.results import Limits

MAX_SOURCE_CHARACTERS = 1 << 20
_PACKAGE_PARENT = str(Path(__file__).resolve().parent.parent)
_START = "import sys; sys.path.insert(0, sys.argv[1]); from sandbox.inside.launch import main; main(sys.argv[2:])"
# glibc gives each thread an arena of 64 MiB, which would use up the address space limit.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}
# Outside a virtual environment, whose own directory need not be readable for the program's user.
_INTERPRETER: str = sys._base_executable  # pyright: ignore[reportAttributeAccessIssue]
_COMMAND = (_INTERPRETER, "-I", "-S", "-X", "utf8", "-c", _START, _PACKAGE_PARENT)
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@dataclass(slots=True)
class Confined:
    """A confined process as its owner holds it. At the end the owner closes the descriptors and removes `scratch`.

    process: the outermost process; its end is the end of the run. pidfd: readable once it has ended.
    stdout, stderr: read ends of what the program writes. report: read end of the launcher's report.
    control: closing it ends the run. channel: frames to and from the program.
    """

    process: subprocess.Popen[bytes]
    pidfd: int
    stdout: int
    stderr: int
    report: int
    control: int
    channel: socket.socket
    scratch: Path


def spawn(job: list[str], stdin: bytes, limits: Limits, keeper_wall_seconds: float) -> Confined:
    """Starts a job of `sandbox/inside/harness.py`, which its keeper ends after `keeper_wall_seconds`.

    Raises OSError where the machine is out of something, ValueError where the source is longer than
    `MAX_SOURCE_CHARACTERS`.
    """
    if len(job[1]) > MAX_SOURCE_CHARACTERS:
        raise ValueError(f"source has {len(job[1])} characters; at most {MAX_SOURCE_CHARACTERS} are run")
    with ExitStack() as on_error, ExitStack() as ours:
        directory = scratch.make()
        on_error.callback(scratch.remove, directory)
        ends = [_pipe(on_error, ours) for _ in range(3)]
        (stdout, their_stdout), (stderr, their_stderr), (report, their_report) = ends
        their_control, control = os.pipe()
        on_error.callback(os.close, control)
        ours.callback(os.close, their_control)
        channel, their_channel = socket.socketpair()
        on_error.enter_context(channel)
        ours.enter_context(their_channel)
        job_file = _memory_file("job", frames.pack_body(job, frames.MAX_JOB_BYTES), ours)
        inherited = (job_file, their_channel.fileno(), their_report, their_control)
        numbers = (*inherited, limits.cpu_seconds, keeper_wall_seconds, limits.memory_bytes)
        process = subprocess.Popen(
            [*_COMMAND, str(directory), *map(str, numbers)],
            stdin=_memory_file("stdin", stdin, ours),
            stdout=their_stdout,
            stderr=their_stderr,
            pass_fds=inherited,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        pidfd = os.pidfd_open(process.pid)
        on_error.pop_all()
    for descriptor in (stdout, stderr, report):
        os.set_blocking(descriptor, False)
    channel.setblocking(False)
    return Confined(process, pidfd, stdout, stderr, report, control, channel, directory)


def _pipe(on_error: ExitStack, ours: ExitStack) -> tuple[int, int]:
    """A pipe whose read end the owner keeps."""
    read_end, write_end = os.pipe()
    on_error.callback(os.close, read_end)
    ours.callback(os.close, write_end)
    return read_end, write_end


def _memory_file(name: str, content: bytes, stack: ExitStack) -> int:
    """A file without a name that holds `content` for good; reading starts at its beginning."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stack.callback(os.close, descriptor)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
