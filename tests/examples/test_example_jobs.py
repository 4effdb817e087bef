"""Every job file of `examples/jobs` is one that a run would accept."""

import json
from pathlib import Path

import pytest

from examples.quickstart import make
from trainer.config import job_from_json, job_to_json, read_job
from trainer.preflight import check_job

JOBS = sorted((Path(__file__).parents[2] / "examples" / "jobs").glob("*.toml"))


@pytest.fixture(scope="module")
def quickstart_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make.write_model(folder / "model", 0)
    for name, rows in make.make_data(0).items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:50]))
    return folder


@pytest.mark.parametrize("path", JOBS, ids=[path.stem for path in JOBS])
def test_an_example_job_would_be_accepted(path, quickstart_data, tmp_path):
    text = path.read_text()
    assert "../quickstart/data/" in text
    (tmp_path / "job.toml").write_text(text.replace("../quickstart/data", str(quickstart_data)))
    config = read_job(tmp_path / "job.toml")
    check_job(config)
    assert job_from_json(job_to_json(config)) == config


def test_there_are_example_jobs():
    assert {path.stem for path in JOBS} >= {"hierarchy", "preference_and_critic"}


def test_pairs_hold_a_right_completion_and_the_mistake():
    rows = make.make_data(0)["pairs"]
    assert len(rows) == make.PAIR_ROWS
    for row in rows[:300]:
        assert row["chosen"] != row["rejected"]
        if row["domain"] == "math":
            a, sign, b = row["prompt"].removesuffix(" = ?\n").split()
            assert row["chosen"] == f"#### {int(a) + int(b) if sign == '+' else int(a) - int(b)}"
    heldout = {row["prompt"] for row in make.make_data(0)["heldout"]}
    assert not heldout & {row["prompt"] for row in rows}
