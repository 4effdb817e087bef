"""Controllers: hand-computed moves, bounds that are never left, a resume equal to the bit, and refusals."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.controller_spec import KINDS, ControllerError, check_places, parse_controller
from trainer.controllers import Controller, Controllers
from trainer.moving import is_moving, moving_range, parse_moving
from trainer.schedules import Schedule, ScheduleError

BOUNDS = {"start": 1.0, "min": 0.1, "max": 4.0}
METRIC = {**BOUNDS, "metric": "term/kl/k1"}
TABLES = {
    "threshold": {**METRIC, "low": 1.0, "high": 2.0},
    "target_kl": {**METRIC, "target": 0.02},
    "target_entropy": {**METRIC, "target": 0.5},
    "reward_gap": METRIC,
    "running_scale": BOUNDS,
    "gradnorm": BOUNDS,
    "uncertainty": BOUNDS,
}


def table(kind, **changes):
    return {"controller": kind, **TABLES[kind], **changes}


def made(kind, **changes):
    return Controller(parse_controller(table(kind, **changes)))


def course(controller, seen, name="term/kl/k1", term=None):
    values = []
    for value in seen:
        controller.update({name: value}, term)
        values.append(controller.value)
    return values


def test_every_kind_is_tested():
    assert TABLES.keys() == KINDS.keys()


def test_a_controller_begins_at_its_start_and_is_called_like_a_schedule():
    assert made("target_kl")(0, 10) == made("target_kl")(9, 10) == 1.0


def test_threshold_multiplies_above_and_below_and_rests_between():
    moved = course(made("threshold"), [3.0, 2.0, 1.0, 0.5])
    assert moved == pytest.approx([1.1, 1.1, 1.1, 0.99])
    turned = course(made("threshold", factor_above=0.5, factor_below=2.0), [3.0, 0.0])
    assert turned == [0.5, 1.0]


def test_threshold_with_one_side_and_a_negative_weight():
    fault = {"start": -0.1, "min": -0.12, "max": -0.01, "low": None, "high": 2.0}
    fault.pop("low")
    controller = Controller(parse_controller({"controller": "threshold", "metric": "reward/x", **fault}))
    assert course(controller, [3.0, 0.0, 3.0], "reward/x") == pytest.approx([-0.11, -0.11, -0.12])


def test_target_kl_follows_ziegler():
    # errors: 0.03 / 0.02 - 1 = 0.5, limited to 0.2; 0.022 / 0.02 - 1 = 0.1; 0 / 0.02 - 1 = -1, limited to -0.2
    moved = course(made("target_kl"), [0.03, 0.022, 0.0])
    assert moved == pytest.approx([1.02, 1.02 * 1.01, 1.02 * 1.01 * 0.98])


def test_target_entropy_raises_the_weight_while_entropy_is_too_low():
    moved = course(made("target_entropy", rate=2.0), [0.25, 0.75, 0.5])
    assert moved == pytest.approx([math.exp(0.5), 1.0, 1.0])


def test_reward_gap_moves_beta_by_the_gap_against_the_usual_one():
    # usual gap: 2, then 0.5 * 2 + 0.5 * 2 = 2, then 0.5 * 2 + 0.5 * 3 = 2.5
    moved = course(made("reward_gap", sensitivity=0.5, momentum=0.5), [2.0, 3.0, 1.5])
    assert moved == pytest.approx([1.0, 1.0 + 0.5 * (3.0 - 2.0), 1.0 + 0.5 * (1.5 - 2.5)])


def test_running_scale_divides_by_the_mean_size():
    moved = course(made("running_scale", momentum=0.5, max=9.0), [-2.0, 4.0], "term/kl/value", "kl")
    # sizes 2 and 4 with weights 1/4 and 1/2: mean (0.5 + 2) / 0.75
    assert moved == pytest.approx([0.5, 0.75 / 2.5])


def test_running_scale_of_a_term_that_is_zero_is_its_bound():
    assert course(made("running_scale"), [0.0], "term/kl/value", "kl") == [4.0]


def test_uncertainty_takes_the_closed_form_step_on_the_log_variance():
    controller, s, rate = made("uncertainty", rate=0.5), -math.log(2 * 1.0), 0.5
    for loss in (3.0, 0.2, 0.0):
        s -= rate * 0.5 * (1.0 - math.exp(-s) * loss)
        controller.update({"term/kl/value": loss}, "kl")
        assert controller.value == pytest.approx(math.exp(-s) / 2, rel=1e-14)


def test_uncertainty_rests_where_the_weighted_value_is_one_half():
    controller = made("uncertainty", rate=0.3, min=1e-3, max=100.0)
    course(controller, [0.25] * 400, "term/kl/value", "kl")
    assert controller.value == pytest.approx(2.0, rel=1e-9)


def gradnorm_of(*tables):
    return {f"terms.{name}.weight": made("gradnorm", **changes) for name, changes in tables}


def test_gradnorm_takes_one_step_towards_equal_gradients():
    places = gradnorm_of(("a", {"rate": 0.1}), ("b", {"rate": 0.1}))
    Controllers(places).update(
        {"term/a/value": 1.0, "term/b/value": 1.0, "term/a/gradient_norm": 3.0, "term/b/gradient_norm": 1.0}
    )
    # mean 2: a is above it and falls by 0.1 * 3 to 0.7, b rises by 0.1 * 1 to 1.1; scaled from 1.8 to 2
    assert [c.value for c in places.values()] == pytest.approx([0.7 * 2 / 1.8, 1.1 * 2 / 1.8])


def test_gradnorm_gives_more_to_terms_that_learn_slowly():
    places = gradnorm_of(("a", {"alpha": 1.0, "rate": 0.1}), ("b", {"alpha": 1.0, "rate": 0.1}))
    group = Controllers(places)
    norms = {"term/a/gradient_norm": 1.0, "term/b/gradient_norm": 1.0}
    group.update({"term/a/value": 2.0, "term/b/value": 4.0, **norms})
    assert [c.value for c in places.values()] == [1.0, 1.0]
    group.update({"term/a/value": 2.0, "term/b/value": 1.0, **norms})
    # ratios 1 and 1/4 over their mean 5/8: targets 1.6 and 0.4; a rises to 1.1, b falls to 0.9
    assert [c.value for c in places.values()] == pytest.approx([1.1, 0.9])


def test_gradnorm_takes_the_first_value_above_zero_as_the_first():
    places = gradnorm_of(("a", {"alpha": 1.0}), ("b", {"alpha": 1.0}))
    group = Controllers(places)
    norms = {"term/a/gradient_norm": 1.0, "term/b/gradient_norm": 1.0}
    group.update({"term/a/value": 0.0, "term/b/value": 4.0, **norms})
    group.update({"term/a/value": 0.1, "term/b/value": 4.0, **norms})
    assert places["terms.a.weight"].state_dict()["memory"] == {"first": 0.1}
    assert [c.value for c in places.values()] == [1.0, 1.0]


@pytest.mark.parametrize("lost", ["term/b/value", "term/a/gradient_norm"])
def test_gradnorm_moves_no_term_where_one_is_not_known(lost):
    places = gradnorm_of(("a", {}), ("b", {}))
    metrics = {"term/a/value": 1.0, "term/b/value": 1.0, "term/a/gradient_norm": 3.0, "term/b/gradient_norm": 1.0}
    Controllers(places).update({**metrics, lost: math.nan})
    assert [(c.value, c.unchanged) for c in places.values()] == [(1.0, 1), (1.0, 1)]


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"gradnorm"}))
@pytest.mark.parametrize("metrics", [{}, {"m": math.nan}, {"m": math.inf}, {"m": -math.inf}])
def test_a_missing_or_not_finite_metric_changes_nothing_and_is_counted(kind, metrics):
    controller = made(kind)
    named = {name: value for value in metrics.values() for name in ("term/kl/k1", "term/kl/value")}
    course(controller, [0.7], "term/kl/value" if controller.spec.of_term else "term/kl/k1", "kl")
    before = controller.state_dict()
    controller.update(named, "kl")
    assert controller.state_dict() == {**before, "unchanged": 1}


def test_uncertainty_does_not_follow_a_negative_value():
    controller = made("uncertainty")
    controller.update({"term/kl/value": -1.0}, "kl")
    assert (controller.value, controller.unchanged) == (1.0, 1)


hostile = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(-5, 5))
streams = st.lists(st.tuples(hostile, hostile, hostile, hostile, hostile), max_size=30)


def everything():
    places = {f"terms.{k}.weight" if KINDS[k].of_term else f"terms.kl.kwargs.{k}": made(k) for k in sorted(KINDS)}
    return {**places, "terms.other.weight": made("gradnorm", alpha=1.5), "terms.plain.weight": parse_moving(0.3)}


def metrics_of(row):
    names = ("term/kl/k1", "term/running_scale/value", "term/uncertainty/value", "term/gradnorm/value", "term/other/value")
    norms = {"term/gradnorm/gradient_norm": abs(row[0]), "term/other/gradient_norm": abs(row[1])}
    return {**dict(zip(names, row, strict=True)), **norms}


@given(streams)
@settings(max_examples=200)
def test_no_value_ever_leaves_its_bounds(stream):
    places = everything()
    controllers = Controllers(places)
    for row in stream:
        controllers.update(metrics_of(row))
        assert all(0.1 <= c.value <= 4.0 for c in places.values() if isinstance(c, Controller))


@given(streams, streams)
@settings(max_examples=100)
def test_a_resumed_run_is_equal_to_the_bit(before, after):
    whole, first, second = (Controllers(everything()) for _ in range(3))
    for row in [*before, *after]:
        whole.update(metrics_of(row))
    for row in before:
        first.update(metrics_of(row))
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    for row in after:
        second.update(metrics_of(row))
    assert second.state_dict() == whole.state_dict()
    assert second.metrics() == whole.metrics()


def test_metrics_tell_each_value_and_what_was_not_followed():
    controllers = Controllers({"terms.kl.weight": made("target_kl"), "optim.learning_rate": parse_moving(0.1)})
    controllers.update({})
    assert controllers.metrics() == {"controller/terms.kl.weight": 1.0, "controller/terms.kl.weight/unchanged": 1.0}


def test_a_checkpoint_of_other_controllers_is_refused():
    saved = Controllers({"terms.kl.weight": made("target_kl")}).state_dict()
    with pytest.raises(ControllerError, match=r"has controllers for terms.kl.weight, the job for nothing; resume with"):
        Controllers({}).load_state_dict(saved)


def test_a_loaded_value_outside_of_changed_bounds_is_brought_back():
    controller = made("target_kl")
    controller.load_state_dict({"value": 9.0, "unchanged": 0, "memory": {}})
    assert controller.value == 4.0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"controller": "target_lk"}, "did you mean 'target_kl'"),
        ({"controller": 3}, "unknown name 3"),
        ({}, "unknown name None"),
        (table("target_kl", taget=1), "did you mean 'target'"),
        (table("running_scale", metric="term/kl/value"), "unknown name 'metric'"),
        (table("target_kl", start=9.0), "start 9.0 must be between min 0.1 and max 4.0"),
        (table("target_kl", min=0.0), "min must be above 0, not 0.0"),
        (table("target_kl", target=0.0), "target must be above 0, not 0.0"),
        (table("target_kl", gain=-1.0), "gain must be above 0"),
        (table("target_kl", max=math.inf), "max must be a finite number, not inf"),
        (table("target_kl", start=True), "start must be a finite number, not True"),
        (table("target_kl", target="0.1"), "target must be a finite number, not '0.1'"),
        (table("target_kl", metric="kl"), "metric must be a name such as 'term/kl/k1', not 'kl'"),
        (table("target_kl", metric=3), "metric must be a name"),
        (table("threshold", min=-1.0), "must have the same sign"),
        (table("threshold", low=5.0), "low 5.0 must not be above high 2.0"),
        (table("threshold", factor_above=0.0), "factor_above must be above 0"),
        (table("reward_gap", momentum=1.0), "momentum must be above 0 and below 1, not 1.0"),
        (table("gradnorm", alpha=-1.0), "alpha must be between 0 and 10"),
        ({"controller": "threshold", **METRIC}, "give low, high or both"),
        ({"controller": "target_kl", **METRIC}, "'target' is missing; it takes start, min, max, target, metric"),
        ({"controller": "target_kl", "start": 1.0}, "'min' is missing"),
    ],
)
def test_a_bad_controller_says_what_is_wrong(given, said):
    with pytest.raises(ControllerError) as caught:
        parse_controller(given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("specs", "said"),
    [
        ({"optim.learning_rate_factor": table("running_scale")}, "can only be the weight of a term"),
        ({"terms.kl.kwargs.beta": table("uncertainty")}, "can only be the weight of a term"),
        ({"terms.policy.weight": table("uncertainty")}, "never negative, and 'policy' is not known .* take 'running_scale'"),
        ({"terms.policy.weight": table("gradnorm", alpha=1.0)}, "leave alpha at 0"),
        ({"terms.kl.weight": table("gradnorm")}, "give it to two terms or more"),
    ],
)
def test_a_controller_in_the_wrong_place_is_refused(specs, said):
    with pytest.raises(ControllerError, match=said):
        check_places({place: parse_controller(each) for place, each in specs.items()}, {"kl"})


def test_controllers_that_fit_their_places_are_accepted():
    specs = {
        "terms.kl.weight": table("uncertainty"),
        "terms.policy.weight": table("gradnorm"),
        "terms.entropy.weight": table("gradnorm"),
        "rewards.math/correctness": table("threshold"),
    }
    check_places({place: parse_controller(each) for place, each in specs.items()}, {"kl"})


def test_what_may_stand_where_a_number_moves():
    assert isinstance(parse_moving(0.5), Schedule)
    assert isinstance(parse_moving(table("target_kl")), Controller)
    once = parse_moving(table("target_kl"))
    assert parse_moving(once) is once
    assert is_moving(once) and is_moving(table("target_kl")) and is_moving({"schedule": "linear"})
    assert not is_moving(0.5) and not is_moving({"start": 1.0}) and not is_moving("linear")


def test_the_range_of_what_moves():
    assert moving_range(parse_moving(table("target_kl")), 10) == (0.1, 4.0)
    bump = {"schedule": "piecewise", "points": [[0, 1.0], [5, -2.0], [10, 3.0]]}
    assert moving_range(parse_moving(bump), 11) == (-2.0, 3.0)
    assert moving_range(parse_moving({"schedule": "linear", "start": 1.0, "end": 2.0}), 10**9) == (1.0, 2.0)
    for steps in (1999, 2000, 3997, 4000, 10**6):  # even spacing alone sees every fourth step of some of these
        for period in (2, 4, 8):
            cycle = parse_moving({"schedule": "cyclic", "start": 0.0, "end": 1.0, "period": period})
            assert moving_range(cycle, steps) == (0.0, 1.0)
    with pytest.raises(ScheduleError, match="it is nan at step 0 of 3"):
        moving_range(parse_moving({"schedule": "linear", "start": -1e308, "end": 1.5e308}), 3)
