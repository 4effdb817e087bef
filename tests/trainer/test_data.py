"""Data sets and the order of drawing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data import DataError
from trainer.demonstrations import draw, read_supervised
from trainer.prompt_source import read_prompts

ROW = {"id": "a", "domain": "math", "prompt": "1+1=", "checks": {"gold": "2"}}


def write(tmp_path, *lines):
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


def test_rows_are_read_in_order_and_blank_lines_skipped(tmp_path):
    path = write(tmp_path, ROW, "", {**ROW, "id": "b", "prompt": "line\u2028separator"})
    first, second = read_prompts(path, ["math"])
    assert (first.id, first.text, first.checks) == ("a", "1+1=", {"gold": "2"})
    assert second.text == "line\u2028separator"


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ([], ["has no rows"]),
        (["", "  "], ["has no rows"]),
        ([ROW, "{not json"], ["line 2", "is not JSON"]),
        (["[1]"], ["line 1", "list, not an object"]),
        ([{**ROW, "prompt": 3}], ["line 1", "'prompt'", "int"]),
        ([{**ROW, "prompt": ""}], ["line 1", "'prompt'", "empty"]),
        ([{"id": "a", "domain": "math"}], ["'prompt' is missing"]),
        ([{**ROW, "domain": "poetry"}], ["'poetry'", "math"]),
        ([{**ROW, "checks": "2"}], ["'checks'", "object"]),
        ([{**ROW, "difficulty": "hard"}], ["line 1", "'difficulty' is str; it must be a finite number"]),
        ([{**ROW, "difficulty": True}], ["line 1", "'difficulty' is bool", "finite number"]),
        (
            ['{"id": "a", "domain": "math", "prompt": "1", "difficulty": 1e999}'],
            ["'difficulty' is float", "finite number"],
        ),
        ([{**ROW, "difficulty": 10**400}], ["line 1", "'difficulty'", "finite number"]),
        ([{**ROW, "id": "x" * 129}], ["'id'", "129", "128"]),
        ([ROW, ROW], ["line 2", "'a' appears twice"]),
        (["[" * 100_000], ["line 1", "is not JSON"]),
        (['{"id": ' + "9" * 5000 + "}"], ["line 1", "is not JSON"]),
        (['{"checks": {"gold": NaN}}'], ["line 1", "NaN"]),
        ([ROW, {**ROW, "id": "b", "prompt": "1+1 \ud800"}], ["line 2", "lone surrogate"]),
        ([{**ROW, "id": "\ud800"}], ["line 1", "lone surrogate"]),
    ],
)
def test_bad_files_are_refused_with_line_and_field(tmp_path, lines, parts):
    with pytest.raises(DataError) as refusal:
        read_prompts(write(tmp_path, *lines), ["math"])
    for part in parts:
        assert part in str(refusal.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_supervised(tmp_path / "absent.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_supervised(tmp_path / "binary")


@given(size=st.integers(1, 40), count=st.integers(1, 50), seed=st.integers(0, 2**32 - 1))
def test_every_epoch_draws_each_row_once(size, count, seed):
    rows = list(range(size))
    steps = -(-3 * size // count)
    drawn = [row for step in range(steps) for row in draw(rows, seed, step, count)]
    for epoch in range(3):
        assert sorted(drawn[epoch * size : (epoch + 1) * size]) == rows


def test_a_step_is_drawn_alike_whatever_was_drawn_before():
    rows = list(range(100))
    assert draw(rows, 7, 5, 8) == draw(rows, 7, 5, 8)
    assert draw(rows, 7, 5, 8) != draw(rows, 8, 5, 8)
    assert draw(rows, 7, 0, 100) != draw(rows, 7, 1, 100)
