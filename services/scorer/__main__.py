"""Serves a user's own scorer, named by import path: `python -m services.scorer --scorer my_package.my_module:MyScorer`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from services.server.options import ServiceParser
from services.server.scorer_service import serve_scorer


def add_options(parser: ServiceParser) -> None:
    """The flags that name the scorer."""
    about = "import path package.module:Class; the working directory is searched too"
    parser.add_option("--scorer", required=True, help=about)
    parser.add_option("--scorer-kwargs", type=_json_object, default="{}", help="the scorer's arguments, a JSON object")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"a JSON {type(value).__name__}; it must be an object of keyword arguments")
    return value


if __name__ == "__main__":
    serve_scorer(
        "scorer",
        lambda options: options.scorer,
        about="Serves a scorer of your own with batching, deadlines, health and metrics.",
        add_options=add_options,
        kwargs=lambda options: options.scorer_kwargs,
    )
