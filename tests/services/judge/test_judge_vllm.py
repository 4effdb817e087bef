"""The judge and a real vLLM server: `make test-vllm`. The model is noise, so whatever form its answers have was enforced."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from services.client.scoring import ScoringClient
from services.verdicts import ErrorReason, Item, ItemError, Verdict

ROOT = Path(__file__).parents[3]
PYTHON = Path(os.environ.get("ASSAY_VLLM_PYTHON", ROOT / ".venv-vllm" / "bin" / "python"))
KEY = "a-key-for-the-test"
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not PYTHON.exists(), reason=f"no vLLM: `make test-vllm` sets up an environment with it ({PYTHON})"
    ),
]


def save_noise(folder: Path) -> None:
    """A random Llama whose tokens are characters, with a chat template. vLLM's CPU attention wants heads of 32 or more."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {word: place for place, word in enumerate(["<pad>", "<s>", "</s>", *map(chr, range(32, 127)), "\n"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<pad>",
        chat_template=template,
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=4096, initializer_range=0.2, bos_token_id=1, eos_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def vllm(tmp_path_factory):
    """The base URL of a server, started for this module."""
    folder = tmp_path_factory.mktemp("vllm")
    save_noise(folder / "noise")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = [
        "--model",
        str(folder / "noise"),
        "--served-model-name",
        "noise",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    flags += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "4096", "--max-num-seqs", "8"]
    variables = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_API_KEY": KEY,
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    log = folder / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [PYTHON, "-m", "vllm.entrypoints.openai.api_server", *flags],
            stdout=output, stderr=output, env=variables, cwd=folder, start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + 400
        while not is_up(port):
            assert server.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def is_up(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture
def outcomes(start_service, vllm):
    """Outcomes of items from a judge with these flags, in order."""

    def ask(items, *flags, key=KEY, model="noise"):
        given = ("--base-url", vllm, "--model", model, "--item-seconds", "120", *flags)
        given += ("--api-key-variable", "THE_KEY") if key else ()
        service = start_service("services.judge", *given, THE_KEY=key)
        with ScoringClient("judge", service.address) as client:
            found = list(client.score([Item(str(n), *item) for n, item in enumerate(items)], 300).values())
        return found, service.metrics()

    return ask


def test_noise_writes_no_json_of_itself(vllm):
    body = {"model": "noise", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50, "temperature": 0}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"{vllm}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        content = json.load(answer)["choices"][0]["message"]["content"]
    with pytest.raises(ValueError):
        json.loads(content)


def test_every_answer_has_the_form_that_was_asked_for(outcomes):
    items = [("What is 2 + 2?", f"It is {n}.", {"rubrics": ["helpfulness", "coherence"]}) for n in range(12)]
    found, metrics = outcomes(items, "--reasons", "no")
    for outcome in found:
        assert isinstance(outcome, Verdict), outcome
        assert outcome.components.keys() == {"judge/helpfulness", "judge/coherence"}
        assert set(outcome.components.values()) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert metrics['assay_endpoint_answers_total{outcome="fits"}'] == 24
    assert metrics['assay_endpoint_tokens_total{kind="prompt"}'] > 24 * 1000, "a token is a character here"
    assert metrics['assay_endpoint_tokens_total{kind="completion"}'] >= 24 * len('{"score":1}')


def test_reasons_and_pairs_too_where_chance_writes_them(outcomes):
    items = [("What is 2 + 2?", f"It is {n}.", {"rival": "It is 4."}) for n in range(6)]
    found, metrics = outcomes(items, "--temperature", "1")
    for outcome in found:
        assert isinstance(outcome, Verdict), outcome
        assert outcome.components["judge/preference"] in (0.0, 0.5, 1.0)
        assert outcome.evidence["helpfulness"][:1] in "12345"
    pairs = sum(value for name, value in metrics.items() if name.startswith("assay_judge_pairs_total"))
    assert pairs == 6


def test_what_vllm_refuses_is_said(outcomes):
    item = ("p", "r", {})
    cases = {
        "answers 401": {"key": ""},
        "it has no model 'absent' (--model)": {"model": "absent"},
        "answers 400 (BadRequestError): it refuses the request": {"flags": ("--max-tokens", "100000")},
        "cut off at 3 tokens": {"flags": ("--max-tokens", "3", "--answers", "1")},
    }
    for words, how in cases.items():
        (outcome,), _ = outcomes([item], *how.pop("flags", ()), **how)
        assert isinstance(outcome, ItemError) and outcome.reason is ErrorReason.SCORER_FAILED, outcome
        assert words in outcome.message
