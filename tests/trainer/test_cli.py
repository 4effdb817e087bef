"""The command line: help a newcomer can use, refusals with exit code 2, scores of a real service."""

import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from services.jobs.job import Job, JobState
from trainer.cli.display import print_summary
from trainer.cli.jobs import print_jobs, state_line
from trainer.cli.services import scoring_address

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ASSAY_DATA") or ROOT.parent / "shared" / "data")


def assay(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, "-m", "trainer.cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def lines(done):
    assert done.stdout, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("command", ["up", "run", "check", "serve", "submit", "status", "watch", "logs", "cancel", "score"])
def test_every_command_is_in_the_overview_and_explains_itself(command):
    overview, help_text = assay("--help"), assay(command, "--help")
    assert command in overview.stdout
    assert help_text.returncode == 0
    assert "Usage: assay " + command in help_text.stdout


def test_the_version_is_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert assay("--version").stdout == f"assay {project['version']}\n"


def test_check_names_every_problem_of_a_job_file(tmp_path):
    (tmp_path / "job.toml").write_text('[job]\nname = "x"\nsead = 1\n[optim]\nsteps = -1\n')
    done = assay("check", tmp_path / "job.toml")
    assert done.returncode == 2
    for part in ("job.sead: ", "did you mean 'seed'", "optim.steps: ", "-1", "rollout: is missing"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["status", "watch", "logs", "cancel"])
def test_asking_where_nothing_runs_says_how_to_start_it(command, tmp_path):
    arguments = [] if command == "status" else ["some-job"]
    done = assay(command, *arguments, "--state-dir", tmp_path)
    assert done.returncode == 2
    assert "assay up" in done.stderr


def test_ids_and_messages_of_jobs_are_whole_on_a_narrow_screen(capsys, monkeypatch):
    monkeypatch.setattr("trainer.cli.jobs.out", Console(width=40, soft_wrap=True))
    message = "the trainer exited with code 1: no such policy [/policy], and much more to say"
    failed = Job("a-job-with-a-long-name-0f78d911", "a", JobState.FAILED, 1.7e9, message, 3, 660, 2)
    print_jobs([failed, Job("b-12345678", "b", JobState.QUEUED, 1.7e9)])
    header, first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:4] == [failed.id, "failed", "3/660", "2"]
    assert first.endswith(message)
    assert second.index("queued") == first.index("failed") == header.index("state")
    assert message in Text.from_markup(state_line(failed)).plain


def test_a_domain_without_a_score_is_shown_as_such_at_the_end(tmp_path):
    console = Console(width=100, file=io.StringIO())
    before = {"overall": 0.5, "by_domain": {"code": 0.25, "math": 0.75}, "scored": 8, "missing": 0}
    after = {"overall": None, "by_domain": {}, "scored": 0, "missing": 8}
    files = dict.fromkeys(("model", "checkpoint", "curves"), "")
    print_summary(console, {"accuracy_before": before, "accuracy_after": after, "calls": {}, "seconds": {}, **files}, tmp_path)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert re.findall(r"(\w+) +│ +(.*?) +│ +(.*?) +│", text) == [
        ("code", "25.0%", "no score"),
        ("math", "75.0%", "no score"),
        ("overall", "50.0%", "no score"),
    ]
    assert "in no ratio: 0 before, 8 after" in text


def test_a_job_service_that_is_away_is_named():
    done = assay("status", "--address", "127.0.0.1:1")
    assert done.returncode == 2
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_scores_of_a_file_good_rows_and_bad(tmp_path):
    rows = [
        {"id": "right", "response": "The answer is 18", "answer": "18", "expected": True},
        {"id": "wrong", "response": "#### 17", "answer": "18", "expected": False},
        {"id": "unscored", "response": "#### 17", "expected": True},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join([*map(json.dumps, rows), "{not json"]))
    done = assay("score", "-d", "math", tmp_path / "rows.jsonl", "--check", "gold=answer", "--json")
    right, wrong, unscored, broken, sums, agreements = lines(done)
    assert right["components"]["math/correctness"] == 1.0
    assert wrong["components"]["math/correctness"] == 0.0
    assert "'answer'" in unscored["error"]["message"]
    assert broken["error"]["message"] == "line 4 is not JSON"
    assert (sums["scored"], sums["missing"]) == (2, 2)
    assert agreements == {"agreements": 2, "of": 3, "disagreed": ["unscored"]}
    assert done.returncode == 1


def test_a_scorer_of_the_users_own_by_import_path(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"response": "short", "keywords": ["long"]}))
    scorer = "brevity=examples.scorers.brevity:Brevity"
    done = assay("score", "-d", "brevity", tmp_path / "rows.jsonl", "--json", "--scorer", scorer)
    assert lines(done)[0]["components"] == {"brevity/short": 1.0, "brevity/keywords": 0.0}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["-d", "poetry", "rows.jsonl"], "poetry"),
        (["-d", "math", "absent.jsonl"], "absent.jsonl"),
        (["-d", "math", "rows.jsonl", "--address", "127.0.0.1:1"], "127.0.0.1:1"),
        (["-d", "math", "rows.jsonl", "--check", "golld=answer"], "golld"),
        (["-d", "mine", "rows.jsonl", "--scorer", "mine=nowhere.mod:Class"], "nowhere"),
        (["-d", "math", "rows.jsonl", "--address", "scorers"], "'scorers' has no port"),
        (["-d", "math", "rows.jsonl", "--check", "gold"], "--check takes KEY=COLUMN"),
        (["-d", "math", "rows.jsonl", "--option", "percnt=ratio"], "--option: math has no key 'percnt'"),
        (["-d", "math", "rows.jsonl", "--option", "percent"], "--option takes KEY=VALUE"),
        (["-d", "math", "rows.jsonl", "--scorer", "math=a.b:C"], "taken"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, part):
    (tmp_path / "rows.jsonl").write_text('{"response": "1"}\n')
    done = assay("score", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_an_option_holds_for_rows_that_do_not_have_the_key(tmp_path):
    rows = [{"response": "50%", "gold": "50"}, {"response": "50%", "gold": "50", "percent": "either"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = ("--option", "percent=ratio", "--option", "relative_tolerance=0.001")
    strict, lenient, _sums = lines(assay("score", "-d", "math", tmp_path / "rows.jsonl", "--json", *options))
    assert (strict["label"], lenient["label"]) == ("wrong", "correct")


def test_an_address_of_another_scorer_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"response": "1", "gold": "1"}\n')
    own = {"brevity": "examples.scorers.brevity:Brevity"}
    with scoring_address("brevity", own, Console(stderr=True)) as address:
        done = assay("score", "-d", "math", tmp_path / "rows.jsonl", "--address", address)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{address} scores brevity, not math" in " ".join(done.stderr.split())


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"response": "#### 18", "gold": "18"}\n' * 300)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "trainer.cli", "score", "-d", "math", str(tmp_path / "rows.jsonl")]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"real data is not at {DATA}")
def test_real_solutions_agree_with_their_labels(tmp_path):
    rows = (DATA / "gsm8k_solutions.jsonl").read_text().splitlines()
    done = assay("score", "-d", "math", DATA / "gsm8k_solutions.jsonl", "--json")
    assert lines(done)[-1] == {"agreements": len(rows), "of": len(rows), "disagreed": []}


@pytest.mark.skipif(not DATA.is_dir(), reason=f"real data is not at {DATA}")
@pytest.mark.parametrize(
    ("arguments", "label"), [(["--response", "canonical_solution"], "pass"), (["--response-text", "    return None"], "fail")]
)
def test_real_programs_pass_and_empty_ones_do_not(arguments, label):
    rows = (DATA / "humaneval.jsonl").read_text().splitlines()
    done = assay("score", "-d", "code", DATA / "humaneval.jsonl", "--json", *arguments)
    assert lines(done)[-1]["labels"] == {label: len(rows)}
