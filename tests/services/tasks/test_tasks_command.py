"""`assay tasks check`: what it prints, what it writes, how it exits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.prompt_source import read_prompts

ROOT = Path(__file__).parents[3]
GOOD = {
    "id": "good",
    "prompt": "Double.",
    "checks": {"cases": [{"stdin": "2", "stdout": "4"}]},
    "reference": "print(2 * int(input()))",
}
WEAK = {"id": "weak", "prompt": "Say.", "checks": {"cases": [{"stdout": "0"}]}, "reference": "print(0)"}
BROKEN = GOOD | {"id": "bro[red]\x1bken", "reference": "print('\\x1b[31m5')"}
BARE = GOOD | {"id": "bare", "reference": None}


@pytest.fixture
def check(tmp_path, code_address):
    def run(*arguments, rows=(), address=True):
        (tmp_path / "tasks.jsonl").write_text(
            "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
        )
        where = ["--address", code_address] if address else []
        return subprocess.run(
            [sys.executable, "-m", "trainer.cli", "tasks", "check", "tasks.jsonl", *where, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_the_table_names_what_is_wrong_and_the_last_line_counts(check):
    done = check(rows=[GOOD, WEAK, BROKEN, BARE, "{"])
    assert done.returncode == 1, done.stderr
    rows = {cells[1].strip(): cells[2:4] for line in done.stdout.splitlines() if len(cells := line.split("│")) == 5}
    assert {name: cells[0].strip() for name, cells in rows.items() if name} == {
        "weak": "weak",
        "bro[red] ken": "broken",
        "line 5": "unreadable",
    }
    assert "these pass: prints 0" in rows["weak"][1]
    assert "fail; case: 1 of 1" in rows["bro[red] ken"][1]
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[-1] == "1 ok, 1 weak, 1 broken, 1 unchecked, 1 unreadable"


def test_json_says_the_same_and_what_is_written_is_a_data_set(check, tmp_path):
    done = check("--json", "--write", "out.jsonl", rows=[GOOD, WEAK, BROKEN, BARE, "{"])
    good, weak, broken, bare, bad, counts = map(json.loads, done.stdout.splitlines())
    assert good == {"id": "good", "is": "ok"}
    assert weak == {"id": "weak", "is": "weak", "nulls": ["prints 0"]}
    assert (broken["is"], broken["label"], broken["evidence"]["got"]) == ("broken", "fail", r"'\x1b[31m5\n'")
    assert bare == {"id": "bare", "is": "unchecked"}
    assert (bad["line"], bad["is"]) == (5, "unreadable")
    assert counts == {"ok": 1, "weak": 1, "broken": 1, "unchecked": 1, "unreadable": 1}
    (prompt,) = read_prompts(tmp_path / "out.jsonl", ["code"])
    assert (prompt.id, prompt.domain, prompt.text, prompt.checks) == ("good", "code", "Double.", GOOD["checks"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "tasks.jsonl"]


def test_weak_tasks_fail_only_a_strict_check(check):
    assert check(rows=[GOOD, WEAK]).returncode == 0
    assert check("--strict", rows=[GOOD, WEAK]).returncode == 1


def test_tasks_without_a_reference_are_written_when_asked_for(check, tmp_path):
    assert check("--unchecked", "--write", "out.jsonl", rows=[BARE, GOOD, WEAK | {"reference": None}]).returncode == 0
    assert [prompt.id for prompt in read_prompts(tmp_path / "out.jsonl", ["code"])] == ["bare", "good"]


def test_the_scorer_that_it_needs_is_started(check):
    done = check(rows=[GOOD], address=False)
    assert (done.returncode, done.stdout) == (0, "1 ok, 0 weak, 0 broken, 0 unchecked, 0 unreadable\n"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "rows", "part"),
    [
        (["--address", "127.0.0.1:1"], [GOOD], "127.0.0.1:1"),
        (["--form", "poetry"], [GOOD], "poetry"),
        (["--write", "tasks.jsonl"], [GOOD], "is the file that is read"),
        (["--write", "nowhere/out.jsonl"], [GOOD], "nowhere"),
        ([], ["[1"], "JSON list"),
        ([], [], "no rows"),
    ],
)
def test_what_cannot_be_done_is_named_and_leaves_no_file(check, tmp_path, arguments, rows, part):
    done = check("--write", "out.jsonl", *arguments, rows=rows)
    assert done.returncode == 2
    assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tasks.jsonl"]
