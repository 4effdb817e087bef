"""Serves the judge: `python -m services.judge`. Needs an OpenAI-compatible endpoint, at ASSAY_JUDGE_BASE_URL."""

from __future__ import annotations

import argparse
from typing import Any

from services.judge import endpoint_metrics, judge_metrics
from services.judge.settings import Settings
from services.server.options import ServiceParser, json_object, positive, seconds, yes_or_no
from services.server.scorer_service import serve_scorer

DECLARED = (endpoint_metrics, judge_metrics)
"""What the workers count up: imported here, it is served here."""
SETTINGS = (
    *("base_url", "model", "api_key_variable", "concurrency", "temperature", "max_tokens", "request_seconds"),
    *("connect_seconds", "tries", "answers", "prompt_price", "completion_price", "extra_body"),
)
"""Fields of `Settings`, each of which is a flag."""


def add_options(parser: ServiceParser) -> None:
    """The flags of this service."""
    usual = Settings("http://127.0.0.1:8000/v1", "any")
    add = parser.add_option
    add("--base-url", required=True, help="the endpoint up to its version, such as http://127.0.0.1:8000/v1")
    add("--model", required=True, help="the model's name there")
    add("--api-key-variable", default="", help="NAME of the environment variable that holds the key; else none is sent")
    add("--concurrency", type=positive, default=usual.concurrency, help="items, and requests, at once in a worker")
    add("--temperature", type=amount, default=usual.temperature, help="0 for verdicts that would come again")
    add("--max-tokens", type=positive, default=usual.max_tokens, help="longest answer")
    add("--item-seconds", type=seconds, default=120.0, help="default time of an item, all its requests together")
    add(
        "--request-seconds",
        type=seconds,
        default=usual.request_seconds,
        help="time of a request until it is made again",
    )
    add("--connect-seconds", type=seconds, default=usual.connect_seconds, help="time until a connection is open")
    add("--tries", type=positive, default=usual.tries, help="requests for an answer while the endpoint is busy or gone")
    add("--answers", type=positive, default=usual.answers, help="answers asked for until one can be read")
    add("--prompt-price", type=amount, default=0.0, help="price of a million tokens sent, for the metrics")
    add("--completion-price", type=amount, default=0.0, help="price of a million tokens written, for the metrics")
    add(
        "--extra-body",
        type=json_object,
        default="{}",
        help="further fields of every request, a JSON object; null omits one",
    )
    add("--rubrics", type=names, default="helpfulness", help="rubrics of items that name none, with commas between")
    add("--rubric-file", help="rubrics of your own, TOML, or JSON if it ends in .json")
    add("--reasons", type=yes_or_no, default="yes", help="whether the judge gives a reason before it judges: yes or no")
    add("--cacheable", type=yes_or_no, default="no", help="whether verdicts may be remembered: yes or no")


def scorer_kwargs(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `services.judge.scorer.JudgeScorer`."""
    return {
        "settings": {name: getattr(options, name) for name in SETTINGS},
        "rubrics": options.rubrics,
        "rubric_file": options.rubric_file,
        "reasons": options.reasons,
        "cacheable": options.cacheable,
        "item_seconds": options.item_seconds,
    }


def amount(text: str) -> float:
    """A finite number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} does not fit; it must be a finite number of at least 0")
    return value


def names(text: str) -> list[str]:
    """Names with commas between; none in an empty text."""
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    serve_scorer(
        "judge",
        "services.judge.scorer:JudgeScorer",
        about="Scores responses by asking a language model behind an OpenAI-compatible endpoint.",
        add_options=add_options,
        kwargs=scorer_kwargs,
        workers=1,  # it waits; one process holds all connections
    )
