"""Serves the coherence scorer: `python -m services.coherence`."""

from __future__ import annotations

from services.server.options import ServiceParser
from services.server.scorer_service import serve_scorer


def add_options(parser: ServiceParser) -> None:
    """The flags of this service."""
    parser.add_option(
        "--rollout-address",
        default="",
        help="rollout service that takes fluency from a policy; without it, an estimate",
    )
    parser.add_option("--reference-policy", default="reference", help="name of that policy in the rollout service")


if __name__ == "__main__":
    serve_scorer(
        "coherence",
        "services.coherence.scorer:CoherenceScorer",
        about="Scores how responses hang together: relevance, flow, fluency, repetition, engagement, consistency.",
        add_options=add_options,
        kwargs=lambda options: {
            "rollout_address": options.rollout_address,
            "reference_policy": options.reference_policy,
        },
        workers=1,  # each holds a model of its own
    )
