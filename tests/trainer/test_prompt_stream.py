"""The prompts of a run: their order, what a resumed run draws, mixing, and states of other data."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.quickstart.make import make_tokenizer
from tests.trainer.data_jobs import ids, job, row, through_json, write
from trainer.data import DataError
from trainer.demonstrations import draw
from trainer.epochs import Epochs, permutation
from trainer.mixing import WHOLE, Mixer, shares_of
from trainer.prompt_source import read_heldout
from trainer.prompt_stream import open_stream


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("data")
    write(made, "train.jsonl", [row(number, difficulty=number / 10) for number in range(11)])
    write(made, "other.jsonl", [row(number) for number in range(5)])
    return made


def test_a_single_source_is_drawn_in_the_order_of_its_epochs(folder):
    stream = open_stream(job(folder, {"train": "train.jsonl"}), None)
    drawn = [each for step in range(12) for each in stream.draw(4, step)]
    rows = [str(number) for number in range(11)]
    assert ids(drawn) == [name for step in range(12) for name in draw(rows, 7, step, 4)]
    assert [each.serial for each in drawn] == list(range(48))
    first = np.random.Generator(np.random.Philox(key=[7, 0])).permutation(11)
    assert ids(drawn)[:11] == [str(number) for number in first]
    assert drawn[0].prompt.checks == {"gold": str(int(drawn[0].prompt.id) + 1)}


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=12), cuts=st.sets(st.integers(0, 11)))
@settings(max_examples=25, deadline=None)
def test_a_resumed_run_goes_on_where_it_stopped(folder, counts, cuts):
    config = job(folder, {"train": "train.jsonl", "max_difficulty": {"schedule": "linear", "start": 0.1, "end": 1.0}})
    whole, parts = open_stream(config, None), open_stream(config, None)
    for step, count in enumerate(counts):
        if step in cuts:
            state = through_json(parts.state_dict())
            parts = open_stream(config, None)
            parts.load_state_dict(state)
        most = 0.1 * (step + 1)
        assert parts.draw(count, step, most) == whole.draw(count, step, most)
        assert parts.metrics() == whole.metrics()


def test_a_prompt_that_becomes_easy_enough_has_its_turn_in_the_epoch_at_hand(folder):
    stream = open_stream(job(folder, {"train": "train.jsonl", "max_difficulty": 1.0}), None)
    first = ids(stream.draw(4, 0, 0.5))  # 0 to 5 are eligible
    assert stream.metrics() == {"data/max_difficulty": 0.5, "data/eligible": 6.0}
    rest = ids(stream.draw(7, 1, 1.0))
    assert sorted(first + rest, key=int) == [str(number) for number in range(11)] and all(
        int(name) <= 5 for name in first
    )
    assert sorted(ids(stream.draw(6, 2, 0.2) + stream.draw(3, 3, 0.2))) == sorted(["0", "1", "2"] * 3)
    with pytest.raises(DataError, match=r"no prompt has a difficulty of -1 or less, at step 4"):
        stream.draw(1, 4, -1.0)


@given(size=st.integers(1, 60), epochs=st.integers(1, 4), count=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_over_n_epochs_each_prompt_is_drawn_n_times_and_a_cut_changes_nothing(size, epochs, count, seed):
    drawn, order, everything = [], Epochs(size, seed), np.ones(size, bool)
    while len(drawn) < size * epochs:
        again = Epochs(size, seed)
        again.load_state_dict(through_json(order.state_dict()))
        taken = order.take(min(count, size * epochs - len(drawn)), everything)
        assert again.take(len(taken), everything) == taken
        drawn += taken
    assert sorted(drawn) == sorted([*range(size)] * epochs)
    assert drawn == [int(row) for epoch in range(epochs) for row in permutation(size, seed, epoch)]


@given(
    weights=st.lists(st.floats(0, 100) | st.sampled_from([0.0, 1.0, 1e-6, 1e300]), min_size=1, max_size=9).filter(any),
    draws=st.integers(1, 400),
)
@settings(deadline=None)
def test_every_source_has_its_share_to_within_less_than_one_draw_at_every_moment(weights, draws):
    shares, mixer, counts = shares_of(weights), Mixer(len(weights)), [0] * len(weights)
    assert sum(shares) == WHOLE
    for drawn in range(1, draws + 1):
        counts[mixer.pick(shares)] += 1
        assert max(abs(count - drawn * share / WHOLE) for count, share in zip(counts, shares, strict=True)) < 1
    assert [count for count, weight in zip(counts, weights, strict=True) if weight == 0] == [0] * weights.count(0)


def test_three_to_one_by_hand():
    # Both begin with 0. Slack is 1/2. Draw 1: a is due 3/4, b 1/4: a. Then a -1/4. Draw 2: both are due 1/2: the first, a.
    mixer = Mixer(2)
    shares = shares_of([3.0, 1.0])
    assert shares == [3 * WHOLE // 4, WHOLE // 4]
    assert [mixer.pick(shares) for _ in range(8)] == [0, 0, 1, 0, 0, 0, 1, 0]
    assert mixer.state_dict() == {"due": [0, 0]}


MIXED = {
    "sources": [
        {"name": "sums", "path": "train.jsonl", "weight": {"schedule": "linear", "start": 3.0, "end": 0.0}},
        {"name": "other", "path": "other.jsonl", "heldout": "other.jsonl"},
        {"name": "stories", "iterator": "tests.trainer.data_jobs:endless", "kwargs": {"start": 5}, "domain": "math"},
    ]
}


def mixed(folder, **data):
    config = job(folder, {**MIXED, **data}, accuracy={"math": "math/correctness"})
    return config, open_stream(config, None)


def test_the_shares_are_those_of_all_draws_of_a_step(folder):
    _, stream = mixed(folder)
    stream.draw(50, 0)
    first, second = (Counter(name.partition("/")[0] for name in ids(stream.draw(count, 1))) for count in (11, 2))
    both = first + second
    assert stream.metrics() == {f"data/share/{name}": both[name] / 13 for name in ("sums", "other", "stories")}
    assert first[name := next(iter(second))] / 11 != both[name] / 13


def test_sources_are_mixed_by_the_weights_of_the_step(folder):
    _, stream = mixed(folder)
    due, counts = [0.0] * 3, Counter()
    for step in range(10):
        drawn = stream.draw(12, step)
        weight = 3.0 * (1 - step / 9)
        due = [had + 12 * now / (weight + 2) for had, now in zip(due, (weight, 1, 1), strict=True)]
        here = Counter(name.partition("/")[0] for name in ids(drawn))
        assert stream.metrics() == {f"data/share/{name}": here[name] / 12 for name in ("sums", "other", "stories")}
        counts += here
        assert all(abs(counts[name] - want) < 1 for name, want in zip(("sums", "other", "stories"), due, strict=True))
    # Ids of both files are alike, and those of the iterator are their places; a source's name tells them apart.
    assert {"sums/1", "other/1", "stories/row-1"} <= {prompt.id for prompt in stream.known()}


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=10), cuts=st.sets(st.integers(0, 9)))
@settings(max_examples=20, deadline=None)
def test_a_resumed_mixture_goes_on_where_it_stopped(folder, counts, cuts):
    _, whole = mixed(folder)
    _, parts = mixed(folder)
    for step, count in enumerate(counts):
        if step in cuts:
            state = through_json(parts.state_dict())
            _, parts = mixed(folder)
            parts.load_state_dict(state)
        assert parts.draw(count, step) == whole.draw(count, step)
    assert parts.state_dict() == whole.state_dict()


def test_a_source_without_a_prompt_that_is_easy_enough_gives_its_turns_to_the_others(folder):
    write(folder, "hard.jsonl", [row(number, difficulty=9.0) for number in range(3)])
    sources = [{"name": "easy", "path": "train.jsonl"}, {"name": "hard", "path": "hard.jsonl"}]
    stream = open_stream(job(folder, {"sources": sources, "max_difficulty": 9.0}), None)
    assert {name.partition("/")[0] for name in ids(stream.draw(8, 0, 0.5))} == {"easy"}
    assert stream.metrics()["data/eligible"] == 6.0
    assert Counter(name.partition("/")[0] for name in ids(stream.draw(8, 1, 9.0))) == {"easy": 4, "hard": 4}


def refused(config, state, tokenizer=None):
    with pytest.raises(DataError) as refusal:
        open_stream(config, tokenizer).load_state_dict(through_json(state))
    return str(refusal.value)


def test_a_state_of_other_data_is_refused(folder, tmp_path):
    config, stream = mixed(folder)
    stream.draw(9, 0)
    state = stream.state_dict()
    assert "the sources sums, other, stories; the job has data.train" in refused(
        job(folder, {"train": "train.jsonl"}), state
    )
    turned = {"sources": [MIXED["sources"][place] for place in (1, 0, 2)]}
    assert "the job has other, sums, stories" in refused(
        job(folder, turned, accuracy={"math": "math/correctness"}), state
    )
    other = [{**MIXED["sources"][0], "path": "other.jsonl"}, *MIXED["sources"][1:]]
    assert "sums: the checkpoint is of other prompts" in refused(mixed(folder, sources=other)[0], state)
    kwargs = [*MIXED["sources"][:2], {**MIXED["sources"][2], "kwargs": {"start": 6}}]
    assert "'stories': the checkpoint is of another iterator" in refused(mixed(folder, sources=kwargs)[0], state)
    seed = config.model_copy(update={"job": config.job.model_copy(update={"seed": 8})})
    assert "the checkpoint is of job.seed 7, the job has 8" in refused(seed, state)
    for broken in (
        {},
        {"sources": 3},
        {**state, "mixer": {}},
        {**state, "serial": None},
        {**state, "sources": {"sums": 1}},
    ):
        assert "the checkpoint" in refused(config, broken)
    damaged = through_json(state)
    damaged["sources"]["sums"]["epochs"]["taken"] = "AAAA"
    assert "cannot be read" in refused(config, damaged)
    damaged["sources"]["sums"]["epochs"]["taken"] = state["sources"]["other"]["epochs"]["taken"]
    assert "turns of 8 rows, not 11" in refused(config, damaged)
    damaged = {**state, "mixer": {"due": [0]}}
    assert "cannot be read" in refused(config, damaged)


def test_a_file_that_is_changed_under_a_run_changes_nothing(folder, tmp_path):
    write(tmp_path, "x.jsonl", [row(number) for number in range(5)])
    stream = open_stream(job(tmp_path, {"train": "x.jsonl"}), None)
    state = stream.state_dict()
    write(tmp_path, "x.jsonl", [row(number, prompt="changed") for number in range(5)])
    assert {each.prompt.text for each in stream.draw(5, 0)} == {f"{number}+1=" for number in range(5)}
    assert "other prompts" in refused(job(tmp_path, {"train": "x.jsonl"}), state)


def test_a_store_on_disk_gives_what_one_in_memory_gives(folder, tmp_path, monkeypatch):
    write(tmp_path, "x.jsonl", [row(number, prompt=f"{number} \u2028 日本") for number in range(50)])
    config = job(tmp_path, {"train": "x.jsonl"})
    small = open_stream(config, None).draw(120, 0)
    monkeypatch.setattr("trainer.prompt_store.MEMORY_BYTES", 100)
    stream = open_stream(config, None)
    assert stream._sources[0].store._file._rolled and stream.draw(120, 0) == small


def test_ids_that_hash_alike_are_still_told_apart(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.prompt_store._key", lambda name: 5)
    write(tmp_path, "x.jsonl", [row(number) for number in range(4)])
    stream = open_stream(job(tmp_path, {"train": "x.jsonl"}), None)
    assert [stream._sources[0].store.row_of(name) for name in ("0", "3", "4")] == [0, 3, None]
    write(tmp_path, "x.jsonl", [row(0), row(1), row(2), row(1)])
    with pytest.raises(DataError, match="line 4: id '1' appears twice"):
        open_stream(job(tmp_path, {"train": "x.jsonl"}), None)


def test_held_out_prompts_have_the_form_of_their_source(folder):
    config, _ = mixed(folder)
    assert [prompt.id for prompt in read_heldout(config, None)] == [f"other/{number}" for number in range(5)]


@pytest.mark.parametrize("overlong", ["drop", "truncate_left"])
def test_long_prompts_are_counted_and_the_count_goes_on(tmp_path, overlong):
    write(tmp_path, "x.jsonl", [row(number, prompt="9" * number) for number in range(1, 9)])
    limits = {"max_prompt_tokens": 5, "overlong": overlong}
    config = job(tmp_path, {"train": "x.jsonl", **limits})
    stream = open_stream(config, make_tokenizer())  # a token for each character
    drawn = stream.draw(8, 0)
    assert stream.metrics() == {"data/overlong": 3.0}
    kept = {str(number): "9" * min(number, 5) for number in range(1, 9 if overlong == "truncate_left" else 6)}
    assert {each.prompt.id: each.prompt.text for each in drawn} == kept
    assert "data.max_prompt_tokens that it was made with" in refused(
        job(tmp_path, {"train": "x.jsonl"}), stream.state_dict()
    )
    own = {"name": "own", "iterator": "tests.trainer.data_jobs:listed", "domain": "math"}
    own["kwargs"] = {"rows": [row(number, prompt="9" * (number + 5)) for number in range(3)]}
    endless, again = (open_stream(job(tmp_path, {"sources": [own], **limits}), make_tokenizer()) for _ in range(2))
    endless.draw(4, 0)
    counted = endless.metrics()["data/overlong"]
    assert counted == (6.0 if overlong == "drop" else 2.0)  # of rows 0 1 2 0 1 2 ..., 1 and 2 are too long
    again.load_state_dict(through_json(endless.state_dict()))
    assert ids(again.draw(2, 1)) == ids(endless.draw(2, 1)) and again.metrics() == endless.metrics()
