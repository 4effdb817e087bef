"""What the judge is told: flags, variables, keys, rubric files; and what it does with an endpoint that is not there."""

import asyncio
import json
import os
import subprocess
import sys

import pytest
import typer

from services.client.scoring import ScoringClient
from services.judge.__main__ import SETTINGS
from services.judge.pauses import retry_after
from services.judge.rubrics import BUILT_IN, read_rubrics
from services.judge.scorer import JudgeScorer
from services.judge.settings import Settings
from services.server.errors import StartError
from services.stack import default_services
from services.verdicts import ErrorReason, Item, ItemError, Verdict
from trainer.cli.services import only
from trainer.components import described
from trainer.config import JobConfig

URL = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/v1", "write it like http://127.0.0.1:8000/v1"),
        ("127.0.0.1:8000", "write it like"),
        ("http://", "write it like"),
        ("http://host:99999/v1", "not an address"),
        ("http://host/v1?key=hidden", "write it like"),
        ("https://user:hidden@host/v1", "holds a user or a password"),
    ],
)
def test_a_base_url_that_cannot_be_is_refused_without_its_secrets(url, words):
    with pytest.raises(StartError) as refused:
        Settings(url, "m")
    assert words in str(refused.value) and "hidden" not in str(refused.value)


def test_the_url_and_the_host_of_requests():
    settings = Settings("https://judge.example:8443/api/v1/", "m")
    assert (settings.url, settings.host) == ("https://judge.example:8443/api/v1/chat/completions", "judge.example:8443")


def test_a_key_is_read_from_its_variable_and_nowhere_else(monkeypatch):
    assert Settings(URL, "m").headers() == {}
    monkeypatch.setenv("A_KEY", " sk-1\n")
    assert Settings(URL, "m", "A_KEY").headers() == {"Authorization": "Bearer sk-1"}
    assert "sk-1" not in repr(Settings(URL, "m", "A_KEY"))
    monkeypatch.setenv("A_KEY", "two words-secret")
    with pytest.raises(StartError) as refused:
        Settings(URL, "m", "A_KEY").headers()
    assert "A_KEY" in str(refused.value) and "secret" not in str(refused.value)
    with pytest.raises(StartError, match="NO_SUCH_KEY is not set"):
        Settings(URL, "m", "NO_SUCH_KEY").headers()


def test_every_setting_is_a_flag():
    assert set(SETTINGS) == set(Settings.__slots__)


@pytest.mark.parametrize("name", ["messages", "model", "stream", "response_format"])
def test_further_fields_cannot_take_the_place_of_what_is_asked(name):
    with pytest.raises(StartError, match=name):
        Settings(URL, "m", extra_body={name: 1})


def scorer(**more):
    settings = {"base_url": URL, "model": "m", **more.pop("settings", {})}
    return JudgeScorer(settings=settings, **more)


def test_verdicts_are_remembered_only_where_the_operator_says_so_and_chance_has_no_part():
    assert scorer().cacheable is False
    assert scorer(cacheable=True).cacheable is True
    for settings in ({"temperature": 0.7}, {"extra_body": {"temperature": 0.7}}, {"extra_body": {"temperature": None}}):
        with pytest.raises(StartError, match="--temperature is 0"):
            scorer(cacheable=True, settings=settings)


@pytest.mark.parametrize(
    ("settings", "repeatable"),
    [({}, True), ({"temperature": 0.1}, False), ({"extra_body": {"temperature": None}}, False)],
)
def test_a_verdict_that_chance_had_a_part_in_says_so(endpoint, settings, repeatable):
    (verdict,) = asyncio.run(scorer(settings={"base_url": endpoint.url, **settings}).score([Item("it", "p", "r")]))
    assert isinstance(verdict, Verdict) and verdict.repeatable is repeatable


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b" " * (5 * 1024 * 1024), {}), (b"no gzip at all", {"Content-Encoding": "gzip"})],
    ids=["huge", "gzip"],
)
def test_a_body_that_is_huge_or_cannot_be_unpacked_is_a_broken_connection(endpoint, replies, body, headers):
    script = endpoint.script(f"broken{len(body)}", replies.Reply(body, headers=headers))
    judge = scorer(settings={"base_url": endpoint.url, "tries": 2})
    (error,) = asyncio.run(judge.score([Item("it", "p", script)]))
    assert isinstance(error, ItemError) and error.reason is ErrorReason.UNAVAILABLE
    assert "breaks the connection (2 tries)" in error.message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *(
            ("7", 7.0),
            ("0.5", 0.5),
            ("-3", 0.0),
            ("nan", None),
            ("inf", None),
            ("soon", None),
            ("", None),
            (None, None),
        ),
        *(("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("Wed, 99 Oct 2015", None)),
    ],
)
def test_retry_after_is_read_or_left(header, seconds):
    assert retry_after(header) == seconds


def test_the_version_changes_with_everything_that_changes_a_verdict(tmp_path):
    file = tmp_path / "rubrics.toml"
    file.write_text('[rubrics.helpfulness]\ncriteria = "Is it any good?"\n')
    other = tmp_path / "other.toml"
    other.write_text('preference = "The shorter one."\n')
    versions = [
        scorer(**how).version
        for how in (
            {},
            {"reasons": False},
            {"rubrics": ["coherence"]},
            {"rubric_file": str(file)},
            {"rubric_file": str(other)},
            {"settings": {"model": "n"}},
            {"settings": {"temperature": 0.5}},
            {"settings": {"max_tokens": 5}},
            {"settings": {"base_url": "http://127.0.0.1:8/v1"}},
            {"settings": {"extra_body": {"seed": 1}}},
        )
    ]
    assert len(set(versions)) == len(versions)
    assert scorer().version == versions[0]
    assert scorer(settings={"concurrency": 3, "tries": 1, "prompt_price": 9.0}).version == versions[0]


GOOD_FILE = """
preference = "The kinder one."

[rubrics.brevity]
criteria = "10: short. 0: long."
low = 0
high = 10
template = "Topic {topic}: {prompt} / {response} / {unknown braces} {}"

[rubrics.helpfulness]
criteria = "Ours instead."
"""


def test_a_file_of_rubrics_adds_to_those_of_assay(tmp_path):
    (tmp_path / "r.toml").write_text(GOOD_FILE)
    file = read_rubrics(str(tmp_path / "r.toml"))
    assert set(file.rubrics) == {*BUILT_IN, "brevity"}
    assert file.rubrics["brevity"].fields == {"topic", "prompt", "response"}
    assert file.rubrics["brevity"].normalised(7) == 0.7
    assert (file.rubrics["helpfulness"].criteria, file.preference) == ("Ours instead.", "The kinder one.")
    as_json = {"rubrics": {"brevity": {"criteria": "c"}}}
    (tmp_path / "r.json").write_text(json.dumps(as_json))
    assert read_rubrics(str(tmp_path / "r.json")).rubrics["brevity"].high == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[rubrics.a]", "rubrics.a.criteria: Field required"),
        ('[rubrics.a]\ncriteria = "c"\ntemplate = "{prompt}"', "template has no {response}"),
        ('[rubrics.a]\ncriteria = "c"\ntemplate = "{response} {rival}"', "template has {rival}"),
        ('[rubrics.a]\ncriteria = "c"\nlow = 5', "high is 5; it must be 6 to 105"),
        ('[rubrics.a]\ncriteria = "c"\nhigh = 1000', "high is 1000; it must be 2 to 101"),
        ('[rubrics."Bad name"]\ncriteria = "c"', "should match pattern"),
        ('[rubrics.preference]\ncriteria = "c"', "no rubric may be called 'preference'"),
        ("[rubrics", "r.toml"),
        ("weights = 1", "weights: Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_in_a_file_of_rubrics_is_said(tmp_path, text, words):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(StartError) as refused:
        read_rubrics(str(tmp_path / "r.toml"))
    assert words in str(refused.value)


def test_a_file_that_is_not_there_and_a_rubric_that_is_none():
    with pytest.raises(StartError, match="No such file"):
        read_rubrics("/nowhere/r.toml")
    with pytest.raises(StartError, match="--rubrics: 'nonsense' is none of helpfulness"):
        scorer(rubrics=["nonsense"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "m"], "--base-url"),
        (["--base-url", URL, "--model", "m", "--api-key-variable", "NOT_SET_HERE"], "NOT_SET_HERE is not set"),
        (["--base-url", URL, "--model", "m", "--temperature", "-1"], "at least 0"),
        (["--base-url", URL, "--model", "m", "--extra-body", "[]"], "must be an object"),
        (["--base-url", URL, "--model", "m", "--cacheable", "maybe"], "neither yes nor no"),
    ],
)
def test_the_service_does_not_start_with_what_cannot_be(flags, words):
    command = [sys.executable, "-m", "services.judge", "--port", "0", "--metrics-port", "0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_an_endpoint_that_is_down_is_unavailable_and_serves_when_it_is_back(start_service, free_port):
    flags = ("--base-url", f"http://127.0.0.1:{free_port}/v1", "--model", "m", "--tries", "2")
    service = start_service("services.judge", *flags)
    with ScoringClient("judge", service.address) as client:
        outcome = client.score([Item("it", "p", "r")], 60)["it"]
    assert isinstance(outcome, ItemError) and outcome.reason is ErrorReason.UNAVAILABLE and outcome.reason.may_retry
    assert (
        f"127.0.0.1:{free_port} cannot be reached, or breaks the connection (2 tries); see --base-url"
        in outcome.message
    )


def test_flags_come_from_variables_and_own_rubrics_have_components(start_service, endpoint, replies, tmp_path):
    (tmp_path / "r.toml").write_text(GOOD_FILE)
    service = start_service(
        "services.judge",
        ASSAY_JUDGE_BASE_URL=endpoint.url,
        ASSAY_JUDGE_MODEL="from-variable",
        ASSAY_JUDGE_RUBRIC_FILE=str(tmp_path / "r.toml"),
        ASSAY_JUDGE_REASONS="no",
        ASSAY_JUDGE_EXTRA_BODY='{"max_tokens": null, "max_completion_tokens": 9}',
    )
    script = endpoint.script("own", replies.text('{"score": 7}'))
    checks = {"rubrics": ["brevity"], "fields": {"topic": "{response} is mine"}}
    with ScoringClient("judge", service.address) as client:
        names = {component.name for component in client.describe().components}
        assert names == {f"judge/{name}" for name in (*BUILT_IN, "brevity", "preference")}
        outcome = client.score([Item("it", "p", script, checks)], 60)["it"]
        missing = client.score([Item("it", "p", "r", {"rubrics": ["brevity"]})], 60)["it"]
    assert outcome == Verdict({"judge/brevity": 0.7}, "judged", {"brevity": "7 of 0 to 10"})
    assert isinstance(missing, ItemError) and missing.message.startswith("checks.fields.topic: the rubric 'brevity'")
    (body,) = endpoint.asked("own")
    assert body["model"] == "from-variable" and body["max_completion_tokens"] == 9 and "max_tokens" not in body
    text = body["messages"][1]["content"]
    assert "{response} is mine" in text and "{unknown braces} {}" in text, "texts are not templates"


def test_structured_output_is_given_up_only_where_the_endpoint_never_took_it(start_service, endpoint, replies):
    def plain_only(body):
        return replies.status(400) if "response_format" in body else replies.text('Sure: {"reason": "r", "score": 5}')

    service = start_service("services.judge", "--base-url", endpoint.url, "--model", "m")
    with ScoringClient("judge", service.address) as client:
        first = client.score([Item("it", "p", endpoint.script("plain", plain_only))], 60)["it"]
        second = client.score([Item("it", "p", "script-plain again")], 60)["it"]
    assert first == second and isinstance(first, Verdict) and first.components == {"judge/helpfulness": 1.0}
    assert ["response_format" in body for body in endpoint.asked("plain")] == [True, False, False]
    assert "the endpoint refuses structured output" in service.log


def test_the_stack_has_the_judge_where_its_variable_is_set(monkeypatch):
    monkeypatch.delenv("ASSAY_JUDGE_BASE_URL", raising=False)
    assert "judge" not in {spec.name for spec in default_services()}
    with pytest.raises(typer.BadParameter, match="set ASSAY_JUDGE_BASE_URL"):
        only(["judge"], default_services())
    monkeypatch.setenv("ASSAY_JUDGE_BASE_URL", URL)
    assert [spec.name for spec in only(["judge"], default_services())] == ["judge"]


def test_assay_score_asks_the_judge(endpoint, tmp_path):
    rows = [{"prompt": "p", "response": f"r{n}", "expected": False} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    variables = {"ASSAY_JUDGE_BASE_URL": endpoint.url, "ASSAY_JUDGE_MODEL": "m"}
    done = subprocess.run(
        [sys.executable, "-m", "trainer.cli", "score", "--domain", "judge", str(tmp_path / "rows.jsonl")],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 scored, 0 missing (judged 3); means: judge/helpfulness 0.7500" in done.stdout


def test_a_job_knows_the_judges_components_and_those_of_the_file(monkeypatch, tmp_path):
    (tmp_path / "r.toml").write_text(GOOD_FILE)

    class Job:
        rewards = type("Rewards", (), {"custom": {}})

        def scorer_names(self):
            return ["judge"]

    job: JobConfig = Job()  # type: ignore[assignment]
    monkeypatch.delenv("ASSAY_JUDGE_RUBRIC_FILE", raising=False)
    assert {"judge/helpfulness", "judge/preference"} <= set(described(job).components)
    assert "judge/brevity" not in described(job).components
    monkeypatch.setenv("ASSAY_JUDGE_RUBRIC_FILE", str(tmp_path / "r.toml"))
    assert "judge/brevity" in described(job).components and described(job).problems == []
    monkeypatch.setenv("ASSAY_JUDGE_RUBRIC_FILE", "/nowhere/r.toml")
    assert described(job).problems == [
        "ASSAY_JUDGE_RUBRIC_FILE: rubric file /nowhere/r.toml: No such file or directory"
    ]
