"""Starts real services as child processes on ports of their own, and ends them."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "server"


class RunningService:
    """A service in a process of its own."""

    def __init__(self, process: subprocess.Popen, folder: Path, log: Path) -> None:
        self.process = process
        self.log_path = log
        self.ready_file = folder / "ready.json"

    def wait_until_ready(self) -> None:
        wait_for(lambda: self.ready_file.exists() or self.process.poll() is not None)
        assert self.ready_file.exists(), self.log
        ready = json.loads(self.ready_file.read_text())
        self.address, self.metrics_address, self.pid = ready["address"], ready["metrics_address"], ready["pid"]

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def events(self) -> list[dict]:
        """The JSON lines of the log; lines that a scorer printed are left out."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def end(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def wait_for(condition, seconds: float = 30.0):
    """Waits until the condition holds and returns what it returned."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


def is_gone(process: psutil.Process) -> bool:
    """Whether the process has ended; whoever is process 1 here may take its time to reap it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="session")
def wait_until_gone():
    """A function that waits until all the processes have ended."""
    return lambda processes: wait_for(lambda: all(map(is_gone, processes)))


@pytest.fixture(scope="module")
def start_service(tmp_path_factory):
    """A function that starts `python -m MODULE FLAGS...` and returns a RunningService; `python` may be another one's."""
    services = []

    def start(
        module: str, *flags: str, wait: bool = True, python: str = sys.executable, **environment: str
    ) -> RunningService:
        folder = tmp_path_factory.mktemp("service")
        log = folder / "log"
        path = os.pathsep.join([str(ROOT), str(PROGRAMS), os.environ.get("PYTHONPATH", "")])
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [python, "-m", module, "--port", "0", "--ready-file", str(folder / "ready.json"), *flags],
                stderr=stderr,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
                cwd=folder,
            )
        service = RunningService(process, folder, log)
        services.append(service)
        if wait:
            service.wait_until_ready()
        return service

    yield start
    for service in services:
        children = psutil.Process(service.process.pid).children(recursive=True) if service.process.poll() is None else []
        service.process.kill()
        service.process.wait()
        wait_for(lambda children=children: all(map(is_gone, children)))
