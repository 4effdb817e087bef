"""The service over real sockets: answers, refusals, deadlines, cancellation, a full queue, a killed engine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from protos.gen.assay.v1 import rollout_pb2, rollout_pb2_grpc
from services.client.channel import ServiceError
from services.client.rollout import RolloutClient
from services.rollout.engine import Prompt, Sampling, Served, TokenSequence
from services.rollout.transformers_engine import TransformersEngine
from tests.services.rollout.plain_engine import generated, load
from tests.services.rollout.tiny_model import VOCABULARY

PROMPTS = [Prompt("sum", "12 + 30 = ", "trace-of-sum"), Prompt("secret", "qqzzqq xkcd", "trace-of-secret")]
SHORT = Sampling(max_new_tokens=8, seed=5)
LONG = rollout_pb2.GenerateRequest(
    policy="policy",
    prompts=[rollout_pb2.Prompt(id=str(number), text="1+1=") for number in range(10)],
    samples=100,
    sampling=rollout_pb2.Sampling(temperature=50.0, max_new_tokens=123),
)
"""A thousand completions in sixteen batches: far more than a test waits for."""


def request(**changes: Any) -> rollout_pb2.GenerateRequest:
    fields: dict[str, Any] = {
        "policy": "policy",
        "prompts": [rollout_pb2.Prompt(id="a", text="1")],
        "samples": 1,
        "sampling": rollout_pb2.Sampling(max_new_tokens=1),
    }
    return rollout_pb2.GenerateRequest(**fields | changes)


def sampling(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 1}
    return {"sampling": rollout_pb2.Sampling(**fields | changes)}


def probe(prompt: list[int], completion: list[int], logprobs: list[float]) -> rollout_pb2.Probe:
    sequence = rollout_pb2.TokenSequence(prompt_token_ids=prompt, completion_token_ids=completion)
    return rollout_pb2.Probe(sequence=sequence, logprobs=logprobs)


def update(*canary: rollout_pb2.Probe, **fields: Any) -> rollout_pb2.UpdateWeightsRequest:
    return rollout_pb2.UpdateWeightsRequest(policy="p", path="/x", canary=canary, **fields)


def started(start_service: Callable[..., Any], *flags: str) -> Any:
    """A rollout service that is ready, however long it takes to import torch on a busy machine."""
    service = start_service("services.rollout", "--metrics-port", "0", *flags, wait=False)
    while not service.ready_file.exists() and service.process.poll() is None:
        time.sleep(0.05)
    service.wait_until_ready()
    return service


def engine_pid(service: Any) -> int:
    (engine,) = service.workers()
    return engine.pid


@pytest.fixture(scope="module")
def service(start_service: Callable[..., Any], model_dir: Path) -> Any:
    """A service that holds version 3 of `policy`."""
    service = started(start_service, "--queue-limit", "2048", "--max-batch-sequences", "64")
    with RolloutClient(service.address) as client:
        client.update_weights("policy", 3, model_dir)
    return service


@pytest.fixture
def client(service: Any) -> Iterator[RolloutClient]:
    with RolloutClient(service.address) as client:
        yield client


@pytest.fixture
def stub(service: Any) -> Iterator[Any]:
    with grpc.insecure_channel(service.address) as channel:
        yield rollout_pb2_grpc.RolloutStub(channel)


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_the_service_answers_as_its_engine_does(service: Any, client: RolloutClient, model_dir: Path) -> None:
    engine = TransformersEngine(4, 64, "float32", "cpu")
    load(engine, "policy", 3, model_dir)
    assert client.generate("policy", PROMPTS, 3, SHORT) == generated(engine, "policy", PROMPTS, 3, SHORT)
    sequences = [TokenSequence((1, 5), (9, 9, 2)), TokenSequence((1,), ())]
    assert client.logprobs("policy", sequences) == engine.logprobs("policy", sequences, lambda: None)


def test_many_callers_get_their_own_answers(client: RolloutClient) -> None:
    def ask(seed: int) -> list[Any]:
        return client.generate("policy", PROMPTS, 2, Sampling(max_new_tokens=6, seed=seed % 4))

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(16)))
    assert answers[:4] * 4 == answers
    assert all(answers[0] != answer for answer in answers[1:4])


def test_new_weights_answer_and_older_ones_are_refused_by_version(client: RolloutClient, other_dir: Path) -> None:
    with pytest.raises(ServiceError, match=r"'moving' is not held; held: .*policy") as missing:
        client.generate("moving", PROMPTS, 1, SHORT)
    assert missing.value.code is grpc.StatusCode.NOT_FOUND
    assert client.update_weights("moving", 1, other_dir) == Served(1, 0.0)
    with pytest.raises(ServiceError, match="older than min_policy_version 2") as old:
        client.generate("moving", PROMPTS, 1, SHORT, min_policy_version=2)
    assert old.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert client.update_weights("moving", 2, other_dir) == Served(2, 0.0)
    (first, _) = client.generate("moving", PROMPTS, 1, SHORT, min_policy_version=2)
    assert first.completions[0].policy_version == 2
    with pytest.raises(ServiceError, match="is not a directory") as gone:
        client.update_weights("moving", 3, other_dir / "absent")
    assert gone.value.code is grpc.StatusCode.FAILED_PRECONDITION
    (first, _) = client.generate("moving", PROMPTS, 1, SHORT)
    assert first.completions[0].policy_version == 2


BAD_REQUESTS = [
    (request(policy=""), "policy has 0 characters; it must have 1 to 256"),
    (request(prompts=[]), "prompts is empty"),
    (request(prompts=[rollout_pb2.Prompt(text="1")]), r"prompts[0].id has 0 characters"),
    (request(prompts=[rollout_pb2.Prompt(id="a", text="1")] * 2), r"prompts[1].id is 'a' again"),
    (
        request(prompts=[rollout_pb2.Prompt(id=str(number)) for number in range(16385)]),
        "prompts has 16385 entries; it must have at most 16384",
    ),
    (
        request(prompts=[rollout_pb2.Prompt(id="a", text="1" * (2**20 + 1))]),
        "prompts[0].text has 1048577 characters; it must have at most 1048576",
    ),
    (
        request(prompts=[rollout_pb2.Prompt(id="a", text="1", trace_id="t" * 257)]),
        "prompts[0].trace_id has 257 characters; it must have at most 256",
    ),
    (request(samples=0), "samples is 0; it must be 1 to 1024"),
    (request(samples=1025), "samples is 1025; it must be 1 to 1024"),
    (request(**sampling(temperature=-0.5)), "sampling.temperature is -0.5; it must be finite and at least 0"),
    (request(**sampling(temperature=float("nan"))), "sampling.temperature is nan"),
    (request(**sampling(temperature=float("inf"))), "sampling.temperature is inf"),
    (request(**sampling(top_p=1.5)), "sampling.top_p is 1.5; it must be 0 to 1"),
    (request(**sampling(top_p=float("nan"))), "sampling.top_p is nan"),
    (request(**sampling(min_p=1.01)), "sampling.min_p is 1.01; it must be 0 to 1"),
    (request(**sampling(min_p=float("nan"))), "sampling.min_p is nan"),
    (request(**sampling(stop=["a"] * 17)), "sampling.stop has 17 texts; it must have at most 16"),
    (request(**sampling(stop=["a", ""])), "sampling.stop[1] has 0 characters; it must have 1 to 256"),
    (request(**sampling(stop=["a" * 257])), "sampling.stop[0] has 257 characters; it must have 1 to 256"),
    (request(**sampling(choices=["a"] * 1025)), "sampling.choices has 1025 texts; it must have at most 1024"),
    (request(**sampling(choices=[""])), "sampling.choices[0] has 0 characters; it must have 1 to 4096"),
    (request(**sampling(choices=["a"], stop=["b"])), "sampling.stop and sampling.choices are both given"),
    (request(prompts=[rollout_pb2.Prompt(id="a")]), "prompts[0] has neither text nor token_ids"),
    (request(prompts=[rollout_pb2.Prompt(id="a", token_ids=[2**32 - 1])]), "prompt 'a' has the token 4294967295"),
    (request(**sampling(max_new_tokens=0)), "sampling.max_new_tokens is 0; it must be at least 1"),
    (request(samples=1024, **sampling(max_new_tokens=1025)), "prompts: the answer may have 1049600 tokens"),
    (request(**sampling(max_new_tokens=200)), "prompt 'a' has 2 tokens and max_new_tokens is 200"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_REQUESTS)
def test_a_bad_generate_request_is_named(stub: Any, bad: rollout_pb2.GenerateRequest, message: str) -> None:
    for call in (stub.Generate, lambda bad: list(stub.GenerateStream(bad))):
        with pytest.raises(grpc.RpcError) as caught:
            call(bad)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert message in caught.value.details()


@pytest.mark.parametrize(
    ("method", "bad", "message"),
    [
        ("Logprobs", rollout_pb2.LogprobsRequest(policy="policy"), "sequences is empty"),
        (
            "Logprobs",
            rollout_pb2.LogprobsRequest(
                policy="policy", sequences=[rollout_pb2.TokenSequence(completion_token_ids=[1])]
            ),
            "sequences[0] has no prompt_token_ids",
        ),
        (
            "Logprobs",
            rollout_pb2.LogprobsRequest(
                policy="policy",
                sequences=[rollout_pb2.TokenSequence(prompt_token_ids=[2**32 - 1], completion_token_ids=[1])],
            ),
            f"the token 4294967295; the vocabulary ends at {VOCABULARY - 1}",
        ),
        (
            "Logprobs",
            rollout_pb2.LogprobsRequest(policy="policy", sequences=[rollout_pb2.TokenSequence()] * 16385),
            "sequences has 16385 entries; it must have at most 16384",
        ),
        (
            "UpdateWeights",
            update(*[probe([1], [2], [-1.0])] * 16385, tolerance=1.0),
            "canary has 16385 entries; it must have at most 16384",
        ),
        ("UpdateWeights", rollout_pb2.UpdateWeightsRequest(path="/x"), "policy has 0 characters"),
        (
            "UpdateWeights",
            rollout_pb2.UpdateWeightsRequest(policy="p", path="run/1"),
            "path is 'run/1'; it must be an absolute",
        ),
        (
            "UpdateWeights",
            rollout_pb2.UpdateWeightsRequest(policy="p", path="/" + "x" * 100_000),
            "path has 100001 bytes",
        ),
        (
            "UpdateWeights",
            rollout_pb2.UpdateWeightsRequest(policy="p", path="/x", sha256="12"),
            "sha256 has 2 characters",
        ),
        ("UpdateWeights", update(base="p"), "base is 'p', the policy itself"),
        ("UpdateWeights", update(base="b" * 257), "base has 257 characters; it must have 1 to 256"),
        ("UpdateWeights", update(tolerance=-1.0), "tolerance is -1.0; it must be finite and not negative"),
        ("UpdateWeights", update(probe([1], [2], [-1.0])), "tolerance is 0.0; it must be finite and above 0"),
        (
            "UpdateWeights",
            update(probe([1], [2], [-1.0]), tolerance=float("inf")),
            "tolerance is inf; it must be finite and above 0",
        ),
        ("UpdateWeights", update(probe([], [2], [-1.0])), "canary[0].sequence has no prompt_token_ids"),
        ("UpdateWeights", update(probe([1], [], [])), "canary[0].sequence has no completion_token_ids"),
        (
            "UpdateWeights",
            update(probe([1], [2], [-1.0]), probe([1], [2, 3], [-1.0])),
            "canary[1] has 1 logprobs; it must have 2, one for each token",
        ),
        (
            "UpdateWeights",
            update(probe([1], [2, 3], [-1.0, float("nan")])),
            "canary[0].logprobs[1] is nan; it must be finite",
        ),
    ],
)
def test_other_bad_requests_are_named(stub: Any, method: str, bad: Any, message: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(bad)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in caught.value.details()


@pytest.mark.parametrize("letter", ["\x01", "é", "\U0001f600", "%"])
def test_a_long_error_fits_into_grpcs_trailers(stub: Any, letter: str) -> None:
    path = "/" + letter * (4000 // len(letter.encode()))
    with pytest.raises(grpc.RpcError) as caught:
        stub.UpdateWeights(rollout_pb2.UpdateWeightsRequest(policy="p", path=path))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details().startswith("path '/")
    assert caught.value.details().endswith("' is not a directory that this service can read")


def test_a_cancelled_call_frees_the_engine_and_costs_no_policy(service: Any, stub: Any, client: RolloutClient) -> None:
    engine = engine_pid(service)
    call = stub.Generate.future(LONG)
    wait_until(lambda: service.metrics()["assay_items_in_flight"] >= 1000)
    call.cancel()
    assert client.generate("policy", PROMPTS, 1, SHORT)
    assert engine_pid(service) == engine


def test_a_stream_arrives_while_its_batch_goes_on(service: Any, stub: Any, client: RolloutClient) -> None:
    engine = engine_pid(service)
    stream = stub.GenerateStream(LONG)
    first = next(stream)
    assert service.metrics()["assay_items_in_flight"] >= 1000  # the other fifteen batches
    assert len(first.completion.token_ids) < 123
    stream.cancel()
    wait_until(lambda: service.metrics()["assay_items_in_flight"] == 0)
    assert client.generate("policy", PROMPTS, 1, SHORT)
    assert engine_pid(service) == engine


def test_log_probs_are_answered_while_many_requests_wait(stub: Any, client: RolloutClient) -> None:
    calls = [stub.Generate.future(LONG, timeout=600) for _ in range(2)]
    assert client.logprobs("policy", [TokenSequence((1, 5), (9, 9, 2))]).policy_version == 3
    assert not any(call.done() for call in calls)
    for call in calls:
        call.cancel()


def test_a_deadline_ends_the_work_and_costs_no_policy(service: Any, stub: Any, client: RolloutClient) -> None:
    engine = engine_pid(service)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Generate(LONG, timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert client.generate("policy", PROMPTS, 1, SHORT)
    assert engine_pid(service) == engine


def test_a_full_service_says_when_to_come_back(service: Any, stub: Any) -> None:
    call = stub.Generate.future(LONG)
    wait_until(lambda: service.metrics()["assay_items_in_flight"] >= 1000)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Generate(request(samples=1024, prompts=[rollout_pb2.Prompt(id=name, text="1") for name in "ab"]))
    call.cancel()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(caught.value.trailing_metadata())["retry-after-ms"]) > 0


def test_kill_9_of_the_engine_loses_nothing(service: Any, client: RolloutClient, other_dir: Path) -> None:
    client.update_weights("kept", 7, other_dir)
    wanted = client.generate("kept", PROMPTS, 2, SHORT)
    engine = engine_pid(service)
    prompts = [Prompt(str(number), "1+1=") for number in range(10)]
    answers: list[Any] = []
    caller = threading.Thread(
        target=lambda: answers.extend(client.generate("policy", prompts, 60, Sampling(max_new_tokens=60)))
    )
    caller.start()
    wait_until(lambda: service.metrics()["assay_items_in_flight"] >= 600)
    os.kill(engine, signal.SIGKILL)
    caller.join()
    assert [len(prompt.completions) for prompt in answers] == [60] * 10
    assert client.generate("kept", PROMPTS, 2, SHORT, min_policy_version=7) == wanted
    assert engine_pid(service) != engine
    assert service.metrics()['assay_worker_restarts_total{cause="died"}'] == 1


def test_metrics_and_logs_follow_the_work_and_hold_no_text(service: Any, client: RolloutClient) -> None:
    tokens = 'assay_rollout_tokens_total{policy="policy"}'
    before = service.metrics().get(tokens, 0)
    results = client.generate("policy", PROMPTS, 2, SHORT)
    sampled = sum(len(completion.token_ids) for prompt in results for completion in prompt.completions)
    assert service.metrics()[tokens] == before + sampled
    assert service.metrics()['assay_rollout_policy_version{policy="policy"}'] == 3
    assert {"trace-of-sum", "trace-of-secret"} <= {event.get("trace_id") for event in service.events}
    log = service.log
    assert "qqzzqq" not in log
    assert not any(len(each.text) > 4 and each.text in log for prompt in results for each in prompt.completions)


def test_the_documented_example_runs(
    service: Any, model_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "rollouts.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.setenv("ASSAY_ROLLOUT_ADDRESS", service.address)
    shown = example.replace('"/models/policy"', repr(str(model_dir))).replace('"policy"', '"example"')
    exec(shown, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert {tuple(line.split()[:2]) for line in lines[:8]} == {
        (prompt, str(sample)) for prompt in ("sum", "story") for sample in range(4)
    }
    assert lines[8].startswith("2 ")
    assert "engine='transformers', dtype='float32'" in lines[8]


def test_sigterm_ends_the_service_and_its_engine(start_service: Callable[..., Any]) -> None:
    service = started(start_service)
    engine = psutil.Process(engine_pid(service))
    assert service.end() == 0
    assert not engine.is_running()
    assert not service.ready_file.exists()


def test_flags_that_make_no_sense_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    for flags, message in (
        (["--workers", "2"], "--workers is 2; this service has one engine"),
        (["--dtype", "float8"], "'float8' is not a dtype; it must be one of auto, float32"),
        (["--max-policies", "0"], "must be at least 1"),
        (["--engine", "sglang"], "'sglang' is not an engine; it must be one of transformers, vllm"),
    ):
        command = [sys.executable, "-m", "services.rollout", "--port", "0", "--metrics-port", "0", *flags]
        assert subprocess.run(command, check=False).returncode == 2
        assert message in capfd.readouterr().err
