"""Serves the mathematics scorer: `python -m services.math`."""

from services.server.scorer_service import serve_scorer

if __name__ == "__main__":
    serve_scorer(
        "math",
        "services.math.scorer:MathScorer",
        about="Scores the final answers of solutions to mathematical problems.",
    )
