"""The quickstart's data is right where it says so, wrong where it says so, and its model can be loaded and fits the job."""

from __future__ import annotations

import json
import random
import re
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.quickstart import make
from services.code.answer import compose
from services.code.checks import CodeChecks
from services.math.extract import extract_answer
from trainer.config import read_job

JOB = Path(make.__file__).with_name("job.toml")


@pytest.fixture(scope="module")
def data() -> dict[str, list[dict]]:
    return make.make_data(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("quickstart")
    make.write_all(out, 0)
    return out


def meant(prompt: str) -> str:
    """What a reader takes the prompt for: a sum, or the words of a function."""
    return prompt.splitlines()[0]


def sum_of(prompt: str) -> int:
    a, sign, b = re.fullmatch(r"(\d+) ([+-]) (\d+) = \?", meant(prompt)).groups()
    return int(a) + int(sign + b)


def value_of(prompt: str, x: int) -> int:
    """The function that the words describe, read from left to right."""
    for step in meant(prompt).removeprefix("# x ").split(", "):
        word, n = step.rsplit(" ", 1)
        x = {"plus": x + int(n), "minus": x - int(n), "times": x * int(n)}.get(word, x)
        x = sorted([x, int(n)])[word == "at least"] if word.startswith("at ") else x
    return x


def results(prompt: str, completion: str) -> list[int]:
    """What the completed function returns for the arguments it is judged by."""
    scope: dict = {}
    exec(prompt + completion, scope)
    return [scope["f"](x) for x in make.ARGUMENTS]


def is_right(prompt: str, completion: str) -> bool:
    if prompt.startswith("#"):
        return results(prompt, completion) == [value_of(prompt, x) for x in make.ARGUMENTS]
    return completion == f"#### {sum_of(prompt)}"


def test_reading_the_words_of_a_function():
    assert value_of("# x minus 3, at least 7\n", 2) == 7
    assert value_of("# x times 3, at most 7\n", 2) == 6
    assert value_of("# x plus 3, times 2\n", 1) == 8


def test_no_heldout_problem_is_trained_on_and_none_occurs_twice(data):
    heldout = {row["prompt"] for row in data["heldout"]}
    train = {row["prompt"] for row in data["train"]}
    assert len(heldout) == len(data["heldout"]) == 384
    assert len(train) == len(data["train"])
    assert heldout.isdisjoint(train)
    assert heldout.isdisjoint(row["prompt"] for row in data["warmup"])


def test_mix_of_domains(data):
    sums = {name: sum(row["domain"] == "math" for row in rows) for name, rows in data.items() if name != "pairs"}
    assert sums == {"warmup": 16384 * 3 // 4, "train": 960 * 2 // 3, "heldout": 384 // 2}


@pytest.mark.parametrize("name", ["train", "heldout"])
def test_checks_are_right(data, name):
    for row in data[name]:
        if row["domain"] == "math":
            assert row["checks"] == {"gold": str(sum_of(row["prompt"]))}
        else:
            assert row["checks"]["entry_point"] == "f"
            expected = {call["args"][0]: call["expected"] for call in row["checks"]["calls"]}
            assert expected == {x: value_of(row["prompt"], x) for x in make.ARGUMENTS}


@pytest.mark.parametrize("draw", [make.sum_problem, make.function_problem])
def test_completions_are_right_and_every_mistake_is_judged_wrong(draw):
    rng = random.Random(7)
    drawn = list({problem.prompt: problem for problem in (draw(rng) for _ in range(8000))}.values())
    assert all(is_right(problem.prompt, problem.completion) for problem in drawn)
    mistakes = [problem for problem in drawn if problem.mistake is not None]
    assert 0.3 < len(mistakes) / len(drawn) < 0.7
    assert not any(is_right(problem.prompt, problem.mistake) for problem in mistakes)


def test_neither_step_of_a_bounded_function_can_be_left_out():
    rng = random.Random(8)
    for problem in (make.function_problem(rng) for _ in range(2000)):
        bounded = re.fullmatch(r"(?:max|min)\((.+),(\d+)\)", problem.completion)
        if bounded:
            assert not is_right(problem.prompt, bounded[1])
            assert not is_right(problem.prompt, bounded[2])


def test_half_of_the_tempting_warmup_rows_are_mistakes_and_no_others(data):
    def tempts(prompt: str) -> bool:
        if prompt.startswith("#"):
            return ", at " in prompt or (", times" in prompt and "x times" not in prompt)
        tens = int(meant(prompt)[0])
        return sum_of(prompt) // 10 != tens

    wrong = {True: 0, False: 0}
    count = {True: 0, False: 0}
    for row in data["warmup"]:
        tempting = tempts(row["prompt"])
        count[tempting] += 1
        wrong[tempting] += not is_right(row["prompt"], row["completion"])
    assert wrong[False] == 0
    assert 0.48 < wrong[True] / count[True] < 0.52


def test_scorers_take_the_checks_and_find_the_answers(data):
    for row in data["heldout"]:
        if row["domain"] == "code":
            assert len(CodeChecks.model_validate(row["checks"]).calls) == len(make.ARGUMENTS)
    for row in islice(data["warmup"], 400):
        prompt, completion = row["prompt"], row["completion"]
        if row["domain"] == "code":
            assert compose(prompt, completion, "f") == prompt + completion
        else:
            assert extract_answer(completion).text == completion.removeprefix("#### ")


def test_same_seed_same_bytes_and_another_seed_other_bytes(folder, tmp_path):
    make.write_all(tmp_path / "again", 0)
    make.write_all(tmp_path / "other", 1)
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    assert {name.name for name in names} >= {"config.json", "model.safetensors", "tokenizer.json", "warmup.jsonl"}
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    for name in ("warmup.jsonl", "train.jsonl", "heldout.jsonl", "model/model.safetensors"):
        assert (tmp_path / "other" / name).read_bytes() != (folder / name).read_bytes()


def test_model_loads_and_starts_undecided(folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder / "model", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", local_files_only=True)
    assert (model.config.eos_token_id, model.config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert sum(parameter.numel() for parameter in model.parameters()) == 119_488
    assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    rows = [json.loads(line) for line in (folder / "heldout.jsonl").read_text().splitlines()[:16]]
    for row in rows:
        ids = tokenizer(row["prompt"], return_tensors="pt").input_ids
        with torch.no_grad():
            probabilities = model(ids).logits[0, -1].softmax(-1)
        assert probabilities.max() < 0.5


def test_everything_fits_the_job_and_the_model(data):
    job = read_job(JOB)
    longest = max(len(row["completion"]) for row in data["warmup"])
    assert longest + 1 <= job.rollout.max_new_tokens  # one more for the end
    assert max(len(row["prompt"]) for row in data["warmup"]) + job.rollout.max_new_tokens <= 128
    assert {row["domain"] for row in data["train"]} == set(job.rewards.scorers)


@pytest.fixture(scope="module")
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder / "model", local_files_only=True)


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(codec="ascii", exclude_categories=("Cc",)) | st.just("\n")))
def test_tokenizer_gives_the_text_back(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    if "<" not in text:
        assert len(ids) == len(text)


def test_tokenizer_adds_nothing_and_knows_what_it_does_not_know(tokenizer):
    assert tokenizer("f(x)").input_ids == [tokenizer.get_vocab()[character] for character in "f(x)"]
    assert tokenizer("é\t").input_ids == [tokenizer.unk_token_id] * 2
