"""Serves the code scorer: `python -m services.code`. Needs a sandbox service, at ASSAY_SANDBOX_ADDRESS."""

from services.server.scorer_service import serve_scorer

if __name__ == "__main__":
    serve_scorer(
        "code",
        "services.code.scorer:CodeScorer",
        about="Scores programs and functions by running them in the sandbox service.",
    )
