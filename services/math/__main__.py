"""Serves the mathematics scorer: `python -m services.math`."""

from services.server.scorer_service import INTERFACE, scorer_service
from services.server.serve import serve

if __name__ == "__main__":
    serve(
        "math",
        lambda service: scorer_service(service, "services.math.scorer:MathScorer", {}),
        interfaces=[INTERFACE],
        about="Scores the final answers of solutions to mathematical problems.",
    )
