"""The rollout service with a real vLLM where it may fail: stale weights, killed processes, updates in the middle of work."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from services.client.channel import ServiceError
from services.client.rollout import RolloutClient
from services.rollout.engine import Probe, Prompt, PromptCompletions, Sampling, TokenSequence, WeightSource
from tests.services.rollout.adapters import factors_for, save_adapter, save_merged
from tests.services.rollout.tiny_model import load_plain, plain_logprobs
from tests.services.rollout.vllm_service import ABSENT, PYTHON, VllmService, probes, save_model

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PYTHON.exists(), reason=ABSENT),
]
TOLERANCE = 1e-4
"""In nats, in float32."""
MANY = [Prompt(str(number), f"{number} + {number} =") for number in range(100)]
LONG = Sampling(max_new_tokens=100)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[Path]:
    """Three models with tied embeddings that differ in their weights."""
    folder = tmp_path_factory.mktemp("models")
    return [save_model(folder / str(seed), seed=seed, tied=True) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def service(tmp_path_factory, models) -> Iterator[VllmService]:
    """One that serves the first model as version 1 of `policy`."""
    service = VllmService(tmp_path_factory.mktemp("service"), "--vllm", "enable_lora=true", "--vllm", "max_num_seqs=64")
    try:
        with RolloutClient(service.wait()) as client:
            client.update_weights("policy", 1, models[0], canary=probes(models[0]), tolerance=TOLERANCE)
        yield service
    finally:
        service.end()


@pytest.fixture
def client(service) -> Iterator[RolloutClient]:
    with RolloutClient(service.wait()) as client:
        yield client


def assert_from(directory: Path, results: list[PromptCompletions]) -> None:
    """The log-probabilities are those of the weights in the directory."""
    model = load_plain(directory)
    for result in results:
        for completion in result.completions:
            right = plain_logprobs(model, result.prompt_token_ids, completion.token_ids)
            assert completion.logprobs == pytest.approx(right.tolist(), abs=TOLERANCE)


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def update(client: RolloutClient, directory: Path) -> int:
    """The next version of `policy`, proven."""
    version = client.describe().policies["policy"] + 1
    client.update_weights("policy", version, directory, canary=probes(directory), tolerance=TOLERANCE)
    return version


def test_an_update_waits_for_what_has_begun_and_what_comes_waits_for_it(client, models):
    start = client.describe().policies["policy"]
    found: dict[str, list[PromptCompletions]] = {}

    def sample(name: str) -> None:
        found[name] = client.generate("policy", MANY, 4, LONG)

    first = threading.Thread(target=sample, args=("before",))
    first.start()
    time.sleep(0.5)
    updating = threading.Thread(target=update, args=(client, models[1]))
    updating.start()
    time.sleep(1.0)  # it reads the folder before it waits for its turn
    sample("after")
    first.join()
    updating.join()
    versions = {
        name: {version for result in results for each in result.completions for version in each.token_versions}
        for name, results in found.items()
    }
    assert versions == {"before": {start}, "after": {start + 1}}
    assert_from(models[0], found["before"][:10])
    assert_from(models[1], found["after"][:10])
    update(client, models[0])


def test_more_prompts_than_one_step_reads_are_sampled(client):
    """Read in parts on a CPU, they ended vLLM's process: a draw was taken back from a generator that cannot be set back."""
    prompts = [Prompt(str(n), "once upon a time " * 7) for n in range(256)]
    results = client.generate("policy", prompts, 4, Sampling(max_new_tokens=8, seed=3), timeout_seconds=240)
    assert [len(result.completions) for result in results] == [4] * 256


def test_keys_and_values_do_not_outlive_their_weights(client, models):
    prompt = [Prompt("long", "what is (7 * 8) - 40 / 5 ? " * 3)]
    for directory in (models[1], models[2], models[0]):
        update(client, directory)
        for _ in range(2):  # the second time from the prefix cache
            assert_from(directory, client.generate("policy", prompt, 4, Sampling(max_new_tokens=8)))


@pytest.mark.parametrize("name", ["EngineCore", "Worker"])
def test_killed_processes_come_back_with_the_same_weights(service, client, models, name):
    version = client.describe().policies["policy"]
    impatient = RolloutClient(service.wait(), patience_seconds=0.0)
    errors: list[ServiceError] = []

    def sample() -> None:
        try:
            impatient.generate("policy", MANY, 8, LONG)
        except ServiceError as error:
            errors.append(error)

    sampling = threading.Thread(target=sample)
    sampling.start()
    time.sleep(0.7)
    victims = service.processes(name)
    assert len(victims) == 1
    victims[0].kill()
    sampling.join(30)
    assert [error.code for error in errors] == [grpc.StatusCode.UNAVAILABLE]
    impatient.close()
    results = client.generate("policy", MANY[:3], 2, Sampling(max_new_tokens=20))
    assert_from(models[0], results)
    assert {each.policy_version for result in results for each in result.completions} == {version}
    assert victims[0].pid not in [process.pid for process in service.processes(name)]


def test_new_weights_of_a_base_end_its_adapters(client, models, tmp_path):
    tensors = factors_for(models[0])
    adapter = save_adapter(tmp_path / "adapter", tensors)
    merged = save_merged(tmp_path / "merged", models[0], tensors, 8 / 4)
    client.update_weights("adapted", 1, adapter, base="policy", canary=probes(merged), tolerance=TOLERANCE)
    assert_from(merged, client.generate("adapted", MANY[:3], 2, Sampling(max_new_tokens=20)))
    update(client, models[1])
    assert "adapted" not in client.describe().policies
    update(client, models[0])


def test_an_adapter_that_misses_its_canary_leaves_the_one_before(client, models, tmp_path):
    first, second = (save_adapter(tmp_path / str(seed), factors_for(models[0], seed=seed)) for seed in (1, 2))
    merged = save_merged(tmp_path / "merged", models[0], factors_for(models[0], seed=1), 8 / 4)
    client.update_weights("adapted", 1, first, base="policy", canary=probes(merged), tolerance=TOLERANCE)
    with pytest.raises(ServiceError, match="canary: the engine's log-probability differs") as caught:
        client.update_weights("adapted", 2, second, base="policy", canary=probes(merged), tolerance=TOLERANCE)
    assert caught.value.code is grpc.StatusCode.DATA_LOSS
    assert client.describe().policies["adapted"] == 1
    assert_from(merged, client.generate("adapted", MANY[:3], 2, Sampling(max_new_tokens=20)))


def test_adapters_are_sampled_as_they_were_proven_whatever_becomes_of_their_folders(service, client, models, tmp_path):
    processes = [process.pid for process in service.processes("EngineCore")]
    factors = [factors_for(models[0], seed=seed) for seed in (1, 2)]
    merged = [save_merged(tmp_path / f"merged{place}", models[0], each, 8 / 4) for place, each in enumerate(factors)]
    folders = [save_adapter(tmp_path / f"adapter{place}", each) for place, each in enumerate(factors)]
    for name, folder, right in zip("ab", folders, merged, strict=True):  # vLLM has room for one of them
        client.update_weights(name, 1, folder, base="policy", canary=probes(right), tolerance=TOLERANCE)
    (folders[0] / "adapter_model.safetensors").write_bytes((folders[1] / "adapter_model.safetensors").read_bytes())
    shutil.rmtree(folders[1])
    for name, right in [*zip("ab", merged, strict=True)] * 2:
        assert_from(right, client.generate(name, MANY[:3], 2, Sampling(max_new_tokens=20)))
    assert [process.pid for process in service.processes("EngineCore")] == processes


def test_a_canary_is_looked_at_again_for_the_version_that_is_served(client, models):
    version = update(client, models[0])
    served = client.update_weights("policy", version, models[0], canary=probes(models[0], 2), tolerance=TOLERANCE)
    assert 0 < served.canary_difference <= TOLERANCE
    canary = probes(models[0], 1)
    odd = [Probe(TokenSequence((1,), (10**6,)), canary[0].logprobs[:1])]
    with pytest.raises(ServiceError, match=r"canary\[0\] has the token 1000000"):
        client.update_weights("policy", version, models[0], canary=odd, tolerance=TOLERANCE)
    assert client.describe().policies["policy"] == version


def test_damaged_weights_are_refused_before_they_reach_vllm(client, models, tmp_path):
    from safetensors.torch import load_file, save_file

    version = client.describe().policies["policy"]
    bad = save_model(tmp_path / "bad", seed=4, tied=True)
    weights = load_file(bad / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, bad / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ServiceError, match=r"has weights that are not finite: model\.norm\.weight") as caught:
        client.update_weights("policy", version + 1, bad)
    assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert_from(models[0], client.generate("policy", MANY[:3], 2, Sampling(max_new_tokens=20)))


def test_another_architecture_takes_the_place_of_one(client, models, tmp_path):
    from tests.services.rollout.tiny_model import save_tiny_model

    deeper = save_tiny_model(tmp_path / "deeper", seed=5, hidden=128, layers=3, flat=0.3)
    update(client, deeper)
    assert_from(deeper, client.generate("policy", MANY[:3], 2, Sampling(max_new_tokens=20)))
    update(client, models[0])
    assert_from(models[0], client.generate("policy", MANY[:3], 2, Sampling(max_new_tokens=20)))


def test_vllms_plain_reload_is_stale_with_tied_embeddings_and_caught(tmp_path, models, wait_until_gone):
    service = VllmService(tmp_path, module="benchmarks.rollouts_stale")
    try:
        with RolloutClient(service.wait()) as client:
            client.update_weights("policy", 1, models[0], canary=probes(models[0]), tolerance=TOLERANCE)
            with pytest.raises(ServiceError, match=r"canary: the engine's log-probability differs by \d") as caught:
                client.update_weights("policy", 2, models[1], canary=probes(models[1]), tolerance=TOLERANCE)
            assert caught.value.code is grpc.StatusCode.DATA_LOSS
            assert client.describe().policies == {"policy": 1}
            assert_from(models[0], client.generate("policy", MANY[:3], 2, Sampling(max_new_tokens=20)))
        wait_until_gone(service.kill())  # vLLM's own processes end with the service, however it ends
    finally:
        service.end()


def test_vllms_processes_end_with_a_service_that_dies_while_they_start(tmp_path, models):
    service = VllmService(tmp_path)
    try:
        with RolloutClient(service.wait()) as client:
            source = WeightSource("policy", 1, str(models[0]))
            update = client.begin_update(source)
            while not (cores := service.processes("EngineCore")) or not (workers := cores[0].children()):
                assert not update.ended()
                time.sleep(0.1)
            service.kill()
            while any(map(alive, [*cores, *workers])):  # a worker imports vLLM first
                time.sleep(0.1)
    finally:
        service.end()


def test_an_option_that_vllm_does_not_take_is_refused_at_the_start(tmp_path):
    service = VllmService(tmp_path, "--vllm", "max_num_sequences=4")
    assert service.process.wait(120) == 2
    assert (
        "--vllm gives 'max_num_sequences', which vLLM's engine does not take; do you mean max_num_seqs" in service.log
    )
