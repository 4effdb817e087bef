"""TRL: `GRPOTrainer` trains on Assay's rewards, and what it makes of them and of missing ones."""

import pytest


@pytest.fixture(scope="module")
def found(run_peer):
    return run_peer("trl_grpo.py")


def test_the_example_trains(found):
    steps = [entry for entry in found["history"] if "loss" in entry]
    assert len(steps) == 2
    for entry in steps:
        assert entry["assay/missing"] == 0.0
        total = entry["assay/math/correctness"] + 0.1 * entry["assay/math/format"]
        assert entry["rewards/assay/mean"] == pytest.approx(total) == pytest.approx(entry["reward"])


@pytest.mark.parametrize(("form", "absent"), [("conversational", None), ("plain", -1.0)])
def test_rewards_by_hand(found, form, absent):
    rewards = found[form]["rewards"]
    # right and short; wrong and short; right; twice the limit of 60 words; no gold answer
    assert rewards == [1.5, 0.5, 1.0, 0.0, absent]


def test_what_trl_logs(found):
    logged = found["conversational"]
    assert logged["names"] == ["assay_both"]
    assert logged["metrics"] == {
        "assay_both/math/correctness": pytest.approx(2 / 3),
        "assay_both/math/format": 1.0,
        "assay_both/math/syntax": 1.0,
        "assay_both/brevity/short": pytest.approx(2 / 3),
        "assay_both/brevity/keywords": pytest.approx(1 / 3),
        "assay_both/missing": 0.2,
    }
    labels = logged["columns"]["assay_both/labels"]
    assert [set(filter(None, text.split(", "))) for text in labels] == [
        {"correct", "short"},
        {"wrong", "short"},
        {"correct"},
        {"long"},
        set(),
    ]


def test_a_missing_reward_is_an_error_where_nothing_was_chosen(found):
    assert found["raised"].startswith(
        "MissingRewardError: 1 of 5 responses have no reward; the first: math: INVALID_ITEM: checks.gold: Field required."
    )
