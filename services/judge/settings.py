"""Where a language model is asked, and how; checked once, when a worker starts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from services.server.errors import StartError

FIXED = frozenset({"messages", "model", "response_format", "n", "stream"})
"""Fields of a request that nobody else may set."""


@dataclass(frozen=True, slots=True)
class Settings:
    """An OpenAI-compatible endpoint and how it is asked. Raises StartError for what cannot be."""

    base_url: str
    """Up to the version: `https://host/v1`."""
    model: str
    api_key_variable: str = ""
    """Name of the environment variable that holds the key; empty where none is needed."""
    concurrency: int = 32
    """Requests, and so connections, at once."""
    temperature: float = 0.0
    max_tokens: int = 1024
    """Of one answer."""
    request_seconds: float = 60.0
    """For one request; one that takes longer is closed and made again."""
    connect_seconds: float = 5.0
    tries: int = 5
    """Requests for one answer, at the most, while the endpoint is busy, broken or gone."""
    answers: int = 3
    """Answers asked for, at the most, until one has the form."""
    prompt_price: float = 0.0
    """Of a million tokens."""
    completion_price: float = 0.0
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request; None leaves one out that Assay would send."""

    def __post_init__(self) -> None:
        _check_url(self.base_url)
        if not self.model:
            raise StartError("no model is named: give --model")
        if taken := FIXED & self.extra_body.keys():
            raise StartError(f"--extra-body: {min(taken)} cannot be set")

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"{self.base_url.rstrip('/')}/chat/completions"

    @property
    def host(self) -> str:
        """What messages call the endpoint."""
        return urlsplit(self.base_url).netloc

    @property
    def is_repeatable(self) -> bool:
        """Whether chance has no part in an answer."""
        return self.extra_body.get("temperature", self.temperature) == 0

    def headers(self) -> dict[str, str]:
        """With the key, which is read from the environment and nowhere kept. Raises StartError where it is not there."""
        if not self.api_key_variable:
            return {}
        key = os.environ.get(self.api_key_variable, "").strip()
        if not key:
            raise StartError(f"--api-key-variable: the variable {self.api_key_variable} is not set")
        if not re.fullmatch(r"[\x21-\x7e]+", key):
            raise StartError(f"the variable {self.api_key_variable} holds no key: a key has neither spaces nor accents")
        return {"Authorization": f"Bearer {key}"}


def _check_url(url: str) -> None:
    """Raises StartError; where a password could be in the address, it is not quoted."""
    try:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise StartError(
                "--base-url holds a user or a password; put the key into a variable, see --api-key-variable"
            )
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise StartError("--base-url is not an address; write it like http://127.0.0.1:8000/v1") from None
    if not fits or parts.query or parts.fragment:
        raise StartError(
            f"--base-url is {url.split('?')[0]!r}; write it like http://127.0.0.1:8000/v1, without ? and #"
        )
