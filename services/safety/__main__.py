"""Serves the safety scorer: `python -m services.safety`."""

from services.server.scorer_service import serve_scorer

if __name__ == "__main__":
    serve_scorer(
        "safety",
        "services.safety.scorer:SafetyScorer",
        about="Scores responses for toxicity, personal data and refusals.",
        workers=1,  # each holds a model of its own
    )
