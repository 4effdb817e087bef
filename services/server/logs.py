"""JSON logs on stderr, one object a line, for our own events and for those of the libraries.

Put the item's trace id on its events: `structlog.get_logger().info("item scored", trace_id=item.trace_id)`. Never put a
prompt, a response or checks into an event.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LEVELS = ("debug", "info", "warning", "error")
LONGEST_TEXT = 1000
"""Characters kept of a text in an event: callers choose trace ids, and a message may hold megabytes of them."""


def configure_logs(service: str, level: str = "info") -> None:
    """Sends structlog and the standard library's loggers to stderr as JSON. `level` is one of `LEVELS`."""

    def add_service_and_cut(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return {name: value[:LONGEST_TEXT] if isinstance(value, str) else value for name, value in event.items()}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service_and_cut,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def get_logger() -> Any:
    """A logger whose methods take an event and key-value pairs."""
    return structlog.get_logger()
