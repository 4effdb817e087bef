"""How much one request may ask for; the service refuses more, the client splits by it."""

from __future__ import annotations

from services.addresses import MAX_MESSAGE_BYTES

MAX_SAMPLES = 1024
"""Completions of one prompt in one request."""
MAX_ANSWER_TOKENS = MAX_MESSAGE_BYTES // 24
"""Tokens of one answer. A token takes four bytes for its log-probability, up to three for its id, some for its text, and
one to ten for its version."""
MAX_SEQUENCES = 16_384
"""Prompts, sequences to score, or probes of one request. Taking a request apart is not done between two others."""
MAX_PROMPT_CHARACTERS = 2**20
"""Of one prompt's text: a tokenizer that has begun cannot be ended."""
MAX_STOP_STRINGS, MAX_STOP_CHARACTERS = 16, 256
MAX_CHOICES, MAX_CHOICE_CHARACTERS = 1024, 4096
"""Number of stop strings and choices of one request, and characters of each."""
