"""Services as real processes, for what is measured from a client's side."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from services.stack.child import Child
from services.stack.spec import ServiceSpec

_START_SECONDS = 120.0
_LOOK_SECONDS = 0.02


class Services:
    """Some services. A context manager; each can be started again at the same address after a death."""

    def __init__(self, specs: Sequence[ServiceSpec]) -> None:
        """specs: in the order in which they start; their names differ."""
        self._folder = tempfile.TemporaryDirectory(prefix="assay-services-")
        self._children = {spec.name: Child(spec, Path(self._folder.name)) for spec in specs}

    def __enter__(self) -> Self:
        try:
            for name in self._children:
                self.start(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._children.values()):
            child.kill()
        self._folder.cleanup()

    def environment(self, name: str) -> Mapping[str, str]:
        """What one gets beside this process's environment; those before it serve already."""
        return {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}

    def start(self, name: str) -> None:
        """Starts one and waits until it serves. Raises RuntimeError where it does not."""
        child = self._children[name]
        child.start(self.environment(name))
        deadline = time.monotonic() + _START_SECONDS
        while not child.look_ready():
            if child.look_ended() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the {name} service does not start: {child.last_lines()}")
            time.sleep(_LOOK_SECONDS)

    def restart(self, name: str) -> None:
        """`kill -9`, and another one in its place."""
        child = self._children[name]
        child.kill()
        child.restarts += 1  # the log goes on
        self.start(name)

    def address(self, name: str) -> str:
        ready = self._children[name].ready
        assert ready is not None, f"the {name} service does not serve"
        return ready.address

    def pid(self, name: str) -> int:
        ready = self._children[name].ready
        assert ready is not None, f"the {name} service does not serve"
        return ready.pid


def service(name: str, module: str, *flags: str) -> ServiceSpec:
    """`python -m MODULE FLAGS...`."""
    return ServiceSpec(name, (sys.executable, "-m", module, *flags))
