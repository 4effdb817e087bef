"""Real scorers, and processes in which the other trainers' own packages are on the path."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OF_A_RANK = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
"""Left behind in this process by tests that train: a peer would take itself for one of their ranks."""
HERE = Path(__file__).parent
PEERS = Path(os.environ.get("ASSAY_PEERS") or ROOT / ".venv" / "peers" / "site-packages")


@pytest.fixture(scope="session")
def peers():
    """The folder of the other trainers' packages, which `make test` fills. Its name has `site-packages` in it, as dill, which
    TRL's data sets are hashed by, takes modules from elsewhere for a user's own code."""
    if not PEERS.is_dir():
        assert not os.environ.get("CI"), f"{PEERS} is not there; `make test` sets it up"
        pytest.skip(f"the other trainers' packages are not at {PEERS}; `make test` sets them up")
    return PEERS


@pytest.fixture(scope="module")
def scorers(start_service):
    """Addresses of a mathematics service and of the example scorer."""
    services = {
        "math": start_service("services.math", "--workers", "1", wait=False),
        "brevity": start_service(
            "services.scorer", "--scorer", "examples.scorers.brevity:Brevity", "--workers", "1", wait=False
        ),
    }
    for service in services.values():
        service.wait_until_ready()
    return {name: service.address for name, service in services.items()}


@pytest.fixture(scope="module")
def run_peer(peers, scorers, tmp_path_factory):
    """A function that runs a script of `peers/` beside the other trainers' packages and returns the JSON it printed last."""

    def run(script: str, *arguments: str, **environment: str):
        path = [str(ROOT), str(HERE / "stand_in"), str(peers), os.environ.get("PYTHONPATH", "")]
        if script == "verifiers_rubric.py":  # of the last version that had rubrics
            path.insert(2, str(peers.parent / "rubric" / "site-packages"))
        addresses = {f"ASSAY_{name.upper()}_ADDRESS": address for name, address in scorers.items()}
        alone = {name: value for name, value in os.environ.items() if name not in OF_A_RANK}
        quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, str(HERE / "peers" / script), *arguments],
            env={**alone, **addresses, **quiet, "PYTHONPATH": os.pathsep.join(path), **environment},
            cwd=tmp_path_factory.mktemp("peer"),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
