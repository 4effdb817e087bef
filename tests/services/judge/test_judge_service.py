"""The judge over gRPC, with an endpoint that is slow, busy, broken, wrong or lied to."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.client.scoring import ScoringClient
from services.verdicts import ErrorReason, Item, ItemError, Verdict

KEY = "sk-very-secret-0123456789"
FLAGS = (
    "--model",
    "tiny-judge",
    "--concurrency",
    "8",
    "--max-tokens",
    "77",
    "--request-seconds",
    "1.5",
    "--tries",
    "4",
)
PRICES = ("--prompt-price", "2.5", "--completion-price", "10", "--api-key-variable", "MY_KEY")


@pytest.fixture(scope="module")
def judge(start_service, endpoint):
    return start_service("services.judge", "--base-url", endpoint.url, *FLAGS, *PRICES, MY_KEY=KEY)


@pytest.fixture(scope="module")
def client(judge):
    with ScoringClient("judge", judge.address) as client:
        yield client


def one(client, response, seconds=60.0, *, prompt="What is 2 + 2?", timeout=0.0, **checks):
    """The outcome of one item."""
    return client.score([Item("it", prompt, response, checks, timeout_seconds=timeout)], seconds)["it"]


def helpfulness(outcome):
    assert isinstance(outcome, Verdict), outcome
    return outcome.components["judge/helpfulness"]


def failure(outcome, reason):
    assert isinstance(outcome, ItemError), outcome
    assert outcome.reason is reason, outcome
    return outcome.message


@pytest.mark.parametrize(("score", "value"), [(1, 0.0), (2, 0.25), (4, 0.75), (5, 1.0)])
def test_a_score_becomes_a_component(client, endpoint, replies, score, value):
    outcome = one(client, endpoint.script(f"score{score}", replies.score(score)))
    assert outcome == Verdict(
        {"judge/helpfulness": value}, "judged", {"helpfulness": f"{score} of 1 to 5; Because."}, repeatable=True
    )


def test_the_request_is_what_the_flags_say(client, endpoint):
    one(client, "script-request")
    (body,) = endpoint.asked("request")
    assert body["path"] == "/v1/chat/completions" and body["authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny-judge", 0.0, 77)
    form = body["response_format"]["json_schema"]
    assert form["strict"] is True and form["schema"]["additionalProperties"] is False
    assert form["schema"]["required"] == ["reason", "score"]
    assert form["schema"]["properties"]["score"]["enum"] == [1, 2, 3, 4, 5]


def test_equal_items_are_asked_in_equal_words_and_others_under_another_mark(client, endpoint):
    for response in ("script-same", "script-same", "script-same "):
        one(client, response)
    first, second, other = (body["messages"] for body in endpoint.asked("same"))
    assert first == second
    assert first[0] != other[0], "the system message names the mark"


def test_several_rubrics_are_several_requests(client, endpoint):
    outcome = one(
        client, "script-many", rubrics=["helpfulness", "correctness", "persona"], reference="4", persona="Bob"
    )
    assert outcome.components == dict.fromkeys(("judge/helpfulness", "judge/correctness", "judge/persona"), 0.75)
    shown = [body["messages"][1]["content"] for body in endpoint.asked("many")]
    assert len(shown) == 3 and sum("<<<reference " in text for text in shown) == 1


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        ({"rubrics": ["correctness"]}, "checks.reference: the rubric 'correctness' shows it, and the item has none"),
        ({"rubrics": ["nonsense"]}, "checks.rubrics[0]: no such rubric; there are helpfulness, correctness"),
        ({"rubrics": []}, "checks.rubrics: it names none, and without checks.rival"),
        ({"rubric": "x"}, "checks.rubric: Extra inputs are not permitted"),
    ],
)
def test_an_item_that_cannot_be_judged_costs_no_request(client, endpoint, checks, message):
    before = len(endpoint.requests)
    assert failure(one(client, "4", **checks), ErrorReason.INVALID_ITEM).startswith(message)
    assert len(endpoint.requests) == before


UNREADABLE = {
    "prose": "I would give this a 4 out of 5.",
    "cut": '{"reason": "It is',
    "above": '{"reason": "Great", "score": 6}',
    "below": '{"reason": "Bad", "score": 0}',
    "fraction": '{"reason": "So so", "score": 3.5}',
    "float": '{"reason": "So so", "score": 3.0}',
    "text": '{"reason": "So so", "score": "4"}',
    "truth": '{"reason": "So so", "score": true}',
    "list": "[4]",
    "nan": '{"reason": "So so", "score": NaN}',
    "more": '{"reason": "So so", "score": 4, "bonus": 1}',
    "less": '{"score": 4}',
    "double": '{"reason": "a", "score": 1, "score": 5}',
    "two": '{"reason": "a", "score": 1} or {"reason": "b", "score": 5}',
    "empty": "",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_answer_that_cannot_be_read_is_asked_for_again_and_then_missing(client, endpoint, replies, name):
    outcome = one(client, endpoint.script(f"bad_{name}", replies.text(UNREADABLE[name])))
    message = failure(outcome, ErrorReason.SCORER_FAILED)
    assert "gave 3 answers that cannot be read" in message
    first, second, third = endpoint.asked(f"bad_{name}")
    assert "could not be read" not in json.dumps(first)
    assert "could not be read" in second["messages"][-1]["content"] and len(second["messages"]) == 2
    assert UNREADABLE[name] == "" or UNREADABLE[name] not in message
    assert third["messages"] == second["messages"]
    again = one(client, endpoint.script(f"then_{name}", replies.text(UNREADABLE[name]), replies.score(2)))
    assert helpfulness(again) == 0.25


def test_a_truncated_answer_is_missing_even_where_it_reads(client, endpoint, replies):
    whole = '{"reason": "a", "score": 5}'
    message = failure(
        one(client, endpoint.script("length", replies.text(whole, finish="length"))), ErrorReason.SCORER_FAILED
    )
    assert "cut off at 77 tokens; --max-tokens gives them more" in message


@pytest.mark.parametrize("how", [{"finish": "content_filter"}, {"refusal": "I cannot."}])
def test_a_refusal_is_missing(client, endpoint, replies, how):
    name = next(iter(how))
    outcome = one(client, endpoint.script(f"refused_{name}", replies.text('{"reason": "a", "score": 5}', **how)))
    assert "the model refused" in failure(outcome, ErrorReason.SCORER_FAILED)


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"reason": "a", "score": 4}\n```',
        'Here it is:\n```\n{"reason": "a", "score": 4}\n```\nThat is all.',
        '<think>{"reason": "5 at first", "score": 5} no</think>\n{"reason": "a", "score": 4}',
        '  {"score": 4, "reason": "with a {brace} within"}\n',
    ],
)
def test_one_object_with_words_or_a_fence_around_it_is_read(client, endpoint, replies, text):
    assert helpfulness(one(client, endpoint.script(f"around{abs(hash(text))}", replies.text(text)))) == 0.75


def test_passing_trouble_is_waited_for(client, endpoint, replies):
    trouble = [replies.status(429), replies.status(500), replies.Reply(drop=True), replies.score(5)]
    assert helpfulness(one(client, endpoint.script("trouble", *trouble))) == 1.0
    pauses = [
        after - before for before, after in zip(endpoint.times["trouble"], endpoint.times["trouble"][1:], strict=False)
    ]
    assert len(pauses) == 3 and all(pause >= 0.125 * 2**place for place, pause in enumerate(pauses))


def test_retry_after_is_kept_to(client, endpoint, replies):
    busy = replies.status(429, **{"Retry-After": "1"})
    assert helpfulness(one(client, endpoint.script("patience", busy, replies.score(5)))) == 1.0
    first, second = endpoint.times["patience"]
    assert second - first >= 1.0


def test_patience_beyond_the_items_time_is_not_waited_for(client, endpoint, replies):
    start = time.monotonic()
    outcome = one(client, endpoint.script("hour", replies.status(429, **{"Retry-After": "3600"})), timeout=20.0)
    message = failure(outcome, ErrorReason.UNAVAILABLE)
    assert "answers 429 (1 try), and asks for 3.6e+03 seconds of patience" in message
    assert time.monotonic() - start < 10


def test_a_request_that_hangs_is_closed_and_made_again(client, endpoint, replies):
    assert helpfulness(one(client, endpoint.script("hang", replies.score(5, seconds=60), replies.score(2)))) == 0.25
    assert "hang" in endpoint.left


def test_a_request_that_is_answered_drop_by_drop_is_closed_and_made_again(client, endpoint, replies):
    drops = replies.Reply(b" " * 1000, drip_seconds=0.2)
    assert helpfulness(one(client, endpoint.script("drops", drops, replies.score(2)), timeout=30.0)) == 0.25


def test_an_item_has_no_more_than_its_time(client, endpoint, replies):
    outcome = one(client, endpoint.script("late", replies.score(5, seconds=60)), timeout=1.0)
    assert "gave no answer within 0.95 seconds" in failure(outcome, ErrorReason.DEADLINE)
    wait_for(lambda: "late" in endpoint.left)


@pytest.mark.parametrize("way", ["the caller leaves", "the call's time is up"])
def test_what_nobody_waits_for_is_closed(judge, endpoint, replies, way):
    name = f"leaves{len(way)}"
    item = scoring_pb2.ScoreItem(id="it", response=endpoint.script(name, replies.score(5, seconds=60)))
    with grpc.insecure_channel(judge.address) as channel:
        call = scoring_pb2_grpc.ScorerStub(channel).ScoreBatch.future(
            scoring_pb2.ScoreBatchRequest(items=[item]), timeout=60 if way == "the caller leaves" else 0.8
        )
        wait_for(lambda: endpoint.asked(name))
        if way == "the caller leaves":
            call.cancel()
        wait_for(lambda: name in endpoint.left)
    assert len(judge.workers()) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "answers 401 (SomeError): it wants another key than MY_KEY holds"),
        (403, "it wants another key than MY_KEY holds"),
        (404, "it has no model 'tiny-judge' (--model), or --base-url lacks its /v1"),
        (307, "--base-url has moved"),
        (400, "it refuses the request"),
        (422, "it refuses the request"),
    ],
)
def test_what_will_not_pass_is_said_at_once_without_texts_or_keys(judge, client, endpoint, replies, status, words):
    one(client, "script-before")  # from here on the endpoint is known for structured output
    message = failure(
        one(client, endpoint.script(f"status{status}", replies.status(status))), ErrorReason.SCORER_FAILED
    )
    assert words in message and f"127.0.0.1:{endpoint.server_port}" in message
    assert len(endpoint.asked(f"status{status}")) == 1
    assert "SECRET TEXT" not in message and KEY not in message


@pytest.mark.parametrize("word", ["sk-very-secret", "What is 2 + 2?", "x" * 41, 7, None])
def test_of_what_the_endpoint_says_only_a_plain_word_is_repeated(client, endpoint, replies, word):
    one(client, "script-before")
    body = json.dumps({"error": {"message": "SECRET", "code": word, "type": "plain_word"}}).encode()
    message = failure(
        one(client, endpoint.script(f"word{len(str(word))}", replies.Reply(body, 400))), ErrorReason.SCORER_FAILED
    )
    assert "answers 400 (plain_word): it refuses" in message


def test_keys_and_texts_are_in_no_log(judge, client, endpoint, replies):
    one(client, endpoint.script("logged", replies.status(401)), prompt="CONFIDENTIAL prompt")
    one(client, endpoint.script("garbled", replies.text("CONFIDENTIAL answer")), prompt="CONFIDENTIAL prompt")
    for secret in (KEY, "CONFIDENTIAL", "SECRET TEXT"):
        assert secret not in judge.log


def test_not_even_what_the_endpoint_says_again_is_in_the_log_of_everything(start_service, endpoint, replies):
    told = replies.Reply(replies.score(4).body, headers={"X-Echo": f"{KEY} CONFIDENTIAL"})
    flags = ("--base-url", endpoint.url, "--model", "m", "--api-key-variable", "MY_KEY", "--log-level", "debug")
    judge = start_service("services.judge", *flags, MY_KEY=KEY)
    with ScoringClient("judge", judge.address) as client:
        assert helpfulness(one(client, endpoint.script("echo", told))) == 0.75
    assert KEY not in judge.log and "CONFIDENTIAL" not in judge.log


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b'{"choices": [{"mess', b"[" * 10**6])
def test_a_body_that_is_no_completion_is_tried_again_and_then_missing(client, endpoint, replies, body):
    again = endpoint.script(f"once{len(body)}", replies.Reply(body), replies.score(5))
    assert helpfulness(one(client, again)) == 1.0
    always = endpoint.script(f"garbage{len(body)}", replies.Reply(body))
    message = failure(one(client, always), ErrorReason.SCORER_FAILED)
    assert "answers with what is no chat completion (4 tries)" in message
    assert len(endpoint.asked(f"garbage{len(body)}")) == 4


def test_a_pair_is_asked_in_both_orders(client, endpoint, replies):
    def wise(body):
        text = body["messages"][1]["content"]
        first = text.index("GOOD") < text.index("POOR")
        return replies.text(json.dumps({"reason": "Clear.", "better": "A" if first else "B"}))

    endpoint.script("pair", wise)
    outcome = one(client, "script-pair GOOD", rubrics=[], rival="POOR")
    assert outcome == Verdict(
        {"judge/preference": 1.0}, "preferred", {"preference": "the response in both orders; Clear.; Clear."}
    )
    outcome = one(client, "script-pair POOR", rubrics=[], rival="GOOD", reference="4")
    assert outcome.components == {"judge/preference": 0.0} and outcome.label == "rival_preferred"
    assert len(endpoint.asked("pair")) == 4


@pytest.mark.parametrize(("letter", "place"), [("A", "first"), ("B", "second")])
def test_a_judge_that_goes_by_the_place_is_found_out_and_counted(judge, client, endpoint, replies, letter, place):
    counter = f'assay_judge_pairs_total{{outcome="{place}"}}'
    before = judge.metrics().get(counter, 0)
    answer = replies.text(json.dumps({"reason": "It came so.", "better": letter}))
    outcome = one(client, endpoint.script(f"biased{letter}", answer), rubrics=[], rival="other")
    assert outcome.components == {"judge/preference": 0.5} and outcome.label == "undecided"
    assert f"what was shown {place} won twice" in outcome.evidence["preference"]
    assert judge.metrics()[counter] == before + 1


def test_a_question_without_an_answer_leaves_no_half_verdict(client, endpoint, replies):
    """And ends the other questions of its item."""

    def half(body):
        if "hang together" in body["messages"][1]["content"]:
            return replies.text("no idea")
        return replies.score(5, seconds=1.0)

    outcome = one(client, endpoint.script("half", half), rubrics=["helpfulness", "coherence"])
    failure(outcome, ErrorReason.SCORER_FAILED)
    wait_for(lambda: "half" in endpoint.left)


def test_tokens_cost_and_outcomes_are_counted_in_the_process_that_serves_them(judge, client, endpoint, replies):
    before = judge.metrics()
    script = endpoint.script(
        "paid",
        replies.status(503),
        replies.text("what?", prompt_tokens=1000, completion_tokens=50),
        replies.text('{"reason": "a", "score": 3}', prompt_tokens=2000, completion_tokens=150),
    )
    assert helpfulness(one(client, script)) == 0.5
    after = judge.metrics()

    def more(name):
        return after.get(name, 0) - before.get(name, 0)

    assert more('assay_endpoint_tokens_total{kind="prompt"}') == 3000
    assert more('assay_endpoint_tokens_total{kind="completion"}') == 200
    assert more("assay_endpoint_cost_total") == pytest.approx(3000 * 2.5e-6 + 200 * 10e-6)
    assert more('assay_endpoint_requests_total{outcome="200"}') == 2
    assert more('assay_endpoint_requests_total{outcome="503"}') == 1
    assert more('assay_endpoint_retries_total{after="503"}') == 1
    assert more('assay_endpoint_answers_total{outcome="not_json"}') == 1
    assert more('assay_endpoint_answers_total{outcome="fits"}') == 1
    assert more("assay_endpoint_request_seconds_count") == 3


def test_connections_and_requests_are_bounded_and_used_again(start_service, endpoint, replies):
    service = start_service("services.judge", "--base-url", endpoint.url, "--model", "m", "--concurrency", "4")
    endpoint.most_under_way = 0
    before = endpoint.connections
    script = endpoint.script("crowd", replies.score(5, seconds=0.02))
    with ScoringClient("judge", service.address) as client:
        items = [Item(str(n), "?", f"{script} {n}", {"rubrics": ["helpfulness", "coherence"]}) for n in range(40)]
        outcomes = client.score(items, 60)
    assert all(isinstance(outcome, Verdict) for outcome in outcomes.values())
    assert endpoint.most_under_way == 4
    assert endpoint.connections - before == 4


def test_the_same_batch_twice_is_the_same_to_the_byte(judge, client, endpoint):
    request = scoring_pb2.ScoreBatchRequest(
        items=[scoring_pb2.ScoreItem(id=str(n), prompt="?", response=f"answer {n}") for n in range(30)]
    )
    with grpc.insecure_channel(judge.address) as channel:
        stub = scoring_pb2_grpc.ScorerStub(channel)
        first, second = (stub.ScoreBatch(request, timeout=60).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_under_a_storm_of_faults_nothing_is_lost_or_scored_wrong(client, endpoint, replies):
    """Every item's right score is in its response; the endpoint fails in turn in every way."""
    turn, lock = iter(range(10**9)), threading.Lock()

    def stormy(body):
        text = body["messages"][1]["content"]
        right = int(text[text.index("RIGHT=") + 6])
        with lock:
            number = next(turn)
        faults = {
            0: replies.status(500), 3: replies.Reply(drop=True), 5: replies.status(429), 7: replies.text("{broken"),
            9: replies.Reply(b"<html>"),
        }  # fmt: skip
        return faults.get(number % 11) or replies.score(right)

    script = endpoint.script("storm", stormy)
    items = [Item(str(n), "?", f"{script} number {n} RIGHT={n % 5 + 1}") for n in range(60)]
    with ThreadPoolExecutor(2) as threads:
        halves = threads.map(lambda half: client.score(half, 60), (items[::2], items[1::2]))
        outcomes = {name: outcome for half in halves for name, outcome in half.items()}
    assert outcomes.keys() == {item.id for item in items}
    verdicts = {int(name): outcome for name, outcome in outcomes.items() if isinstance(outcome, Verdict)}
    assert len(verdicts) >= 50
    assert {n: helpfulness(outcome) for n, outcome in verdicts.items()} == {n: n % 5 / 4 for n in verdicts}


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
