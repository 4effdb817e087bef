"""Do the engines sample from the trainer's weights, to the last update, and is an engine that does not noticed?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.rollouts_models import canary, largest_difference, save_model
from benchmarks.services import Services
from services.client.channel import ServiceError
from services.client.rollout import RolloutClient
from services.rollout.engine import Prompt, Sampling
from services.stack.spec import ServiceSpec, StackError, rollout_spec

ENGINES = ("transformers", "vllm")
COMPLETIONS, SAMPLES = 1000, 4
UPDATES = 20
TOLERANCE = 1e-4
"""In nats, in float32."""
PROMPTS = [Prompt(str(number), f"what is {number} + {number * number} ?") for number in range(COMPLETIONS // SAMPLES)]
SAMPLING = Sampling(max_new_tokens=32, seed=3)
SHOULD = f"{TOLERANCE:g}"


def parity() -> Iterator[Figure]:
    """Two figures an engine; those of vLLM are not measured where its environment is missing."""
    for engine in ENGINES:
        try:
            spec = rollout_spec(engine)
        except StackError as error:
            yield Figure(f"{engine} against the trainer", f"not measured: {error}", f"at most {SHOULD}", None)
            continue
        yield from _parity(engine, spec)
        yield _stale(engine, spec)


def _parity(engine: str, spec: ServiceSpec) -> Iterator[Figure]:
    for tied in (False, True):
        kind = "tied" if tied else "untied"
        with Services([spec]) as services, _models_and_client(services) as (folder, client):
            before = _served(client, folder, 1, tied)
            for version in range(2, UPDATES + 1):
                model = save_model(folder / str(version), seed=version, tied=tied)
                client.update_weights("policy", version, model)
            after = _served(client, folder, UPDATES + 1, tied)
        yield Figure(
            f"{engine} against the trainer, {kind} embeddings, {COMPLETIONS} completions: largest difference in nats",
            f"{before:.1e} at first, {after:.1e} after {UPDATES} updates",
            f"at most {SHOULD}",
            max(before, after) <= TOLERANCE,
        )


def _served(client: RolloutClient, folder: Path, version: int, tied: bool) -> float:
    """The largest difference once a version is served."""
    model = save_model(folder / str(version), seed=version, tied=tied)
    client.update_weights("policy", version, model)
    results = client.generate("policy", PROMPTS, SAMPLES, SAMPLING, min_policy_version=version)
    assert all(each.policy_version == version for result in results for each in result.completions)
    return largest_difference(model, results)


def _stale(engine: str, spec: ServiceSpec) -> Figure:
    """Every update leaves some weights as they were; each must be refused, and the weights from before served again."""
    python, *_ = spec.command
    command = (python, "-m", "benchmarks.rollouts_stale", "--engine", engine)
    stale = ServiceSpec("rollout", command, environment=spec.environment)
    caught = 0
    with Services([stale]) as services, _models_and_client(services) as (folder, client):
        first = save_model(folder / "1", seed=1, tied=True)
        client.update_weights("policy", 1, first, canary=canary(first), tolerance=TOLERANCE)
        for version in range(2, UPDATES + 2):
            model = save_model(folder / str(version), seed=version, tied=True)
            try:
                client.update_weights("policy", version, model, canary=canary(model), tolerance=TOLERANCE)
            except ServiceError as error:
                caught += "canary: " in str(error)
        results = client.generate("policy", PROMPTS[:10], 1, SAMPLING)
        again = largest_difference(first, results)
    return Figure(
        f"{engine}, stale on purpose after each of {UPDATES} updates: updates refused",
        f"{caught} of {UPDATES}; the weights from before served again to {again:.1e}",
        f"{UPDATES} of {UPDATES}",
        caught == UPDATES and again <= TOLERANCE,
    )


@contextmanager
def _models_and_client(services: Services) -> Iterator[tuple[Path, RolloutClient]]:
    with tempfile.TemporaryDirectory() as folder, RolloutClient(services.address("rollout")) as client:
        yield Path(folder), client
