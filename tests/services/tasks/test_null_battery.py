"""Weak tests are told from sound ones by the nulls that pass them; broken tasks by their own reference."""

import json
import os
from pathlib import Path

import pytest

from services.tasks.audit import Audit, Standing, audit
from services.tasks.formats import read_tasks
from services.tasks.nulls import nulls_for
from services.tasks.task import Task, Unreadable
from services.verdicts import ErrorReason, ItemError, Verdict

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("ASSAY_DATA") or ROOT.parent / "shared" / "data")
SQUARES = "def squares(n):\n    return [i * i for i in range(len(n))]"
HALF = "def half(n):\n    return n / 2"
EVERY = {null.name for null in nulls_for({"entry_point": "f"})}


def function(name, reference, entry_point, *lines):
    body = "\n    ".join(lines)
    return Task(
        name, "Write it.", {"entry_point": entry_point, "test": f"def check(candidate):\n    {body}\n"}, reference
    )


WEAK = {
    "zip": (
        function("zip", SQUARES, "squares", "assert all(a == b for a, b in zip(candidate([7, 7, 7]), [0, 1, 4]))"),
        {'returns ""', "returns []", "returns {}", "empties its arguments, returns the first"},
    ),
    "computed after": (
        function(
            "computed after",
            SQUARES,
            "squares",
            "given = [7, 7]",
            "assert candidate(given) == [n * n for n in range(len(given))]",
        ),
        {"empties its arguments, returns the first"},
    ),
    "not above": (
        function("not above", HALF, "half", "assert not abs(candidate(5) - 2.5) > 1e-6"),
        {"returns NaN"},
    ),
    "subset": (
        function("subset", SQUARES, "squares", "assert set(candidate([0, 1])) <= {0, 1}"),
        {
            'returns ""',
            "returns []",
            "returns {}",
            "returns its first argument",
            "empties its arguments, returns the first",
            "returns [0] * len(its first argument)",
        },
    ),
    "not none": (
        function("not none", HALF, "half", "assert candidate(5) is not None"),
        EVERY - {"returns None", "raises", "returns [0] * len(its first argument)"},
    ),
    "one call": (
        Task("one call", "?", {"entry_point": "f", "calls": [{"args": [3], "expected": 3}]}, "def f(n): return n"),
        {"returns its first argument", "empties its arguments, returns the first"},
    ),
    "one case": (
        Task("one case", "?", {"cases": [{"stdin": "5\n", "stdout": "YES\n"}]}, "print('YES')"),
        {"prints YES"},
    ),
    "echo": (
        Task(
            "echo",
            "?",
            {"cases": [{"stdin": "5\n", "stdout": "5\n"}, {"stdin": "6\n", "stdout": "6\n"}]},
            "print(input())",
        ),
        {"prints its input", "prints the first line of its input"},
    ),
    "no reference": (
        Task("no reference", "?", {"cases": [{"stdin": "x", "stdout": ""}]}, None),
        {"prints nothing"},
    ),
}
SOUND = [
    function("equal", SQUARES, "squares", "assert (candidate([5, 5, 5]) == [0, 1, 4])"),
    Task("calls", "?", {"entry_point": "half", "calls": [{"args": [5], "expected": 2.5}]}, HALF),
    Task("cases", "?", {"cases": [{"stdin": "2\n", "stdout": "4\n"}]}, "print(2 * int(input()))"),
    # What a test swallows it has not asserted: only an answer under which an assertion holds passes.
    function("swallows", HALF, "half", "try:", "    assert candidate(5) == 2.5", "except Exception:", "    pass"),
]


def test_weak_tests_are_named_with_every_null_that_passes(score):
    audits = list(audit([task for task, _ in WEAK.values()], score))
    assert {found.task.id: (found.standing, set(found.nulls)) for found in audits} == {
        name: (Standing.WEAK, nulls) for name, (_, nulls) in WEAK.items()
    }


def test_sound_tasks_are_ok_and_without_a_reference_unchecked(score):
    assert [found.standing for found in audit(SOUND, score)] == [Standing.OK] * len(SOUND)
    bare = [Task(task.id, task.prompt, task.checks, None) for task in SOUND]
    assert [found.standing for found in audit(bare, score)] == [Standing.UNCHECKED] * len(SOUND)


def test_broken_tasks_say_how(score):
    wrong, raises, no_call = list(
        audit(
            [
                Task("wrong", "?", SOUND[1].checks, "def half(n): return 2"),
                function("raises", HALF, "half", "assert candidate(5) == undefined"),
                function("no call", HALF, "half", "pass"),
            ],
            score,
        )
    )
    assert {found.standing for found in (wrong, raises, no_call)} == {Standing.BROKEN}
    assert wrong.label == "wrong_type"
    assert "expected a float, got a int" in wrong.evidence["difference"]
    assert (raises.label, no_call.label) == ("INVALID_ITEM", "INVALID_ITEM")
    assert "NameError" in raises.evidence["message"]
    assert "without calling" in no_call.evidence["message"]


def test_the_forms_references_pass_their_own_checks(score, read):
    solution = "class Solution:\n    def count(self, items: List[int]) -> int:\n        return len(items) * 7"
    tests = {"fn_name": "count", "inputs": [[[1, 2]], [[]]], "outputs": [14, 0]}
    rows = [
        {"task_id": 1, "text": "Triple.", "code": "def f(n):\r\n  return 3.0 * n", "test_list": ["assert f(2) == 6"]},
        {"question": "Count.", "solutions": [solution], "input_output": tests, "starter_code": solution[:50]},
        {
            "question": "Add.",
            "solutions": json.dumps(["print(sum(map(int, input().split())))"]),
            "input_output": {"inputs": ["1 2", "5 7"], "outputs": ["3", "  12\n\n"]},
        },
    ]
    found = list(audit(read(*rows), score))
    assert [(row.standing, row.evidence) for row in found] == [(Standing.OK, {})] * 3


def test_rows_keep_their_order_and_batches_hold_few_tasks():
    sizes = []

    def score(items):
        sizes.append(len({item.id.split("/")[0] for item in items}))
        return {item.id: Verdict({"code/tests": float(item.id.endswith("/reference"))}, "x") for item in items}

    huge = {"cases": [{"stdout": "x" * (4 << 20)}]}
    tasks = [Task(str(place), "?", huge if place == 3 else SOUND[2].checks, "r") for place in range(40)]
    rows = [Unreadable(1, "bad"), *tasks[:20], Unreadable(22, "bad"), *tasks[20:]]
    found = list(audit(rows, score))
    assert [row.task if isinstance(row, Audit) else row for row in found] == rows
    assert {row.standing for row in found if isinstance(row, Audit)} == {Standing.OK}
    assert sum(sizes) == 40
    assert sizes[:2] == [3, 1]
    assert max(sizes) <= 16


def test_a_null_without_a_score_is_no_null_that_failed():
    def score(items):
        late = ItemError(ErrorReason.DEADLINE, "late")
        return {
            item.id: late
            if item.id.endswith("/prints 0")
            else Verdict({"code/tests": float(item.id.endswith("/reference"))})
            for item in items
        }

    (found,) = audit([SOUND[2]], score)
    assert (found.standing, found.label) == (Standing.BROKEN, "DEADLINE")
    assert found.evidence == {"answer": "prints 0", "message": "late"}


@pytest.mark.skipif(not DATA.is_dir(), reason=f"real data is not at {DATA}")
def test_real_tasks_are_ok(score):
    tasks = list(read_tasks(DATA / "humaneval.jsonl"))
    assert all(isinstance(task, Task) for task in tasks)
    assert {found.task.id: found.standing for found in audit(tasks[::8], score)} == {
        task.id: Standing.OK for task in tasks[::8]
    }
