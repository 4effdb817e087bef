"""The routes of the HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from services.adapters.openrlhf import answer, make_askings
from services.adapters.source import why
from services.http.bodies import (
    ErrorResponse,
    OpenRLHFRequest,
    OpenRLHFResponse,
    Result,
    ScoreRequest,
    ScoreResponse,
    ScorersResponse,
)
from services.http.gate import App, Gate
from services.http.gateway import RETRY_AFTER_SECONDS, Gateway, RefusedError, unless_gone
from services.rewards import Reward
from services.server.metrics import ITEMS

OPENRLHF_TIMEOUT_SECONDS = 150.0
"""OpenRLHF gives up after 180 seconds."""
LONGEST_FIELD = 200

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": why}
    for status, why in {
        401: "The token is missing or wrong.",
        413: "The body is larger than 16 MiB.",
        422: "A field is wrong; the answer names it.",
        429: "Too much is under way here; come back after `Retry-After` seconds.",
        503: "The scorers are full or away; come back after `Retry-After` seconds.",
    }.items()
}


def make_app(gateway: Gateway, token: str) -> App:
    """The ASGI application. token: what callers of `/v1/` must bring; none where it is empty."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await gateway.close()

    app = FastAPI(
        title="Assay",
        version=_version(),
        description="Scores what a language model writes. A score is a named value or it is missing, never a stand-in.",
        lifespan=lifespan,
        separate_input_output_schemas=False,
    )
    app.add_exception_handler(RequestValidationError, _misfit)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _failed)
    _add_scoring(app, gateway)
    _add_state(app, gateway)
    return Gate(app, token, frozenset(app.openapi()["paths"]))


def _add_scoring(app: FastAPI, gateway: Gateway) -> None:
    @app.post("/v1/score", response_model=ScoreResponse, responses=REFUSALS)
    async def score(body: ScoreRequest, request: Request) -> Response:
        """Score responses. Each item gets a result, in order; `total` is null, never 0, where a part of it is missing."""
        askings = [item.asking(place) for place, item in enumerate(body.items)]
        rewards = await _scored(request, gateway.score(askings, body.timeout_seconds, body.weights, body.options))
        names = (item.id or str(place) for place, item in enumerate(body.items))
        return _json(ScoreResponse(results=[Result.of(*one) for one in zip(names, rewards, strict=True)]))

    @app.post("/v1/openrlhf", response_model=OpenRLHFResponse, responses=REFUSALS)
    async def openrlhf(
        body: OpenRLHFRequest,
        request: Request,
        domain: str = "math",
        check: Annotated[
            str, Query(description="The check that a label is; empty: labels are JSON objects of checks.")
        ] = "gold",
        missing: Annotated[
            float | None, Query(allow_inf_nan=False, description="What a missing reward becomes; without it, 503.")
        ] = None,
    ) -> Response:
        """The remote reward of OpenRLHF: `--reward.remote_url http://HOST:PORT/v1/openrlhf?domain=math`."""
        try:
            askings = make_askings(body.query, body.prompts, body.labels, domain, check or None)
        except ValueError as error:
            raise RefusedError(422, str(error)) from error
        rewards = await _scored(request, gateway.score(askings, OPENRLHF_TIMEOUT_SECONDS))
        numbers = [missing if reward.total is None else reward.total for reward in rewards]
        absent = [reward for reward in rewards if reward.total is None]
        if absent and missing is None:
            raise RefusedError(503, f"{len(absent)} of {len(rewards)} have no reward; the first: {why(absent[0])}")
        return _json(OpenRLHFResponse(**answer([number for number in numbers if number is not None], rewards)))


def _add_state(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/v1/scorers", responses={401: REFUSALS[401]})
    async def scorers() -> ScorersResponse:
        """What the scorers say of themselves: their components, and the checks that they know."""
        routes = {domain: list(names) for domain, names in gateway.plan.routes.items()}
        return ScorersResponse(scorers=await gateway.probe(), routes=routes, weights=dict(gateway.plan.weights))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """That this process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 where every scorer answers, else 503."""
        found = {scorer.name: scorer.ready for scorer in await gateway.probe()}
        return JSONResponse({"scorers": found}, 200 if all(found.values()) else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _scored(request: Request, work: Awaitable[list[Reward]]) -> list[Reward]:
    """The rewards, counted. Raises RefusedError where nobody waits for them any more."""
    rewards = await unless_gone(request.receive, work)
    if rewards is None:
        raise RefusedError(499, "the caller has gone")
    for reward in rewards:
        for label in reward.scored.labels.values():
            ITEMS.labels("scored", label).inc()
        for reason in reward.scored.missing.values():
            ITEMS.labels("error", reason).inc()
    return rewards


def _json(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")


async def _misfit(_request: Request, error: Any) -> JSONResponse:
    """Fields and what is expected of them, never their values."""
    complaints = []
    for detail in error.errors()[:3]:
        field = ".".join(map(str, detail["loc"][1:]))[:LONGEST_FIELD]
        message = detail["msg"].removeprefix("Value error, ")
        if detail["loc"] == ("body",) and detail["type"] in ("missing", "model_attributes_type"):
            message = "must be a JSON object, sent with the header Content-Type: application/json"
        if detail["type"] == "json_invalid":
            field, message = "body", f"is not JSON, from character {detail['loc'][1]} on"
        complaints.append(f"{field or detail['loc'][0]}: {message}")
    return JSONResponse({"error": "; ".join(complaints)}, 422)


async def _refused(_request: Request, error: Any) -> JSONResponse:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.status in (429, 503) else None
    return JSONResponse({"error": str(error)}, error.status, headers)


async def _failed(_request: Request, error: Any) -> JSONResponse:
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


def _version() -> str:
    try:
        return version("assay")
    except PackageNotFoundError:  # run from the source tree
        return "0"
