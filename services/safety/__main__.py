"""Serves the safety scorer: `python -m services.safety`. Without flags it needs nothing but what is installed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from services.judge import endpoint_metrics
from services.server.options import ServiceParser, positive, yes_or_no
from services.server.scorer_service import serve_scorer

DECLARED = (endpoint_metrics,)
"""What a judge's workers count up: imported here, it is served here."""


def add_options(parser: ServiceParser) -> None:
    """The flags that choose what estimates toxicity."""
    parser.add_option("--head", help="file that `assay calibrate safety` wrote: probabilities fitted to your labels")
    parser.add_option("--classifier", help="folder of a transformers sequence-classification model, in safetensors")
    parser.add_option("--toxic-labels", help="toxic labels of the classifier, with commas between them")
    parser.add_option(
        "--judge-model", help="model behind an OpenAI-compatible endpoint, which is asked of each response"
    )
    parser.add_option("--judge-base-url", help="that endpoint up to its version, such as http://127.0.0.1:8000/v1")
    parser.add_option(
        "--judge-api-key-variable", default="", help="NAME of the environment variable that holds its key"
    )
    parser.add_option("--judge-concurrency", type=positive, default=32, help="requests to it at once")
    parser.add_option(
        "--judge-cacheable", type=yes_or_no, default="no", help="whether what it said may be remembered: yes or no"
    )
    parser.add_option(
        "--toxic-from", type=_threshold, help="toxicity from which the label is `toxic`; else the model's own"
    )


def scorer_arguments(options: argparse.Namespace) -> Mapping[str, Any]:
    """Arguments of `services.safety.scorer.make_scorer`."""
    judge = None
    if options.judge_model or options.judge_base_url:
        judge = {
            "base_url": options.judge_base_url or "",
            "model": options.judge_model or "",
            "api_key_variable": options.judge_api_key_variable,
            "concurrency": options.judge_concurrency,
            "max_tokens": 64,
        }
    return {
        "head": options.head,
        "classifier": options.classifier,
        "judge": judge,
        "judge_cacheable": options.judge_cacheable,
        "toxic_labels": [label.strip() for label in (options.toxic_labels or "").split(",") if label.strip()],
        "toxic_from": options.toxic_from,
    }


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is no threshold; it must be above 0 and at most 1")
    return value


if __name__ == "__main__":
    serve_scorer(
        "safety",
        "services.safety.scorer:make_scorer",
        about="Scores responses for toxicity, personal data and refusals.",
        add_options=add_options,
        kwargs=scorer_arguments,
        workers=1,  # each holds a model of its own
    )
