"""`assay serve --http`: the flags of the HTTP server. What it needs beyond typer is imported when it is called."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer


def serve(
    _http: Annotated[
        bool, typer.Option("--http", help="Serve JSON over HTTP; as there is nothing else, it may be left out.")
    ] = True,
    host: Annotated[
        str, typer.Option(envvar="ASSAY_HTTP_HOST", help="Address to listen on; 0.0.0.0 in a container.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="ASSAY_HTTP_PORT", min=0, max=65535, help="0 for any free port.")] = 8080,
    route: Annotated[
        list[str] | None,
        typer.Option(
            "--route",
            envvar="ASSAY_HTTP_ROUTE",
            metavar="DOMAIN=SCORER,...",
            help="Scorers of a domain. Any other domain is scored by the scorer of its name.",
            show_default=False,
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight",
            envvar="ASSAY_HTTP_WEIGHT",
            metavar="COMPONENT=NUMBER",
            help="What a component counts in the total, where a request says nothing else. "
            "Without any: math/correctness=1 code/tests=1.",
            show_default=False,
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            envvar="ASSAY_HTTP_OPTION",
            metavar="SCORER.KEY=VALUE",
            help="A check of every item that does not have it itself: JSON, or a text.",
            show_default=False,
        ),
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address",
            envvar="ASSAY_HTTP_ADDRESSES",
            metavar="SCORER=HOST:PORT",
            help="Where a scorer serves, several with commas between them; else ASSAY_<SCORER>_ADDRESS or the usual port.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        bool,
        typer.Option(
            "--start",
            envvar="ASSAY_HTTP_START",
            help="Start the scorers that have no --address, and stop them at the end.",
        ),
    ] = False,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            "--scorer",
            envvar="ASSAY_HTTP_SCORER",
            metavar="NAME=PKG.MOD:CLASS",
            help="With --start, a scorer of your own.",
            show_default=False,
        ),
    ] = None,
    queue_limit: Annotated[
        int, typer.Option(envvar="ASSAY_HTTP_QUEUE_LIMIT", min=1, help="Items under way before callers are refused.")
    ] = 4096,
    grace: Annotated[
        float, typer.Option(envvar="ASSAY_HTTP_GRACE", min=0.0, help="Seconds that running requests get on SIGTERM.")
    ] = 20.0,
    ready_file: Annotated[
        Path | None,
        typer.Option(
            envvar="ASSAY_HTTP_READY_FILE", help="File to write address and pid to, once serving.", show_default=False
        ),
    ] = None,
    log_level: Annotated[
        str, typer.Option(envvar="ASSAY_HTTP_LOG_LEVEL", help="debug, info, warning or error.")
    ] = "info",
) -> None:
    """Serve the scorers as JSON over HTTP: POST /v1/score, GET /v1/scorers, and a page of its own at /docs.

    Flags that may be given more than once are separated by spaces in their variables. Where ASSAY_HTTP_TOKEN is set,
    callers must send it: `Authorization: Bearer TOKEN`.
    """
    try:
        from services.http.serving import Options, run

        if start:
            import services.stack  # noqa: F401 - what is missing is said before anything starts
    except ImportError as error:
        extra = "all" if start else "http"
        raise typer.BadParameter(
            f"the package {error.name!r} is not installed; pip install '.[{extra}]' in Assay's folder"
        ) from None
    from services.addresses import UnknownAddressError, WrongAddressError
    from services.rewards import WEIGHTS, Plan
    from services.server.logs import LEVELS

    if log_level not in LEVELS:
        raise typer.BadParameter(f"--log-level {log_level!r}: it must be one of {', '.join(LEVELS)}")
    if scorer and not start:
        raise typer.BadParameter("--scorer needs --start; a scorer that runs already has an --address")
    routes = {domain: names.split(",") for domain, names in _pairs(route, "--route").items()}
    weights = {name: _number(name, text) for name, text in _pairs(weight, "--weight").items()}
    plan = Plan(weights or WEIGHTS, routes, _options(option))
    options = Options(
        plan=plan,
        host=host,
        port=port,
        addresses=_pairs(address, "--address"),
        start=start,
        custom=_pairs(scorer, "--scorer"),
        items_limit=queue_limit,
        grace_seconds=grace,
        ready_file=ready_file,
        log_level=log_level,
        token=os.environ.get("ASSAY_HTTP_TOKEN", ""),
    )
    try:
        code = run(options)
    except UnknownAddressError as error:
        raise typer.BadParameter(f"{error}; or give --address, or --start with --scorer") from None
    except WrongAddressError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(code)


def _pairs(texts: list[str] | None, flag: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts or []:
        name, _, value = text.partition("=")
        if not name or not value:
            raise typer.BadParameter(f"{flag} takes NAME=VALUE, not {text!r}")
        pairs[name] = value
    return pairs


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < float("inf"):
        raise typer.BadParameter(f"--weight {name}: {text!r} is not a number")
    return number


def _options(texts: list[str] | None) -> dict[str, dict[str, Any]]:
    """Scorer to its checks. A value that is not JSON is a text."""
    options: dict[str, dict[str, Any]] = {}
    for name, text in _pairs(texts, "--option").items():
        scorer, _, key = name.partition(".")
        if not key:
            raise typer.BadParameter(f"--option takes SCORER.KEY=VALUE, not {name!r}")
        options.setdefault(scorer, {})[key] = json_or_text(text)
    return options


def json_or_text(text: str) -> Any:
    """A flag's value as JSON; what is not JSON is a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
