"""What requests to an OpenAI-compatible endpoint cost. Imported by the workers that count and by the process that serves it."""

from __future__ import annotations

from services.server.counting import WorkerCounter, WorkerHistogram

REQUESTS = WorkerCounter(
    "assay_endpoint_requests_total",
    "Requests to the endpoint: the HTTP status, `connection`, `timeout` or `cancelled`.",
    ["outcome"],
)
RETRIES = WorkerCounter(
    "assay_endpoint_retries_total", "Requests made again, by what became of the one before.", ["after"]
)
ANSWERS = WorkerCounter(
    "assay_endpoint_answers_total",
    "Answers of the model: `fits`, or why one does not (`truncated`, `refused`, `not_json`, `misfit`).",
    ["outcome"],
)
TOKENS = WorkerCounter("assay_endpoint_tokens_total", "Tokens, as the endpoint counts them.", ["kind"])
COST = WorkerCounter("assay_endpoint_cost_total", "Price of the tokens, in the currency of the prices given.")
SECONDS = WorkerHistogram(
    "assay_endpoint_request_seconds",
    "Time of a request that was answered.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)
