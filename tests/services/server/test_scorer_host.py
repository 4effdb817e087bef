"""The scorer's side of the server: contract, checks, outcomes; no processes."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.server.errors import StartError
from services.server.scorer_host import (
    MAX_EVIDENCE_CHARACTERS,
    WrongCountError,
    check_scorer,
    describe_misfit,
    host_scorer,
)
from services.verdicts import Component, ErrorReason, ItemError, Verdict, check_outcome, parse_checks

SECRET = "XYZZY-4711"
RANGE = {"a/b": Component("a/b", "", 0.0, 1.0)}


@pytest.fixture
def puppet(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield host_scorer("puppet:Puppet", {})
    sys.modules.pop("puppet")


def fields(response="", checks_json=""):
    item = {"id": "i", "prompt": "", "response": response, "trace_id": "t", "timeout_seconds": 1.0}
    return item | {"checks_json": checks_json}


def contract(**changes):
    scorer = {
        "name": "s",
        "version": "1",
        "components": [Component("a/b", "")],
        "checks": BaseModel,
        "batch_size": 8,
        "timeout_seconds": 1,
        "score": lambda self, items: [],
    }
    return type("Scorer", (), scorer | changes)()


def test_a_scorer_that_keeps_the_contract_passes():
    check_scorer("here", contract())


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("name", ""),
        ("version", 1),
        ("components", []),
        ("components", [("a/b", "")]),
        ("components", [Component("a/b", ""), Component("a/b", "")]),
        ("components", [Component("a/b", "", 1.0, 1.0)]),
        ("components", [Component("a/b", "", 0.0, float("inf"))]),
        ("checks", dict),
        ("batch_size", 0),
        ("batch_size", 513),
        ("batch_size", True),
        ("timeout_seconds", 0),
        ("timeout_seconds", 601),
        ("timeout_seconds", float("nan")),
        ("timeout_seconds", "1"),
        ("score", 3),
    ],
)
def test_a_scorer_that_breaks_the_contract_is_refused_by_the_attribute_at_fault(attribute, value):
    with pytest.raises(StartError, match=f"'here' is not a scorer: {attribute} must be"):
        check_scorer("here", contract(**{attribute: value}))


def test_what_is_no_scorer_at_all_is_told_what_it_lacks():
    with pytest.raises(StartError, match="it has no name, version, components, checks, batch_size, timeout_seconds, score"):
        check_scorer("here", object())


class Dog(BaseModel):
    kind: Literal["dog"]


class Cat(BaseModel):
    kind: Literal["cat"]


class Thorough(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int = 0
    word: Literal["yes", "no"] = "no"
    short: str = Field("", max_length=3)
    pattern: str = Field("", pattern="^a*$")
    nested: list[dict[str, float]] = []
    pet: Annotated[Dog | Cat, Field(discriminator="kind")] = Dog(kind="dog")
    flag: bool = False

    @field_validator("short")
    @classmethod
    def plain(cls, value):
        if "!" in value:
            raise ValueError("must hold no exclamation mark")
        return value


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ({"number": SECRET}, "checks.number: "),
        ({"word": SECRET}, "checks.word: Input should be 'yes' or 'no'"),
        ({"short": SECRET}, "checks.short: "),
        ({"short": "!"}, "checks.short: must hold no exclamation mark"),
        ({"pattern": SECRET}, "checks.pattern: "),
        ({"nested": [{"a": SECRET}]}, "checks.nested.0.a: "),
        ({"pet": {"kind": SECRET}}, "checks.pet: must be one of 'dog', 'cat'"),
        ({"flag": SECRET}, "checks.flag: "),
        ({"colour": SECRET}, "checks.colour: Extra inputs are not permitted"),
        (dict.fromkeys("abcdef", SECRET), "checks.a: Extra"),
    ],
)
def test_a_misfit_names_the_field_and_never_its_value(checks, expected):
    with pytest.raises(ValidationError) as error:
        Thorough.model_validate(checks)
    message = describe_misfit(error.value)
    assert expected in message
    assert SECRET not in message
    assert message.count(";") <= 2


@pytest.mark.parametrize(("value", "shown"), [(7, "7"), (-0.5, "-0.5"), (float("nan"), "nan"), (10**400, "1e+300")])
def test_a_value_out_of_its_range_is_told_with_the_range(value, shown):
    outcome = check_outcome(Verdict({"a/b": value}), RANGE)
    assert outcome.message == f"the scorer returned {shown} for component 'a/b'; it must be 0 to 1"


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "3", "nul", "[" * 100_000, "9" * 5000])
def test_checks_that_are_not_an_object_are_an_invalid_item(puppet, text):
    (outcome,) = puppet.score([fields(checks_json=text)])
    assert outcome["reason"] == "INVALID_ITEM"
    assert len(outcome["message"]) < 200


def test_an_invalid_item_does_not_reach_the_scorer_and_leaves_the_order(puppet):
    outcomes = puppet.score([fields(checks_json='{"limit": "x"}'), fields("value 0.25"), fields(checks_json='{"z": 1}')])
    assert [outcome.get("reason") for outcome in outcomes] == ["INVALID_ITEM", None, "INVALID_ITEM"]
    assert outcomes[1]["components"] == {"puppet/value": 0.25, "puppet/batch": 1.0}


@pytest.mark.parametrize("command", ["wrong count", "a generator"])
def test_outcomes_that_are_not_one_for_each_item_fail_the_chunk_and_then_the_item(puppet, command):
    with pytest.raises(WrongCountError):
        puppet.score([fields(), fields(command)])
    (outcome,) = puppet.score([fields(command)])
    assert outcome["reason"] == "SCORER_FAILED"
    assert outcome["message"].endswith("for 1 items")


@pytest.mark.parametrize(
    "verdict",
    [
        None,
        1.0,
        Verdict({}),
        Verdict([("a/b", 1.0)]),
        Verdict({"a/c": 1.0}),
        Verdict({"a/b": float("nan")}),
        Verdict({"a/b": float("inf")}),
        Verdict({"a/b": True}),
        Verdict({"a/b": "1"}),
        Verdict({"a/b": None}),
        Verdict({"a/b": 1.0000001}),
        Verdict({"a/b": -1e-9}),
        Verdict({"a/b": 10**400}),
        Verdict({"a/b": 1.0}, label=None),
        Verdict({"a/b": 1.0}, evidence={"n": 1}),
        Verdict({"a/b": 1.0}, evidence=["n"]),
    ],
)
def test_what_is_not_a_score_is_the_scorers_defect(verdict):
    outcome = check_outcome(verdict, RANGE)
    assert isinstance(outcome, ItemError)
    assert outcome.reason is ErrorReason.SCORER_FAILED


@given(st.floats(0.0, 1.0), st.text(), st.dictionaries(st.text(), st.text()))
def test_every_finite_value_in_the_range_is_a_score(value, label, evidence):
    verdict = Verdict({"a/b": value}, label, evidence)
    assert check_outcome(verdict, RANGE) is verdict


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_only_objects_are_checks(value):
    with pytest.raises(ValueError, match="not an object"):
        parse_checks(json.dumps(value))
    assert parse_checks(json.dumps({"key": value})) == {"key": value}


def test_evidence_is_cut_and_made_fit_for_the_wire(puppet, monkeypatch):
    long = Verdict({"puppet/value": 1.0}, "\ud800" * 100, {"a": "x" * 4000, "b": "\udfff" + "y" * 4000, "c": "z"})
    monkeypatch.setattr(puppet._scorer, "score", lambda items: [long])
    (outcome,) = puppet.score([fields()])
    assert sum(len(name) + len(text) for name, text in outcome["evidence"].items()) <= MAX_EVIDENCE_CHARACTERS
    assert outcome["evidence"]["a"] == "x" * 4000
    assert outcome["evidence"]["b"].startswith("?yyy")
    assert outcome["label"] == "?" * 64


def test_the_description_is_what_the_scorer_declares(puppet):
    facts = puppet.describe(None)
    assert (facts["name"], facts["version"], facts["batch_size"], facts["timeout_seconds"]) == ("puppet", "7", 4, 5.0)
    assert [component["high"] for component in facts["components"]] == [1.0, 512]
    assert facts["checks_schema"]["properties"]["limit"]["type"] == "integer"
