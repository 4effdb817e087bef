"""What adapters need around them: the extra `client` and nothing else, and peers that stay out of the project's way."""

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).parents[3]

CLIENT_ONLY = """
import sys

NEEDED = {"grpc", "google", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "tenacity"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        known = NEEDED | set(sys.stdlib_module_names) | {"services", "protos"}
        if path is None and root not in known and not root.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"{name} does not come with the extra `client`", name=name)

sys.meta_path.insert(0, Refuse())
import services.client.scoring, services.client.async_scoring
import services.scoring, services.async_scoring, services.rewards
import services.adapters.trl, services.adapters.verl, services.adapters.openrlhf
import services.adapters.verifiers, services.adapters.nemo_rl
from services.rewards import Plan

services.adapters.trl.reward_func(Plan())
services.adapters.verl.reward_function(Plan())
services.adapters.openrlhf.reward_function(Plan())
services.adapters.verifiers.reward(Plan())
services.adapters.nemo_rl.AssayEnvironment()
for name in ("torch", "numpy", "structlog"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} was not refused")
"""


def test_clients_and_adapters_need_the_extra_client_only():
    done = subprocess.run([sys.executable, "-c", CLIENT_ONLY], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_peers_shadow_nothing_of_the_project(peers):
    def names(path):
        return {name.lower().replace("-", "_") for one in distributions(path=path) if (name := one.metadata["Name"])}

    theirs, ours = names([str(peers)]), names([path for path in sys.path if path != str(peers)])
    assert {"trl", "verl", "openrlhf", "verifiers", "ray"} <= theirs
    assert "torch" in ours
    assert theirs & ours == set()
