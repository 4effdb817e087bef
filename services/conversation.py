"""Conversations as other programs hold them, a text or chat messages, and as scorers take them: one prompt, one response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Conversation = str | Sequence[Mapping[str, Any]]
"""A text, or messages with `role` and `content`; a content is a text, or a list of parts of which some have a `text`."""


def prompt_text(prompt: Conversation) -> str:
    """The text of a prompt. Of one message it is the content; where there are more, each begins with its role."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return _content(prompt[0])
    return "\n\n".join(f"{message.get('role', '')}: {_content(message)}" for message in prompt)


def response_text(response: Conversation) -> str:
    """The text of a response: of messages, what the assistant said."""
    if isinstance(response, str):
        return response
    said = [_content(message) for message in response if message.get("role") == "assistant"]
    return "\n\n".join(text for text in said if text)


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content if isinstance(part, Mapping))
