"""Rows of files and folders of every kind, and files that are broken or odd."""

import datetime
import decimal
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from trainer.data import DataError
from trainer.data_files import BATCH_ROWS, rows
from trainer.prompt_source import read_prompts

COLUMNS = {
    "id": ["a", "b"],
    "domain": ["math"] * 2,
    "prompt": ["1+1=", "2+2="],
    "checks": [{"gold": "2"}, {"gold": "4"}],
}


def write_parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table({**COLUMNS, **columns}), path)
    return path


def save_dataset(folder, tables):
    """As `datasets.Dataset.save_to_disk` of version 5.2 writes it, which was compared with this."""
    folder.mkdir(parents=True)
    names = [f"data-{place:05}-of-{len(tables):05}.arrow" for place in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "5f0b3de34fb4a129", "_split": None}
    (folder / "state.json").write_text(json.dumps(state, indent=2))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def told(path):
    with pytest.raises(DataError) as refusal:
        list(rows(path))
    return str(refusal.value)


def test_every_kind_gives_the_same_prompts(tmp_path):
    lines = [{name: column[place] for name, column in COLUMNS.items()} for place in range(2)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    write_parquet(tmp_path / "x.parquet")
    (tmp_path / "folder").mkdir()
    for place in range(2):
        parquet.write_table(pa.table(COLUMNS).slice(place, 1), tmp_path / "folder" / f"part-{place}.parquet")
    saved = save_dataset(tmp_path / "saved", [pa.table(COLUMNS).slice(0, 1), pa.table(COLUMNS).slice(1, 1)])
    found = [
        read_prompts(path, ["math"])
        for path in (tmp_path / "x.jsonl", tmp_path / "x.parquet", tmp_path / "folder", saved)
    ]
    assert [prompt.checks for prompt in found[0]] == [{"gold": "2"}, {"gold": "4"}]
    assert found[1:] == found[:1] * 3


def test_rows_are_numbered_over_batches_and_nulls_are_left_out(tmp_path):
    size = BATCH_ROWS + 3
    struct = pa.array([{"gold": "1", "tests": None}] * size, pa.struct([("gold", pa.string()), ("tests", pa.string())]))
    parquet.write_table(pa.table({"n": range(size), "none": pa.nulls(size), "checks": struct}), tmp_path / "x.parquet")
    found = list(rows(tmp_path / "x.parquet"))
    assert found[-1] == (f"{tmp_path / 'x.parquet'}, row {size}", {"n": size - 1, "checks": {"gold": "1"}})


def test_an_empty_file_in_a_folder_is_no_fault_and_an_empty_folder_is(tmp_path):
    write_parquet(tmp_path / "a" / "1.parquet")
    parquet.write_table(pa.table(COLUMNS).slice(0, 0), tmp_path / "a" / "0.parquet")
    assert len(list(rows(tmp_path / "a"))) == 2
    (tmp_path / "a" / "1.parquet").unlink()
    assert told(tmp_path / "a") == f"{tmp_path / 'a'}: has no rows"


def test_folders_and_files_that_cannot_be_read_say_what_would_be_right(tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "neither *.parquet files nor the state.json" in told(tmp_path / "nothing")
    save_dataset(tmp_path / "dict" / "test", [pa.table(COLUMNS)])
    save_dataset(tmp_path / "dict" / "train", [pa.table(COLUMNS)])
    (tmp_path / "dict" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert told(tmp_path / "dict").endswith(
        f"name one of them: {tmp_path / 'dict' / 'test'}, {tmp_path / 'dict' / 'train'}"
    )
    (tmp_path / "dict" / "train" / "state.json").write_text("{}")
    assert "is not that of a Hugging Face dataset" in told(tmp_path / "dict" / "train")
    (tmp_path / "text.parquet").write_text("no parquet at all")
    assert "cannot be read" in told(tmp_path / "text.parquet")
    assert "cannot be read: No such file" in told(tmp_path / "absent.parquet")
    whole = write_parquet(tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in told(tmp_path / "cut.parquet")
    for name in ("../train/data-00000-of-00001.arrow", "/dev/zero", "..", ""):
        elsewhere = {"_data_files": [{"filename": name}]}
        (tmp_path / "dict" / "train" / "state.json").write_text(json.dumps(elsewhere))
        assert f"its state.json names {name!r}, which is no file of this folder" in told(tmp_path / "dict" / "train")
    (tmp_path / "dict" / "test" / "data-00000-of-00001.arrow").write_bytes(b"short")
    assert "cannot be read" in told(tmp_path / "dict" / "test")


@pytest.mark.parametrize(
    ("column", "values", "parts"),
    [
        ("prompt", [b"\xff", b"a"], ["row 1", "'prompt' is bytes", "a text that is not empty"]),
        ("prompt", [None, "a"], ["row 1", "'prompt' is missing", "the row has checks, domain, id"]),
        ("id", [1.5, 2.5], ["row 1", "'id' is float", "a text that is not empty, or a whole number"]),
        ("id", [True, False], ["row 1", "'id' is bool"]),
        ("id", [7, 7], ["row 2", "'7' appears twice"]),
        ("difficulty", [0.5, float("nan")], ["row 2", "'difficulty' is float", "finite number"]),
        ("difficulty", [decimal.Decimal("1.5")] * 2, ["row 1", "'difficulty' is Decimal", "finite number"]),
        ("checks", [{"gold": float("inf")}] * 2, ["row 1", "'checks'.gold is inf", "JSON"]),
        ("checks", [{"gold": datetime.date(2020, 1, 1)}] * 2, ["row 1", "'checks'.gold is date", "make it a text"]),
        ("checks", [{"tests": [b"x"]}] * 2, ["row 1", "'checks'.tests[0] is bytes"]),
        ("checks", ["{no json", "{}"], ["row 1", "'checks' is str", "written as JSON"]),
        ("checks", ["4", "5"], ["row 1", "'checks' is str", "must be an object"]),
    ],
)
def test_columns_of_odd_types_are_refused_by_row_and_field(tmp_path, column, values, parts):
    path = write_parquet(tmp_path / "x.parquet", **{column: values})
    with pytest.raises(DataError) as refusal:
        read_prompts(path, ["math"])
    assert [part for part in [str(path), *parts] if part not in str(refusal.value)] == []


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    bad = pa.array([b"ok", b"\xff"], pa.binary()).view(pa.string())
    path = write_parquet(tmp_path / "x.parquet", prompt=bad)
    assert told(path) == f"{path}: cannot be read after row 0: it holds text that is not UTF-8"


def test_whole_numbers_are_ids_checks_may_be_written_as_json_and_a_row_without_an_id_has_its_place(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", id=[7, None], checks=['{"gold": [1, 2]}', " {}"])
    first, second = read_prompts(path, ["math"])
    assert (first.id, first.checks) == ("7", {"gold": [1, 2]})
    assert (second.id, second.checks) == ("row-2", {})
