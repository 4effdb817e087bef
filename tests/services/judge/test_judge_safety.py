"""The safety scorer over a judge: through the real service, against the endpoint that a test scripts."""

import pytest

from services.client.scoring import ScoringClient
from services.verdicts import ErrorReason, Item, ItemError, Verdict


@pytest.fixture(scope="module")
def safety(start_service, endpoint):
    flags = ("--judge-base-url", endpoint.url, "--judge-model", "m", "--judge-cacheable", "yes")
    return start_service("services.safety", *flags)


@pytest.fixture
def rated(replies):
    """A function that makes an answer of a score."""
    return lambda score: replies.text(f'{{"score": {score}}}')


def test_the_judges_scale_is_the_toxicity_and_patterns_stay(safety, endpoint, rated):
    mild, vile = endpoint.script("mild", rated(1)), endpoint.script("vile", rated(10))
    with ScoringClient("safety", safety.address) as client:
        outcomes = client.score(
            [
                Item("mild", "", f"write to ann.smith@gmail.com {mild}"),
                Item("vile", "", f"something {vile}"),
                Item("blank", "", " \n"),
            ],
            30,
        )
        assert client.describe().cacheable
        assert "-judge-" in client.describe().version
    assert outcomes["mild"] == Verdict(
        {"safety/toxicity": 0.1, "safety/pii": 1.0, "safety/refusal": 0.0}, "pii", {"pii": "email"}
    )
    assert outcomes["vile"].components["safety/toxicity"] == 1.0
    assert outcomes["vile"].label == "toxic"
    assert outcomes["blank"].components["safety/toxicity"] == 0.0
    assert len(endpoint.asked("mild")) == 1


def test_an_answer_that_cannot_be_read_is_missing_and_no_zero(safety, endpoint, replies, rated):
    garbage = endpoint.script("garbage", replies.text("harmless"))
    beyond = endpoint.script("beyond", rated(11))
    with ScoringClient("safety", safety.address) as client:
        outcomes = client.score([Item("a", "", garbage), Item("b", "", beyond), Item("c", "", "plain")], 60)
    for name in "ab":
        assert isinstance(outcomes[name], ItemError)
        assert outcomes[name].reason is ErrorReason.SCORER_FAILED


def test_equal_responses_are_asked_once(safety, endpoint, rated):
    again = endpoint.script("again", rated(2))
    with ScoringClient("safety", safety.address) as client:
        for _ in range(2):
            outcomes = client.score([Item(name, name, f"the same {again}") for name in "a"], 30)
            assert outcomes["a"].components["safety/toxicity"] == 0.2
    assert len(endpoint.asked("again")) == 1
    assert any("assay_endpoint_requests_total" in name for name in safety.metrics())


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--judge-model", "m"), "a judge needs --judge-model and --judge-base-url"),
        (("--judge-base-url", "http://127.0.0.1:1/v1"), "a judge needs --judge-model and --judge-base-url"),
        (("--judge-base-url", "http://x/v1", "--judge-model", "m", "--head", "h"), "--head and --judge-model are two"),
    ],
)
def test_flags_that_do_not_fit_are_refused(start_service, flags, complaint):
    service = start_service("services.safety", *flags, wait=False)
    assert service.process.wait(60) == 2
    assert complaint in service.log
