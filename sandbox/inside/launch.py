"""Takes a bare interpreter to a confined program under a keeper. Started by `sandbox/spawn.py`.

Three processes come of it: the one that was started, which only waits; the keeper, the first process of the run's PID
namespace; and the program, its child. Where namespaces are not permitted, the first is the keeper.

The report to the owner is a pipe that the program never holds. It carries frames: `["missing", layer, reason]` for each
layer that the machine does not permit, `["confined", layer...]` before the source is executed, and at last `["ended",
status, cause, cpu_seconds, wall_seconds, peak_bytes]`, or `["broken", reason]` where the sandbox failed.
"""

from __future__ import annotations

import math
import os
import resource

from sandbox import frames
from sandbox.inside import harness, jail, keeper, kernel, namespaces
from sandbox.inside.namespaces import NAMESPACES, OWN_USER, USER_NAMESPACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHANNEL = 63
"""Where the program's channel lies: the last descriptor it can have."""
_FILE_BYTES = 16 << 20
_PROCESSES = 64


class Launch:
    """What the owner asks for; the descriptors are inherited from it. `layers` grows as they come into force."""

    def __init__(self, arguments: list[str]) -> None:
        self.scratch = arguments[0]
        self.scratch_parent = os.open(os.path.dirname(self.scratch), os.O_RDONLY | os.O_DIRECTORY)
        self.job, self.channel, self.report, self.control = map(int, arguments[1:5])
        self.cpu_seconds, self.wall_seconds = map(float, arguments[5:7])
        self.memory_bytes = int(arguments[7])
        self.layers: list[str] = []

    def remove_scratch(self) -> None:
        """Removes the scratch directory if nothing is in it, as in a jail; the owner, who removes it else, may be dead."""
        try:
            os.rmdir(os.path.basename(self.scratch), dir_fd=self.scratch_parent)
        except OSError:
            return

    def tell(self, *fields: str) -> None:
        os.write(self.report, frames.pack(*fields))

    def take(self, layer: str, enter: Callable[[], None]) -> None:
        """Takes a layer, or reports why it is missing."""
        try:
            enter()
        except OSError as error:
            self.tell("missing", layer, str(error))
        else:
            self.layers.append(layer)


def main(arguments: list[str]) -> None:
    launch = Launch(arguments)
    try:
        job = _confine(launch)
    except Exception as error:
        launch.tell("broken", f"{type(error).__name__}: {error}")
        os._exit(1)
    os.close(launch.report)
    harness.run(job, _CHANNEL)


def _confine(launch: Launch) -> list[str]:
    """Takes the layers. Returns only in the program's process, with its job; the keeper ends here."""
    # A /proc from before the namespaces: the keeper reads process times there, the uid maps are written there.
    os.chdir("/proc")
    kernel.forbid_new_privileges()
    own_id = namespaces.own_id()
    if os.geteuid() == 0:
        launch.take(NAMESPACES, namespaces.enter)
    if NAMESPACES not in launch.layers:
        launch.take(USER_NAMESPACE, namespaces.enter_with_user)
    has_namespaces = bool(launch.layers)
    if has_namespaces:
        _go_on_as_first_process(launch)
        launch.take(jail.JAIL, lambda: jail.enter(launch.scratch))
    else:
        kernel.adopt_orphans()
    program = os.fork()
    if program == 0:
        return _become_program(launch, own_id)
    kernel.forbid_tracing()
    os.close(launch.channel)  # so that the owner sees it close when the program closes it
    kept = keeper.keep(program, launch.control, launch.cpu_seconds, launch.wall_seconds, has_namespaces)
    numbers = (kept.cpu_seconds, kept.wall_seconds, kept.peak_bytes)
    launch.tell("ended", str(kept.status), kept.cause, *map(str, numbers))
    os._exit(0)


def _go_on_as_first_process(launch: Launch) -> None:
    """Goes on in a child, the first process of the new PID namespace; this process waits for its end."""
    first = os.fork()
    if first:
        os.close(launch.channel)
        os.waitpid(first, 0)
        launch.remove_scratch()
        os._exit(0)
    kernel.die_with_parent()


def _become_program(launch: Launch, own_id: int) -> list[str]:
    """The child's way into confinement. Returns the job; of the sandbox's only the report is then still open."""
    os.setsid()
    with open("self/oom_score_adj", "w") as file:
        file.write("1000")
    os.chdir(jail.WORK_DIRECTORY if jail.JAIL in launch.layers else launch.scratch)
    if os.geteuid() == 0:
        launch.take(OWN_USER, lambda: namespaces.become(own_id))
    kernel.drop_capabilities()
    kernel.die_with_parent()
    if not os.access(os.__file__, os.R_OK):
        raise PermissionError(
            f"the program's user cannot read {os.__file__}; use an interpreter that everybody can read"
        )
    job = harness.prepare(_read_all(launch.job))
    _close_descriptors(launch)
    _limit(launch)
    launch.tell("confined", *launch.layers)
    return job


def _close_descriptors(launch: Launch) -> None:
    """Closes what the program must not have, and moves its channel to where no other descriptor will be."""
    for descriptor in (launch.job, launch.control, launch.scratch_parent):
        os.close(descriptor)
    if launch.report == _CHANNEL:
        launch.report = os.dup(launch.report)
    if launch.channel == _CHANNEL:
        os.set_inheritable(_CHANNEL, False)
    else:
        os.dup2(launch.channel, _CHANNEL, inheritable=False)
        os.close(launch.channel)


def _read_all(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _limit(launch: Launch) -> None:
    """Resource limits of each process of the run.

    The CPU limit kills, in case the keeper does not: it is later than the keeper's, which is of the whole tree and exact,
    while the kernel counts in ticks and may be a tenth of a second off.
    """
    limits = {
        resource.RLIMIT_CPU: math.ceil(launch.cpu_seconds) + 1,
        resource.RLIMIT_AS: launch.memory_bytes,
        resource.RLIMIT_FSIZE: _FILE_BYTES,
        resource.RLIMIT_NOFILE: _CHANNEL + 1,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if OWN_USER in launch.layers or USER_NAMESPACE in launch.layers:
        # Counted for each user: without one of its own the program would share it with everything the owner runs.
        limits[resource.RLIMIT_NPROC] = _PROCESSES
    for name, value in limits.items():
        highest = resource.getrlimit(name)[1]
        value = value if highest == resource.RLIM_INFINITY else min(value, highest)
        resource.setrlimit(name, (value, value))
