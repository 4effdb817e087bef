"""Takes a fork server into its confinement, layer by layer, and says which of them this machine permits.

What the layers are for, from the first to the last: namespaces hide other processes, the network and IPC; the jail hides
the machine's files; Landlock forbids what of them is left; a user of its own for each run keeps runs from one another;
the system-call filter forbids everything that no program needs. Each must hold where the others are not permitted.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import site
import sys

from sandbox.inside import jail, kernel, landlock, namespaces, preload, warmup
from sandbox.inside.namespaces import NAMESPACES, OWN_USER, USER_NAMESPACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.inside.process import Processes

FILTER = "system-call filter"
"""The layer without which nothing runs."""
SEALED = frozenset({"plain", "library", "numpy", "checker", "checker_library"})
_MODULES = {
    "plain": ("plain",),
    "library": ("plain", "library"),
    "numpy": ("plain", "numpy"),
    "checker": ("plain", "checking"),
    "checker_library": ("plain", "library", "numpy"),
    "files": ("plain", "library"),
    "subprocess": ("plain", "library"),
}
"""What is loaded before the first run, by kind."""
_STACK_BYTES = 64 << 20
SERVER_FILES = 1024
"""Descriptors that a server may have; what a child closes goes up to there."""


class NotPermittedError(Exception):
    """This machine permits none of the layers without which runs of this kind would not be contained."""


class Confinement:
    """What is asked for, and what came of it.

    kind: a `sandbox.jobs.Kind`. without: layers that are not to be taken. landlock_abi: the newest to use, or None.
    packages: directory of installed packages, or "". `layers` are those in force, `missing` why others are not,
    memory_bytes: the server's own address space.
    """

    def __init__(self, kind: str, without: list[str], landlock_abi: int | None, packages: str) -> None:
        self.kind = kind
        self.without = without
        self.landlock_abi = landlock_abi
        self.packages = packages
        self.layers: list[str] = []
        self.missing: dict[str, str] = {}
        self.memory_bytes = 0

    @classmethod
    def from_text(cls, text: str) -> Confinement:
        return cls(**json.loads(text))

    def to_text(self) -> str:
        names = ("kind", "without", "landlock_abi", "packages")
        return json.dumps({name: getattr(self, name) for name in names})

    def report(self) -> str:
        return "ready\n" + json.dumps({"layers": self.layers, "missing": self.missing})

    def take(self, layer: str, enter: Callable[[], object]) -> None:
        """Takes a layer, or notes why it is missing."""
        if layer in self.without:
            self.missing[layer] = "not wanted"
            return
        try:
            enter()
        except OSError as error:
            self.missing[layer] = str(error)
        else:
            self.layers.append(layer)

    def check_filter(self) -> None:
        """Raises NotPermittedError where the filter is missing though it was wanted: nothing may run without it."""
        if FILTER in self.missing and FILTER not in self.without:
            raise NotPermittedError(f"{FILTER}: {self.missing[FILTER]}")

    @property
    def has_users(self) -> bool:
        return OWN_USER in self.layers

    @property
    def has_namespaces(self) -> bool:
        return bool({NAMESPACES, USER_NAMESPACE} & set(self.layers))


def confine(confinement: Confinement) -> Processes:
    """Takes the layers of the server and loads its modules; what forks from here on.

    Goes on in a child where namespaces are permitted. Raises OSError and NotPermittedError where nothing may run.
    """
    if os.uname().machine != "x86_64":
        raise NotPermittedError(f"there is no system-call filter for {os.uname().machine}; x86_64 is needed")
    kernel.forbid_new_privileges()
    make = _maker(confinement.kind)
    is_root = os.geteuid() == 0
    own_id = namespaces.own_id()
    old_proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    _enter_namespaces(confinement, own_id if is_root else None)
    is_sealed = confinement.kind in SEALED
    if not is_sealed:
        _jail(confinement)
    _load(confinement)
    with open(os.open("self/statm", os.O_RDONLY, dir_fd=old_proc)) as file:
        confinement.memory_bytes = int(file.read().split()[0]) * resource.getpagesize()
    if is_sealed:
        _jail(confinement)
    _limit_forever()
    if is_root:
        confinement.take(OWN_USER, lambda: namespaces.check_ids(own_id))
    first_id = own_id if OWN_USER in confinement.layers else None
    if confinement.kind != "subprocess":
        os.close(old_proc)
        old_proc = -1
    return make(confinement, first_id, old_proc)


def _maker(kind: str) -> type[Processes]:
    """How processes of a kind are made. What other kinds need for that is not loaded: every page counts in a fork."""
    if kind in SEALED:
        from sandbox.inside.process import SealedProcesses

        return SealedProcesses
    if kind == "files":
        from sandbox.inside.file_process import FileProcesses

        return FileProcesses
    from sandbox.inside.tree_process import TreeProcesses

    return TreeProcesses


def _enter_namespaces(confinement: Confinement, first_id: int | None) -> None:
    """first_id: root's first user of its own to give."""
    os.chdir("/proc")
    if first_id is not None:
        confinement.take(NAMESPACES, namespaces.enter)
    if NAMESPACES not in confinement.layers:
        users = None if OWN_USER in confinement.without else first_id
        confinement.take(USER_NAMESPACE, lambda: namespaces.enter_with_user(users))
    if not confinement.has_namespaces:
        kernel.die_with_parent()
        return
    first = os.fork()
    if first:
        # The owner's process: it only waits, so that the owner has something to wait for.
        os.closerange(0, SERVER_FILES)
        os.waitpid(first, 0)
        os._exit(0)
    kernel.die_with_parent()


def _jail(confinement: Confinement) -> None:
    """An empty root for a sealed server, one with programs and libraries for the others."""
    if not confinement.has_namespaces:
        confinement.missing[jail.JAIL] = "needs namespaces"
    elif confinement.kind in SEALED:
        confinement.take(jail.JAIL, jail.enter_empty)
    else:
        confinement.take(jail.JAIL, lambda: jail.enter(confinement.packages))


def _load(confinement: Confinement) -> None:
    """Imports the modules of the kind and everything of the sandbox's that a run uses; runs the harness in, once."""
    if confinement.packages:
        sys.path.append(confinement.packages)
    preload.preload(*(preload.LISTS[name] for name in _MODULES[confinement.kind]))
    if "zoneinfo" in sys.modules and confinement.kind in SEALED:
        preload.preload_zones()
    warmup.warm_up()
    site.setquit()  # `exit` and `quit`, which an interpreter without `site` has not got
    site.sethelper()
    os.environ.clear()
    sys.argv = ["program.py"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "sandbox"]:
        del sys.modules[name]
    sys.path[:] = [path for path in sys.path if not os.path.isdir(f"{path}/sandbox/inside")]
    gc.collect()


def _limit_forever() -> None:
    """Limits that are the same for all runs."""
    for name in (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK):
        resource.setrlimit(name, (0, 0))
    files = min(SERVER_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    highest = resource.getrlimit(resource.RLIMIT_STACK)[1]
    stack = _STACK_BYTES if highest == resource.RLIM_INFINITY else min(_STACK_BYTES, highest)
    resource.setrlimit(resource.RLIMIT_STACK, (stack, highest))


def landlock_abi(confinement: Confinement) -> int:
    """The ABI of Landlock to use. Raises OSError where the kernel has none."""
    newest = landlock.version()
    abi = newest if confinement.landlock_abi is None else min(newest, confinement.landlock_abi)
    if abi == 0:
        raise OSError(errno.ENOSYS, "the kernel has no Landlock")
    return abi


def restrict_paths(confinement: Confinement, *writable: str) -> None:
    """Landlock: a sealed process may open nothing, another one read the system and write to `writable`."""
    rules = landlock.Ruleset(landlock_abi(confinement))
    if confinement.kind not in SEALED:
        # Not the machine's /proc and /dev: they show the environments of other processes, and hold devices.
        proc = "/proc" if jail.JAIL in confinement.layers else ""
        for path in filter(None, (*jail.system_paths(), confinement.packages, proc)):
            rules.allow_reading(path)
        for path in (*writable, *jail.DEVICES):
            rules.allow_all(path)
    rules.restrict()
