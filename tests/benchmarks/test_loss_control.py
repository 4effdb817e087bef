"""A compile score is refused as a loss and teaches as a reward."""

import pytest

from benchmarks.loss_control import compiles, control


@pytest.mark.parametrize(
    ("text", "expected"),
    [("x = 1", True), ("print(x)", True), ("x = ", False), ("", False), ("\n", False), ("1(", False)],
)
def test_what_compiles(text, expected):
    assert compiles(text) is expected


def test_the_score_is_refused_as_a_loss_and_raises_the_rate_as_a_reward():
    loss, reward = control(seeds=[0])
    assert loss.met and loss.measured == "refused"
    assert reward.met, reward.measured
