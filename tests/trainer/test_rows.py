"""Rows of a user's file become items, or say why they are none."""

import json

import pytest

from services.verdicts import Component, ErrorReason, Item, ItemError, Verdict
from trainer.cli.rows import Columns, Row, read_rows
from trainer.cli.score import Tally


def rows(tmp_path, *lines, columns=None, keys=("gold",)):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return list(read_rows(path, columns or Columns(), keys))


def test_columns_named_like_check_keys_come_by_themselves(tmp_path):
    (row,) = rows(tmp_path, {"id": "x", "prompt": "p", "response": "r", "gold": "2", "other": 1, "expected": True})
    assert row.item == Item(id="1", prompt="p", response="r", checks={"gold": "2"})
    assert (row.id, row.expected) == ("x", True)


def test_columns_by_other_names(tmp_path):
    columns = Columns(prompt="question", response="output", id="key", checks={"gold": "answer"})
    (row,) = rows(tmp_path, {"key": 7, "question": "p", "output": "r", "answer": "2"}, columns=columns)
    assert row.item == Item(id="1", prompt="p", response="r", checks={"gold": "2"})
    assert row.id == "7"


def test_one_response_for_every_row(tmp_path):
    (row,) = rows(tmp_path, {"task_id": "HumanEval/0", "prompt": "p"}, columns=Columns(response_text="    return None"))
    assert isinstance(row.item, Item)
    assert row.item.response == "    return None"
    assert row.id == "HumanEval/0"


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (b"{not json", "line 2 is not JSON"),
        (b"\xff\xfe", "line 2 is not UTF-8"),
        (b"[1]", "list, not an object"),
        (b'{"id": "\\ud800", "response": "r"}', "line 2 holds a lone surrogate"),
        ({"prompt": "p", "text": "r"}, "column 'response' is missing; it must be a text (--response names it; columns here: prompt, text)"),
        ({"prompt": "p", "response": 3}, "column 'response' is a int"),
        ({"prompt": None, "response": "r"}, "column 'prompt' is a NoneType"),
    ],
)
def test_a_bad_row_is_an_error_and_the_others_stay(tmp_path, line, part):
    good = {"prompt": "p", "response": "r"}
    first, second, third = rows(tmp_path, good, line, good)
    assert isinstance(first.item, Item)
    assert isinstance(third.item, Item)
    assert isinstance(second.item, ItemError)
    assert second.item.reason is ErrorReason.INVALID_ITEM
    assert part in second.item.message


def test_a_verdict_without_the_main_component_agrees_with_nothing():
    tally = Tally(Component("math/correctness", ""))
    for expected in (True, False):
        tally.add(Row("a", 1, Item("1", "", "r"), expected), Verdict({"math/format": 1.0}))
    assert (tally.compared, len(tally.disagreed)) == (2, 2)


def test_a_missing_check_column_is_named(tmp_path):
    (row,) = rows(tmp_path, {"prompt": "p", "response": "r"}, columns=Columns(checks={"gold": "answer"}))
    assert isinstance(row.item, ItemError)
    assert "'answer'" in row.item.message


def test_expected_counts_only_when_it_is_a_boolean(tmp_path):
    (row,) = rows(tmp_path, {"prompt": "p", "response": "r", "expected": "yes"})
    assert row.expected is None


def test_repeated_ids_of_a_file_stay_apart_on_the_wire(tmp_path):
    first, second = rows(tmp_path, {"id": "a", "response": "r"}, b"", {"id": "a", "response": "s"})
    assert isinstance(first.item, Item)
    assert isinstance(second.item, Item)
    assert (first.item.id, second.item.id) == ("1", "3")
