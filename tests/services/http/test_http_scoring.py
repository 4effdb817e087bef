"""Scores over HTTP: totals by hand, null where a part is missing, refusals that name a field and quote no text."""

import json

import pytest

SECRET = "XYZZY-4711"


def item(domain="math", response="It is \\boxed{4}", **more):
    return {"domain": domain, "prompt": "2 + 2 = ?", "response": response, **more}


def test_items_are_scored_by_their_domain_and_weighed(server, post):
    items = [
        item(id="right", checks={"gold": "4"}),
        item(id="wrong", checks={"gold": "5"}),
        item("both", "value 0.25", prompt=None, messages=[{"role": "user", "content": "Say it."}]),
    ]
    answer = post(server.address, "/v1/score", {"items": items})
    assert answer.status == 200
    right, wrong, both = answer.json["results"]
    assert (right["id"], right["total"], right["labels"]) == ("right", 2.0, {"math": "correct"})
    assert (wrong["id"], wrong["total"], wrong["labels"]) == ("wrong", 0.0, {"math": "wrong"})
    assert (both["id"], both["total"]) == ("2", 0.25 - 0.5)
    assert both["components"]["brevity/keywords"] == 0.0  # the server's option
    assert both["evidence"]["puppet"] == {"said": "something"}
    assert right["missing"] == {} and right["messages"] == {}


def test_a_request_has_weights_and_options_of_its_own(server, post):
    body = {
        "items": [item("brevity", "alpha gamma"), item("brevity", "gamma", checks={"keywords": ["x"]})],
        "weights": {"brevity/keywords": 4.0},
        "options": {"brevity": {"keywords": ["gamma"]}},
    }
    first, second = post(server.address, "/v1/score", body).json["results"]
    assert (first["total"], second["total"]) == (4.0, 0.0)


def test_a_total_with_a_part_missing_is_null_and_never_a_number(server, post):
    items = [item(), item("half", "short"), item("both", "raise"), item("brevity", "short"), item("puppet", "exit")]
    answer = post(server.address, "/v1/score", {"items": items, "timeout_seconds": 20})
    no_gold, half, raised, unweighed, died = answer.json["results"]
    assert [one["total"] for one in (no_gold, half, raised, died)] == [None] * 4
    assert no_gold["missing"] == {"math": "INVALID_ITEM"}
    assert no_gold["messages"] == {"math": "checks.gold: Field required"}
    assert half["components"]["brevity/short"] == 1.0 and half["missing"] == {"gone": "UNAVAILABLE"}
    assert raised["missing"] == {"puppet": "SCORER_FAILED"}
    assert died["missing"] == {"puppet": "WORKER_DIED"} and died["components"] == {}
    assert unweighed["total"] == -0.5


def test_what_nothing_weighs_has_no_total_and_says_so(server, post):
    answer = post(
        server.address, "/v1/score", {"items": [item("brevity", "short")], "weights": {"math/correctness": 1}}
    )
    (result,) = answer.json["results"]
    assert (result["total"], result["missing"]) == (None, {})
    assert result["messages"] == {"total": "no component has a weight"}


def test_the_same_batch_twice_is_the_same_answer_byte_for_byte(server, post):
    body = {"items": [item(checks={"gold": gold}) for gold in "3456"] + [item("both", "value 0.5")]}
    first, second = (post(server.address, "/v1/score", body).body for _ in range(2))
    assert first == second
    for result in json.loads(first)["results"]:
        for found in (result["components"], *result["evidence"].values()):
            assert list(found) == sorted(found)


def test_no_items_are_no_results(server, post):
    assert post(server.address, "/v1/score", {"items": []}).json == {"results": []}


WRONG = [
    ({"items": [item() | {"domain": 7}]}, "items.0.domain"),
    ({"items": [item(), {"response": SECRET}]}, "items.1.domain"),
    ({"items": [{"domain": "math"}]}, "items.0.response"),
    ({"items": [item(response=[SECRET])]}, "items.0.response"),
    ({"items": [item(response="\ud800" + SECRET)]}, "without lone surrogates"),
    ({"items": [item(answer=SECRET)]}, "items.0.answer"),
    ({"items": [item(checks=SECRET)]}, "items.0.checks"),
    ({"items": [item(checks={"gold": float("nan")})]}, "checks"),
    ({"items": [item(messages=[{"role": "user", "content": SECRET}])]}, "items.0: give `prompt` or `messages`"),
    ({"items": [item(prompt=None, messages=[{"role": "user"}])]}, "items.0.messages.0.content"),
    ({"items": [item(id="a"), item(id="a")]}, "two items have the same id"),
    ({"items": [item(id="")]}, "items.0.id"),
    ({"items": [item(timeout_seconds=-1)]}, "items.0.timeout_seconds"),
    ({"items": [item(SECRET)]}, "items.0.domain: nobody scores it; there are both, half, "),
    ({"items": [item()] * 4097}, "items"),
    ({"items": [item()], "weights": {"math/correctness": float("inf")}}, "weights.math/correctness"),
    ({"items": [item()], "weights": {"math/correctness": SECRET}}, "weights.math/correctness"),
    ({"items": [item()], "options": {"math": {"perzent": "ratio"}}}, "unknown key 'perzent'"),
    ({"items": [item()], "options": {"math": 3}}, "options.math"),
    ({"items": [item()], "timeout_seconds": 0}, "timeout_seconds"),
    ({"item": []}, "items: Field required"),
    ([], "body: must be a JSON object"),
    (b"", "body: must be a JSON object"),
    (b'{"items": [' + SECRET.encode(), "body: is not JSON, from character 11 on"),
    (b"[" * 100_000, "body"),
    (b'{"items": ' + b"9" * 10_000 + b"}", "body"),
    (b"\xff\xfe" + SECRET.encode(), "body: is not JSON, from character 0 on"),
]


@pytest.mark.parametrize(("body", "part"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_wrong_is_named_and_never_quoted(server, post, body, part):
    answer = post(server.address, "/v1/score", body)
    if answer.status == 200:  # an item's own fault is its own
        (result,) = answer.json["results"]
        assert result["total"] is None and set(result["missing"].values()) == {"INVALID_ITEM"}
        assert part in json.dumps(result["messages"])
    else:
        assert answer.status in (400, 422)
        assert part in answer.error
    assert SECRET not in answer.body.decode()


def test_scorers_describe_themselves(server, get):
    answer = get(server.address, "/v1/scorers").json
    found = {scorer["name"]: scorer for scorer in answer["scorers"]}
    assert list(found) == ["puppet", "brevity", "gone", "math"]
    assert found["brevity"]["components"][0]["name"] == "brevity/short"
    assert "gold" in found["math"]["checks_schema"]["properties"]
    assert found["gone"]["ready"] is False and "127.0.0.1:1" in found["gone"]["message"]
    assert answer["routes"] == {"both": ["puppet", "brevity"], "half": ["brevity", "gone"]}
    assert answer["weights"]["math/correctness"] == 2.0


def test_health_readiness_metrics_and_the_openapi_page(server, get, post):
    assert get(server.address, "/healthz").json == {"status": "ok"}
    ready = get(server.address, "/readyz")
    assert ready.status == 503
    assert ready.json == {"scorers": {"puppet": True, "brevity": True, "gone": False, "math": True}}
    before = server.metrics().get('assay_requests_total{code="200",method="/v1/score"}', 0)
    post(server.address, "/v1/score", {"items": []})
    assert server.metrics()['assay_requests_total{code="200",method="/v1/score"}'] == before + 1
    schema = get(server.address, "/openapi.json").json
    assert set(schema["paths"]) == {"/v1/score", "/v1/openrlhf", "/v1/scorers", "/healthz", "/readyz", "/metrics"}
    assert get(server.address, "/docs").status == 200
    assert get(server.address, "/nowhere").status == 404
    assert get(server.address, "/v1/score").status == 405


def test_what_openrlhf_posts(server, post):
    body = {"query": ["<s>2 + 2? \\boxed{4}</s>"], "prompts": ["2 + 2? "], "labels": ["4"]}
    assert post(server.address, "/v1/openrlhf", body).json == {
        "rewards": 2.0,
        "scores": 2.0,
        "extra_logs": {"math/correctness": 1.0, "math/format": 1.0, "math/syntax": 1.0},
    }
    two = {name: values * 2 for name, values in body.items()} | {"labels": ["4", "5"]}
    assert post(server.address, "/v1/openrlhf?domain=math", two).json["rewards"] == [2.0, 0.0]
    as_checks = body | {"labels": ['{"gold": "5"}']}
    assert post(server.address, "/v1/openrlhf?check=", as_checks).json["rewards"] == 0.0


def test_openrlhf_is_told_of_no_number_that_nobody_chose(server, post):
    body = {"query": ["2 + 2? \\boxed{4}"], "prompts": ["2 + 2?"], "labels": [None]}
    refused = post(server.address, "/v1/openrlhf", body)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert "1 of 1 have no reward; the first: math: INVALID_ITEM: checks.gold" in refused.error
    assert post(server.address, "/v1/openrlhf?missing=-1", body).json["rewards"] == -1.0
    elsewhere = post(server.address, "/v1/openrlhf", body | {"prompts": [SECRET]})
    assert elsewhere.status == 422 and "query 0 does not hold its prompt" in elsewhere.error
    assert SECRET not in elsewhere.error
    assert "the same length" in post(server.address, "/v1/openrlhf", body | {"labels": []}).error
