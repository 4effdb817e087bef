"""How much one request may ask for; the service refuses more, the client splits by it."""

from __future__ import annotations

from services.addresses import MAX_MESSAGE_BYTES

MAX_SAMPLES = 1024
"""Completions of one prompt in one request."""
MAX_ANSWER_TOKENS = MAX_MESSAGE_BYTES // 16
"""Tokens of one answer. A token takes four bytes for its log-probability, up to three for its id and some for text."""
