"""`python -m services.http` is `assay serve --http`."""

from __future__ import annotations

import typer

from services.http.command import serve

if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(serve)
    app()
