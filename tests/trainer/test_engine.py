"""Real DeepSpeed over gloo on one and two ranks. The cases themselves are in `engine_worker.py`."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest

from trainer.engine_config import OWNED_KEYS, EngineConfig, EngineConfigError, deepspeed_config
from trainer.group import PATIENCE, VARIABLES, join_group

PARTITIONS = ["partition:0:fp32", "partition:1:fp32", "partition:2:fp32", "partition:3:fp32", "partition:2:bf16"]
NOT_FINITE = [
    "not_finite:0:fp32:raise:poisoned",
    "not_finite:0:fp32:skip_step:root",
    "not_finite:2:fp32:raise:root",
    "not_finite:2:bf16:skip_step:poisoned",
    "not_finite:3:fp32:skip_step:poisoned",
]
CLIPPING = ["clipping:0:fp32", "clipping:2:fp32"]


@pytest.mark.parametrize("ranks", ["one_rank", "two_ranks"])
@pytest.mark.parametrize("case", PARTITIONS)
def test_the_gradient_is_that_of_the_whole_step_on_one_process(case, ranks, request):
    """Micro-batches of 1, 2 and 5 of 5 sequences; with two ranks one of them has nothing but a placeholder at 5."""
    bound = 1e-6 if case.endswith("fp32") else 2e-2
    for found, _ in request.getfixturevalue(ranks):
        for size, errors in found[case].items():
            assert errors["gradient"] < bound and errors["loss"] < bound and errors["norm"] < bound, (size, errors)
            assert errors["tokens"] == 24.0
            assert 0 < errors["clip_fraction"] < 1


EVERYTHING = [
    ("one_rank", "everything:0:sum"),
    ("one_rank", "everything:2:pcgrad"),
    ("two_ranks", "everything:1:sum"),
    ("two_ranks", "everything:2:pcgrad"),
    ("two_ranks", "everything:3:sum"),
]


@pytest.mark.parametrize(("ranks", "case"), EVERYTHING)
def test_pairs_groups_statistics_values_and_a_teacher_are_those_of_the_whole_step(ranks, case, request):
    """Micro-batches of one, two and three groups; attribution too is that of the whole step."""
    for found, _ in request.getfixturevalue(ranks):
        for size, seen in found[case].items():
            assert seen["gradient"] < 2e-6 and seen["metrics"] < 1e-5, (size, seen)
            assert seen["counted"] == [3.0, 2.0, 6.0]
            assert (seen["parameter_cosines"] > 0) == (":3:" not in case)


def test_all_ranks_report_the_same_metrics(two_ranks):
    first, second = (found for found, _ in two_ranks)
    assert [first[case] for case in PARTITIONS] == [second[case] for case in PARTITIONS]


@pytest.mark.parametrize("case", NOT_FINITE)
def test_what_is_not_finite_on_one_rank_stops_all_and_touches_nothing(case, two_ranks):
    """A value and a gradient that are not finite are both laid at the door of the term that they come from."""
    policy = case.split(":")[3]
    for found, _ in two_ranks:
        seen = found[case]
        assert seen["untouched"] and seen["clean_after"]
        if policy == "raise":
            assert seen["raised"] == ["mine"]
        else:
            assert (seen["applied"], seen["names"], seen["skipped"]) == (False, ["mine"], 1.0)
            assert seen["values"] and seen["told"] == ["term/mine/not_finite"]


@pytest.mark.parametrize("ranks", ["one_rank", "two_ranks"])
@pytest.mark.parametrize("case", CLIPPING)
def test_clipping_shortens_the_step_and_the_norm_is_told_from_before(case, ranks, request):
    found = request.getfixturevalue(ranks)[0][0][case]
    assert found["off"]["norm"] == pytest.approx(found["tight"]["norm"]) and found["off"]["norm"] > 0.1
    assert found["off"]["change"] == pytest.approx(1e-2, rel=0.01)
    assert found["tight"]["change"] < 2e-3


def test_ranks_exchange_values_of_different_lengths(two_ranks):
    for found, _ in two_ranks:
        assert found["group"] == {"gathered": [0, 1000], "received": True, "empty": ""}


def test_ranks_with_different_numbers_of_micro_batches_are_told(two_ranks):
    assert all(found["unequal"].startswith("ranks have [1, 5] micro-batches") for found, _ in two_ranks)


def test_a_step_without_tokens_is_told_on_all_ranks(two_ranks):
    assert all("2 were dropped for missing log-probabilities" in found["nothing"] for found, _ in two_ranks)


def test_nothing_chatters(one_rank, two_ranks):
    """`conftest.py` reads standard output as one JSON document, so only standard error is left to look at."""
    for _, errors in [*one_rank, *two_ranks]:
        assert not any(noise in errors for noise in ("DeepSpeed", "FutureWarning", "it/s"))


def test_clipping_is_written_out_even_when_it_is_off():
    assert deepspeed_config(EngineConfig(gradient_clipping=0.0))["gradient_clipping"] == 0.0


def test_overrides_are_merged_into_sections():
    config = deepspeed_config(
        EngineConfig(
            zero_stage=2,
            dtype="fp16",
            overrides={"zero_optimization": {"overlap_comm": False}, "fp16": {"loss_scale": 8}},
        )
    )
    assert config["zero_optimization"] == {"stage": 2, "overlap_comm": False}
    assert config["fp16"] == {"enabled": True, "loss_scale": 8}


@pytest.mark.parametrize("key", OWNED_KEYS)
def test_keys_of_the_trainer_are_refused_with_what_to_do_instead(key):
    section, _, inner = key.partition(".")
    with pytest.raises(EngineConfigError, match=f"{key!r} belongs to the trainer: {OWNED_KEYS[key]}"):
        deepspeed_config(EngineConfig(overrides={section: {inner: 1} if inner else 1}))


def test_half_an_environment_is_refused():
    with pytest.raises(ValueError, match="MASTER_ADDR is not set; ranks need all of RANK"):
        join_group({"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "29500"})


def test_ranks_wait_as_long_as_the_first_one_may_take_for_rollouts():
    """Torch's own patience ends after 10 minutes (nccl) or 30 (gloo), and the run with it."""
    program = """
from torch import device, distributed
from trainer.group import PATIENCE, join_group, leave_group
join_group()
backend = distributed.distributed_c10d._get_default_group()._get_backend(device("cpu"))
assert backend.options._timeout == PATIENCE, backend.options._timeout
leave_group()
"""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert timedelta(days=1) <= PATIENCE
