"""What `assay check` says of data before a run: rows of every source, chat, lengths, and steps that would have no prompt."""

import re

import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.loss_refusals import make_folder
from examples.quickstart.make import make_tokenizer
from tests.trainer.data_jobs import job, row, write
from trainer import prompt_source
from trainer.config import JobFileError
from trainer.data_check import choice_problems, data_problems
from trainer.preflight import check_job

CHAT = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.fixture
def folder(tmp_path):
    made = make_folder(tmp_path)
    write(made, "good.jsonl", [row(number, difficulty=1.0) for number in range(3)])
    parquet.write_table(pa.table({"question": ["1+1?", "2+2?"], "answer": ["2", "4"]}), made / "qa.parquet")
    return made


def source(**keys):
    return {"name": "own", "domain": "math", **keys}


QA = {"path": "qa.parquet", "template": "{question}", "fields": {"checks": {"gold": "answer"}}}
FADING = {"schedule": "linear", "start": 1.0, "end": 0.0}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"sources": [source(**QA)]}, None),
        ({"sources": [source(**QA, heldout="qa.parquet")]}, None),
        (
            {"sources": [source(**{**QA, "template": "{qestion}"})]},
            "data.sources: .*row 1: template: unknown name 'qestion'",
        ),
        (
            {"sources": [source(**{**QA, "fields": {"checks": {"goold": "answer"}}})]},
            "data.sources: prompt 'own/row-1': checks: unknown name 'goold'",
        ),
        (
            {"sources": [source(path="good.jsonl", heldout="qa.parquet")]},
            "data.heldout: .*row 1: field 'prompt' is missing",
        ),
        ({"sources": [source(iterator="tests.trainer.data_jobs:endless", kwargs={"start": 1})]}, None),
        ({"sources": [source(iterator="tests.trainer.data_jobs:fails", kwargs={"after": 3})]}, "after row 3: RuntimeError"),
        (
            {
                "sources": [
                    source(
                        iterator="tests.trainer.data_jobs:listed",
                        kwargs={"rows": [{"prompt": "a", "checks": {"x": 1}}]},
                    )
                ]
            },
            "unknown name 'x'",
        ),
        ({"sources": [source(iterator="absent_module:rows")]}, "path 'absent_module:rows': absent_module cannot be imported"),
        (
            {"sources": [source(path="good.jsonl", chat="")]},
            "data.sources: 'own' has chat, and the tokenizer in .*model has no chat template",
        ),
        ({"sources": [source(path="good.jsonl", weight=FADING)]}, "data.sources: every weight is 0 at step 9"),
        (
            {"sources": [source(path="good.jsonl", weight={**FADING, "end": -1.0})]},
            "'own' has the weight -0.1.* at step 5",
        ),
        (
            {"train": "good.jsonl", "curriculum": {"by": "pass_rate", "target": {**FADING, "end": 1.5}}},
            "data.curriculum.target: it goes from 1 to 1.5",
        ),
        ({"train": "good.jsonl", "curriculum": {"by": "pass_rate"}}, None),
        ({"train": "good.jsonl", "max_prompt_tokens": 5}, "data.train: model.path: its tokenizer cannot be loaded"),
        (
            {"train": "good.jsonl", "max_difficulty": 0.5},
            "data.max_difficulty: it falls to 0.5, and the easiest prompt has a difficulty of 1",
        ),
        (
            {"sources": [source(**QA)], "max_difficulty": 0.5},
            "data.max_difficulty: data.sources: prompt 'own/row-1' has no field 'difficulty'",
        ),
    ],
)
def test_problems_are_told_before_a_run(folder, data, said):
    config = job(folder, data, accuracy={"math": "math/correctness"})
    problems = data_problems(config) or choice_problems(config)
    if said is None:
        assert problems == []
    else:
        assert re.search(said, problems[0])


def test_long_prompts_are_refused_with_the_policys_tokenizer(folder):
    make_tokenizer().save_pretrained(folder / "model")
    fits = job(folder, {"train": "good.jsonl", "max_prompt_tokens": 4})  # "0+1=", a token for each character
    assert data_problems(fits) == []
    (problem,) = data_problems(job(folder, {"train": "good.jsonl", "max_prompt_tokens": 3}))
    assert (
        problem.startswith("data.train: ")
        and "line 1: field 'prompt' has 4 tokens; data.max_prompt_tokens is 3" in problem
    )


def test_chat_is_checked_with_the_policys_template(folder):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder / "model")
    assert data_problems(job(folder, {"sources": [source(path="good.jsonl", chat="Add.")]})) == []


def test_the_check_of_a_job_tells_them(folder):
    with pytest.raises(JobFileError) as refusal:
        check_job(job(folder, {"sources": [source(**{**QA, "template": "{qestion}"})]}))
    assert [
        problem for problem in refusal.value.problems if "unknown name 'qestion'; did you mean 'question'?" in problem
    ]


def test_each_file_is_read_once_whatever_is_asked_of_its_rows(folder, monkeypatch):
    opened = []
    read = prompt_source.rows
    monkeypatch.setattr(prompt_source, "rows", lambda path: opened.append(path.name) or read(path))
    check_job(job(folder, {"train": "good.jsonl", "max_difficulty": 2.0}))
    assert opened == ["good.jsonl"]
    with pytest.raises(JobFileError, match="the easiest prompt has a difficulty of 1"):
        check_job(job(folder, {"train": "good.jsonl", "max_difficulty": 0.5}))


def test_a_limit_that_cannot_be_read_is_told_once(folder):
    fails = {"schedule": "absent_module.limit"}
    with pytest.raises(JobFileError) as refusal:
        check_job(job(folder, {"train": "good.jsonl", "max_difficulty": fails}))
    (problem,) = refusal.value.problems
    assert problem.startswith("data.max_difficulty: ") and "absent_module" in problem
