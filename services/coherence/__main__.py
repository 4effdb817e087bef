"""Serves the coherence scorer: `python -m services.coherence`."""

from services.server.scorer_service import INTERFACE, scorer_service
from services.server.serve import serve

if __name__ == "__main__":
    serve(
        "coherence",
        lambda service: scorer_service(service, "services.coherence.scorer:CoherenceScorer", {}),
        interfaces=[INTERFACE],
        about="Scores how responses hang together: relevance, flow, repetition, consistency.",
    )
