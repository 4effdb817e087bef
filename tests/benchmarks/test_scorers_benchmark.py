"""The benchmark of the scorers: that it sees what is wrong, and that its faults leave nothing behind."""

import os
from collections import Counter

import psutil
import pytest

from benchmarks.faulty_scorer import right_value
from benchmarks.scorers_faults import Account, faults
from services.verdicts import ErrorReason, Item, ItemError, Verdict

HONEST, KILLER = Item("h", "", "honest 1"), Item("k", "", "kill 2")
RIGHT = Verdict({"faulty/value": right_value("honest 1")}, "done")
OTHERS = Verdict({"faulty/value": right_value("honest 2")}, "done")


def error(reason):
    return ItemError(ErrorReason(reason), "")


@pytest.mark.parametrize(
    ("item", "outcomes", "counted"),
    [
        (HONEST, [RIGHT], {"right": 1}),
        (HONEST, [OTHERS], {"wrong": 1}),
        (HONEST, [error("DEADLINE")], {"wrong": 1}),
        (HONEST, [], {"lost": 1}),
        (HONEST, [RIGHT, RIGHT], {"right": 2, "doubled": 1}),
        (KILLER, [error("WORKER_DIED")], {"right": 1}),
        (KILLER, [error("UNAVAILABLE")], {"right": 1}),
        (KILLER, [error("INVALID_ITEM")], {"wrong": 1}),
        (KILLER, [Verdict({"faulty/value": right_value("kill 2")}, "done")], {"wrong": 1}),
    ],
)
def test_the_account_counts_what_became_of_an_item(item, outcomes, counted):
    account = Account()
    account.judge(item, outcomes)
    assert +account.seen == Counter(counted)


def test_under_faults_nothing_is_lost_doubled_or_wrong_and_no_process_stays():
    before = {process.pid for process in psutil.Process(os.getpid()).children(recursive=True)}
    items, _ = faults(300)
    assert items.met, items.measured
    left = psutil.wait_procs(
        [process for process in psutil.Process(os.getpid()).children(recursive=True) if process.pid not in before], 10
    )[1]
    assert left == []
