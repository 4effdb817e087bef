"""Serves a user's own scorer, named by import path: `python -m services.scorer --scorer my_package.my_module:MyScorer`."""

from __future__ import annotations

from services.server.options import ServiceParser, json_object
from services.server.scorer_service import serve_scorer


def add_options(parser: ServiceParser) -> None:
    """The flags that name the scorer."""
    about = "import path package.module:Class; the working directory is searched too"
    parser.add_option("--scorer", required=True, help=about)
    parser.add_option("--scorer-kwargs", type=json_object, default="{}", help="the scorer's arguments, a JSON object")


if __name__ == "__main__":
    serve_scorer(
        "scorer",
        lambda options: options.scorer,
        about="Serves a scorer of your own with batching, deadlines, health and metrics.",
        add_options=add_options,
        kwargs=lambda options: options.scorer_kwargs,
    )
