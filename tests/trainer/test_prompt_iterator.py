"""Prompts of a user's own function: endless, ending, failing, with a state of its own or none."""

import pytest

from tests.trainer.data_jobs import ids, job, row, through_json
from trainer.data import DataError
from trainer.prompt_stream import open_stream


def source(function, domain="math", **kwargs):
    return {"name": "own", "iterator": f"tests.trainer.data_jobs:{function}", "kwargs": kwargs, "domain": domain}


def opened(folder, function, data=None, **kwargs):
    return open_stream(job(folder, {"sources": [source(function, **kwargs)], **(data or {})}), None)


def told(folder, function, draws=1, data=None, **kwargs):
    with pytest.raises(DataError) as refusal:
        opened(folder, function, data, **kwargs).draw(draws, 0)
    return str(refusal.value)


def test_rows_come_in_their_order_and_an_iterator_that_ends_begins_again(tmp_path):
    stream = opened(tmp_path, "listed", rows=[row(1), row(2), row(3)])
    assert ids(stream.draw(7, 0)) == [f"own/{number}" for number in (1, 2, 3, 1, 2, 3, 1)]


@pytest.mark.parametrize(("function", "kwargs"), [("endless", {"start": 3}), ("Remembers", {"size": 5})])
@pytest.mark.parametrize("cut", [0, 1, 4, 5, 6, 10, 13])
def test_a_resumed_iterator_goes_on_where_it_stopped(tmp_path, function, kwargs, cut):
    whole = opened(tmp_path, function, **kwargs).draw(20, 0)
    before = opened(tmp_path, function, **kwargs)
    drawn = before.draw(cut, 0) if cut else []
    after = opened(tmp_path, function, **kwargs)
    after.load_state_dict(through_json(before.state_dict()))
    after = [*drawn, *after.draw(20 - cut, 1)]
    assert after == whole


def test_its_own_state_is_used_and_must_be_json(tmp_path):
    stream = opened(tmp_path, "Remembers", size=9)
    stream.draw(4, 0)
    assert stream.state_dict()["sources"]["own"]["own"] == {"place": 4}
    # A loader that knows its place is taken at its word; nothing is skipped.
    state = through_json(stream.state_dict())
    state["sources"]["own"]["own"] = {"place": 7}
    stream.load_state_dict(state)
    assert ids(stream.draw(1, 1)) == ["own/8"]
    with pytest.raises(DataError, match="its state_dict: ValueError: Out of range float"):
        opened(tmp_path, "Remembers", size=1, state="inf").state_dict()
    state["sources"]["own"]["own"] = {"elsewhere": 7}
    with pytest.raises(DataError, match="its load_state_dict: KeyError: 'place'"):
        stream.load_state_dict(state)


def test_rows_that_are_others_when_a_run_goes_on_are_refused(tmp_path):
    stream = opened(tmp_path, "changes")
    stream.draw(3, 0)
    with pytest.raises(DataError, match=r"the first 3 rows of tests\.trainer\.data_jobs:changes are not those"):
        opened(tmp_path, "changes").load_state_dict(through_json(stream.state_dict()))
    longer = opened(tmp_path, "listed", rows=[row(number) for number in range(9)])
    longer.draw(7, 0)
    state = through_json(longer.state_dict())
    shorter = opened(tmp_path, "listed", rows=[row(0)])
    state["sources"]["own"]["digest"] = shorter.state_dict()["sources"]["own"]["digest"]
    with pytest.raises(DataError, match="the first 7 rows"):
        shorter.load_state_dict(state)


@pytest.mark.parametrize(
    ("function", "kwargs", "parts"),
    [
        ("listed", {"rows": []}, ["has no rows"]),
        ("listed", {"rows": [5]}, ["row 1: is int; a row is a dict of columns"]),
        ("listed", {"rows": [None]}, ["row 1: is NoneType"]),
        ("listed", {"rows": 5}, ["TypeError: 'int' object is not iterable"]),
        ("listed", {"rows": [{"prompt": 5}]}, ["row 1: field 'prompt' is int"]),
        ("listed", {"row": []}, ["TypeError: listed() got an unexpected keyword argument 'row'"]),
        ("absent", {}, ["iterator: path 'tests.trainer.data_jobs:absent'", "unknown name 'absent'"]),
        ("fails", {"after": 2}, [", after row 2: RuntimeError: the network is down xxx"]),
    ],
)
def test_an_iterator_that_fails_is_told_by_its_row(tmp_path, function, kwargs, parts):
    said = told(tmp_path, function, draws=3, **kwargs)
    assert [part for part in ["source 'own'", *parts] if part not in said] == [] and len(said) < 400


def test_hard_rows_are_passed_over_but_not_for_ever(tmp_path, monkeypatch):
    stream = opened(tmp_path, "endless", {"max_difficulty": 2.0}, start=0)
    assert [each.prompt.difficulty for each in stream.draw(5, 0, 2.0)] == [0, 1, 2, 0, 1]
    assert "data/eligible" not in stream.metrics()
    monkeypatch.setattr("trainer.prompt_iterator.MOST_PASSED_OVER", 50)
    with pytest.raises(DataError, match="50 rows in a row are too hard or too long"):
        stream.draw(1, 1, -1.0)


def test_a_look_at_the_first_rows_draws_none(tmp_path):
    stream = opened(tmp_path, "endless", start=0)
    assert len(list(stream.known())) == 64
    assert ids(stream.draw(2, 0)) == ["own/row-1", "own/row-2"]
    assert [prompt.id for prompt in stream.known()][:2] == ["own/row-1", "own/row-2"]
    few = opened(tmp_path, "listed", rows=[row(1), row(2), row(3)])
    assert [prompt.id for prompt in few.known()] == ["own/1", "own/2", "own/3"]


@pytest.mark.parametrize("function", ["sums", "Sums"])
def test_the_example_goes_on_where_it_stopped(tmp_path, function):
    own = {**source("x"), "iterator": f"examples.data.sums:{function}", "kwargs": {"seed": 3}}
    config = job(tmp_path, {"sources": [own]})
    whole, before, after = (open_stream(config, None) for _ in range(3))
    before.draw(5, 0)
    after.load_state_dict(through_json(before.state_dict()))
    assert after.draw(5, 1) == whole.draw(10, 0)[5:]
