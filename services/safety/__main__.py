"""Serves the safety scorer: `python -m services.safety`."""

from services.server.scorer_service import INTERFACE, scorer_service
from services.server.serve import serve

if __name__ == "__main__":
    serve(
        "safety",
        lambda service: scorer_service(service, "services.safety.scorer:SafetyScorer", {}),
        interfaces=[INTERFACE],
        about="Scores responses for toxicity, personal data and refusals.",
    )
