"""`--vllm KEY=VALUE`, as far as it is read without vLLM, and the Python that the service is started with."""

import os
import sys

import pytest

from services.rollout.vllm_engine import add_options
from services.server.options import ServiceParser
from services.stack.spec import ROOT, StackError, default_services, rollout_spec


def options(*flags: str):
    parser = ServiceParser("rollout")
    add_options(parser)
    return parser.parse_args(flags).vllm


def test_values_are_json_or_text():
    flags = [
        "tensor-parallel-size=2",
        "enable_lora=true",
        "gpu_memory_utilization=0.4",
        "quantization=fp8",
        "seed=null",
    ]
    found = options(*(word for flag in flags for word in ("--vllm", flag)))
    assert found == {
        "tensor_parallel_size": 2,
        "enable_lora": True,
        "gpu_memory_utilization": 0.4,
        "quantization": "fp8",
        "seed": None,
    }
    assert options() == {}
    assert options("--vllm", 'compilation_config={"mode": 0}') == {"compilation_config": {"mode": 0}}


def test_the_variable_holds_an_object_and_flags_take_its_place(monkeypatch):
    monkeypatch.setenv("ASSAY_ROLLOUT_VLLM", '{"max_num_seqs": 8, "enable_lora": true}')
    assert options() == {"max_num_seqs": 8, "enable_lora": True}
    assert options("--vllm", "max_num_seqs=4", "--vllm", "seed=1") == {"max_num_seqs": 4, "seed": 1}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["max_num_seqs"], "'max_num_seqs' must be KEY=VALUE"),
        (["seed=1", "seed=2"], "--vllm gives 'seed' twice"),
        (["dtype=float32"], "'dtype' is set by the service: use --dtype"),
        (['{"model": "x"}'], "'model' is set by the service: UpdateWeights gives it"),
        (["{"], "not JSON"),
    ],
)
def test_what_is_wrong_is_named(capsys, flags, message):
    with pytest.raises(SystemExit):
        options(*(word for flag in flags for word in ("--vllm", flag)))
    assert message in capsys.readouterr().err


def test_the_stack_starts_vllm_under_its_own_python(monkeypatch):
    monkeypatch.delenv("ASSAY_ROLLOUT_ENGINE", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert rollout_spec().command == (sys.executable, "-m", "services.rollout", "--engine", "transformers")
    monkeypatch.setenv("ASSAY_VLLM_PYTHON", "/bin/sh")
    assert rollout_spec("vllm").command == ("/bin/sh", "-m", "services.rollout", "--engine", "vllm")
    assert rollout_spec("vllm").environment == {"PYTHONPATH": str(ROOT)}
    monkeypatch.setenv("ASSAY_ROLLOUT_ENGINE", "vllm")
    monkeypatch.setenv("PYTHONPATH", "/mine")
    (spec,) = [spec for spec in default_services() if spec.name == "rollout"]
    assert spec.command[0] == "/bin/sh"
    assert spec.environment == {"PYTHONPATH": f"{ROOT}{os.pathsep}/mine"}


@pytest.mark.parametrize(
    ("python", "message"),
    [("", "ASSAY_VLLM_PYTHON is not set"), ("/absent/python", "is '/absent/python', which cannot")],
)
def test_without_vllms_python_the_message_says_how_to_get_one(monkeypatch, python, message):
    monkeypatch.setenv("ASSAY_VLLM_PYTHON", python)
    with pytest.raises(StackError, match=message) as caught:
        rollout_spec("vllm")
    assert "make test-vllm" in str(caught.value)
