"""The choice by measured pass rate: what is drawn, in which shares, and that a resumed run chooses alike."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.data_jobs import ids, job, row, through_json, write
from trainer.curriculum import PassRates
from trainer.data import DataError
from trainer.data_sections import CurriculumSection
from trainer.epochs import Epochs
from trainer.prompt_stream import open_stream


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("data")
    write(made, "train.jsonl", [row(number, difficulty=float(number)) for number in range(20)])
    return made


def opened(folder, **keys):
    return open_stream(job(folder, {"train": "train.jsonl", "curriculum": {"by": "pass_rate", **keys}}), None)


def teach(stream, rate):
    """Every prompt has once been drawn, and solved as often as `rate` says by its number."""
    for each in stream.draw(20, 0):
        stream.learned(each.prompt, rate(int(each.prompt.id)))


def test_unmeasured_prompts_are_drawn_in_the_order_of_the_epoch(folder):
    plain = open_stream(job(folder, {"train": "train.jsonl"}), None)
    stream = opened(folder)
    assert ids(stream.draw(20, 0)) == ids(plain.draw(20, 0))
    assert stream.metrics() == {"data/eligible": 20.0, "data/measured": 0.0, "data/in_band": 0.0}


def test_the_band_has_its_share_and_the_others_the_rest(folder):
    stream = opened(folder, target=0.5, width=0.2, explore=0.25)
    teach(stream, lambda number: number / 19)  # 6 to 13 are in the band: 0.316 to 0.684
    drawn = [ids(stream.draw(4, step)) for step in range(1, 9)]
    band = [sum(6 <= int(name) <= 13 for name in names) for names in drawn]
    assert band == [3] * 8 and stream.metrics()["data/in_band"] == 0.75
    assert stream.metrics()["data/pass_rate"] == pytest.approx(0.5) and stream.metrics()["data/measured"] == 20
    # 24 draws from a band of 8: each three times; 8 from the 12 others: none twice.
    inside = [name for names in drawn for name in names if 6 <= int(name) <= 13]
    outside = [name for names in drawn for name in names if not 6 <= int(name) <= 13]
    assert sorted(inside) == sorted([str(number) for number in range(6, 14)] * 3) and len(set(outside)) == 8


def test_the_share_of_the_band_is_that_of_all_draws_of_a_step(folder):
    stream = opened(folder, target=0.5, width=0.2, explore=0.25)
    teach(stream, lambda number: number / 19)  # 6 to 13 are in the band
    names = [name for count in (5, 1, 1) for name in ids(stream.draw(count, 1))]
    assert stream.metrics()["data/in_band"] == pytest.approx(sum(6 <= int(name) <= 13 for name in names) / 7)


def test_the_target_moves_from_easy_to_hard(folder):
    stream = opened(folder, target={"schedule": "linear", "start": 0.9, "end": 0.1}, width=0.1, explore=0.01)
    teach(stream, lambda number: 1 - number / 19)
    easy, hard = ids(stream.draw(3, 0)), ids(stream.draw(3, 9))
    assert all(int(name) <= 3 for name in easy) and all(int(name) >= 16 for name in hard)


def test_rates_are_averaged_by_hand(folder):
    stream = opened(folder, smoothing=0.25)
    (drawn,) = stream.draw(1, 0)
    for rate in (1.0, 0.0, 0.5):  # 1; 0.75; 0.75 + 0.25 (0.5 - 0.75) = 0.6875
        stream.learned(drawn.prompt, rate)
    stream.draw(1, 1)
    assert stream.metrics()["data/pass_rate"] == 0.6875
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="a pass rate is 0 to 1"):
            stream.learned(drawn.prompt, wrong)
    with pytest.raises(DataError, match="prompt 'absent' is none of these data"):
        stream.learned(type(drawn.prompt)("absent", "math", "x", {}), 0.5)


def test_new_prompts_are_explored_before_those_out_of_the_band(folder):
    stream = opened(folder, width=0.1, explore=0.5)
    first = stream.draw(10, 0)
    for each in first[:4]:
        stream.learned(each.prompt, 0.5)
    for each in first[4:]:
        stream.learned(each.prompt, 0.0)
    drawn = ids(stream.draw(8, 1))
    assert sorted(drawn[:4]) == sorted(ids(first[:4])) and not set(drawn[4:]) & set(ids(first))


@given(
    rates=st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=30),
    count=st.integers(1, 40),
    target=st.floats(0, 1),
    width=st.floats(0.01, 1),
    limit=st.integers(0, 29),
    calls=st.integers(1, 4),
)
@settings(deadline=None)
def test_a_draw_holds_what_is_eligible_and_nothing_twice_while_there_are_others(
    rates, count, target, width, limit, calls
):
    size = len(rates)
    table = PassRates(CurriculumSection(by="pass_rate", target=target, width=width), size, 10)
    epochs, eligible = Epochs(size, 3), np.arange(size) <= limit
    for place, rate in enumerate(rates):
        if rate is not None:
            table.learned(place, rate)
    for step in range(calls):
        rows = table.take(epochs, eligible, count, step)
        assert len(rows) == count and eligible[rows].all()
        assert len(set(rows)) == min(count, int(eligible.sum()))


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_resumed_run_chooses_alike(folder, data):
    keys = {"target": {"schedule": "exponential", "start": 0.8, "end": 0.2}, "explore": 0.3}
    whole, parts = opened(folder, **keys), opened(folder, **keys)
    for step in range(8):
        if data.draw(st.booleans()):
            state = through_json(parts.state_dict())
            parts = opened(folder, **keys)
            parts.load_state_dict(state)
        count = data.draw(st.integers(1, 12))
        drawn = whole.draw(count, step)
        assert parts.draw(count, step) == drawn and parts.metrics() == whole.metrics()
        for each in drawn:
            rate = data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
            whole.learned(each.prompt, rate)
            parts.learned(each.prompt, rate)
    assert parts.state_dict() == whole.state_dict()


def test_a_curriculum_may_be_added_to_a_run_and_taken_away(folder):
    plain = open_stream(job(folder, {"train": "train.jsonl"}), None)
    plain.draw(5, 0)
    stream = opened(folder)
    stream.load_state_dict(through_json(plain.state_dict()))
    (drawn,) = stream.draw(1, 1)
    stream.learned(drawn.prompt, 0.5)
    plain.load_state_dict(through_json(stream.state_dict()))
    assert plain.draw(1, 2)[0].serial == 6
