"""A process that has Math-Verify loaded and forks children which compare: `python -m services.math.nursery FD`.

Forking one takes milliseconds, importing sympy two seconds. The nursery computes nothing itself and has one thread. It
reads packets from the socket FD: `fork`, with the child's socket beside it, or `kill PID`; it answers `ready`,
`forked PID` and `ended PID STATUS`. When the socket closes, it and its children end.

A child may use so much memory and, for each of a comparison's two steps, so much CPU time; the kernel ends it with SIGPROF
where it needs more. Requests and answers are JSON frames (`services.server.frames`):

    {"gold": text, "answer": text, "relative_tolerance": number, "cpu_seconds": number}
    -> {"gold": bool}  whether the gold answer means anything to Math-Verify; where it does, then
    -> {"same": bool, "readable": bool}, or {"memory": true} in either place
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, NoReturn

from services.math import symbolic
from services.server.frames import LENGTH, encode_frame

MEMORY_BYTES = 512 << 20
"""Of address space, for one child; Math-Verify and sympy themselves take about a seventh."""
PACKET_BYTES = 64


def main() -> None:
    """Serves until the socket closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    symbolic.warm_up()
    wakeup, bell = socket.socketpair()
    for each in (wakeup, bell):
        each.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
    children: set[int] = set()
    with suppress(ConnectionError):  # the other end is gone
        control.send(b"ready")
        while True:
            ready, _, _ = select.select([control, wakeup], [], [])
            if wakeup in ready:
                with suppress(BlockingIOError):
                    wakeup.recv(4096)
                _bury(control, children)
            if control in ready and not _obey(control, children, (wakeup, bell)):
                break
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _bury(control: socket.socket, children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        control.send(f"ended {pid} {os.waitstatus_to_exitcode(status)}".encode())


def _obey(control: socket.socket, children: set[int], ours: tuple[socket.socket, ...]) -> bool:
    """Carries out one packet; False at the end of the stream."""
    packet, descriptors, _, _ = socket.recv_fds(control, PACKET_BYTES, 1)
    if not packet:
        return False
    if packet.startswith(b"kill "):
        pid = int(packet[5:])
        if pid in children:  # else it has ended, and its number may be another's
            os.kill(pid, signal.SIGKILL)
        return True
    pid = os.fork()
    if pid == 0:
        _live(socket.socket(fileno=descriptors[0]), (control, *ours))
    os.close(descriptors[0])
    children.add(pid)
    control.send(f"forked {pid}".encode())
    return True


def _live(connection: socket.socket, others: tuple[socket.socket, ...]) -> NoReturn:
    """A child's life: one comparison after another."""
    try:
        signal.set_wakeup_fd(-1)
        for each in (signal.SIGCHLD, signal.SIGPROF):
            signal.signal(each, signal.SIG_DFL)
        for each in others:
            each.close()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        stream = connection.makefile("rb")
        while len(header := stream.read(LENGTH.size)) == LENGTH.size:
            _serve(connection, json.loads(stream.read(*LENGTH.unpack(header))))
    finally:
        os._exit(0)


def _serve(connection: socket.socket, request: dict[str, Any]) -> None:
    try:
        gold = _limited(request["cpu_seconds"], lambda: symbolic.parse(request["gold"]))
        connection.sendall(encode_frame({"gold": bool(gold)}))
        if not gold:
            return
        connection.sendall(encode_frame(_limited(request["cpu_seconds"], lambda: _compare(gold, request))))
    except MemoryError:
        connection.sendall(encode_frame({"memory": True}))
        os._exit(0)


def _limited(cpu_seconds: float, work: Any) -> Any:
    """What the work returns; where it raises, what stands for nothing. A MemoryError is passed on."""
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        return work()
    except MemoryError:
        raise
    except Exception:  # whatever sympy raises about a text, a RecursionError too, says that it is not one of its texts
        return None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _compare(gold: Any, request: dict[str, Any]) -> dict[str, bool]:
    answer = symbolic.parse(request["answer"])
    same = bool(answer) and symbolic.equal(gold, answer, request["relative_tolerance"])
    return {"same": same, "readable": bool(answer)}


if __name__ == "__main__":
    main()
