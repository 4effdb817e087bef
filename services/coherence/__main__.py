"""Serves the coherence scorer: `python -m services.coherence`."""

from services.server.scorer_service import serve_scorer

if __name__ == "__main__":
    serve_scorer(
        "coherence",
        "services.coherence.scorer:CoherenceScorer",
        about="Scores how responses hang together: relevance, flow, repetition, consistency.",
        workers=1,  # each holds a model of its own
    )
