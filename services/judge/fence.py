"""Shows a judge texts that nobody trusts: between markers that they cannot contain, without a chat template's own tokens."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

MARK_CHARACTERS = 32
_CONTROL_TOKENS = re.compile(
    r"<(?=[|\uff5c]|/?s>|/?(?:start|end)_of_turn>|/?(?:bos|eos|pad|unk)>|<SYS>>|</SYS>>|/?think>|/?tool_call>)"
    r"|\[(?=/?INST\]|/?(?:SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\])"
)
_FIELD = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def mark_for(texts: Mapping[str, str]) -> str:
    """A marker that none of the texts contains: a digest of them all.

    A text that held it would have another one, so whoever writes the text cannot foresee it; and equal items get equal
    messages, as they would not by a random one.
    """
    digest = hashlib.sha256()
    for name, text in sorted(texts.items()):
        for part in (name, text):
            content = part.encode("utf-8", "replace")
            digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:MARK_CHARACTERS]


def fill(template: str, texts: Mapping[str, str], mark: str) -> str:
    """The template with each `{name}` of the texts replaced by its text between markers.

    What a text holds is replaced no further, and braces around other words stay as they are.
    """

    def fenced(match: re.Match[str]) -> str:
        name = match[1]
        if name not in texts:
            return match[0]
        return f"<<<{name} {mark}>>>\n{disarmed(texts[name])}\n<<<end of {name} {mark}>>>"

    return _FIELD.sub(fenced, template)


def fields_of(template: str) -> frozenset[str]:
    """The names in braces."""
    return frozenset(_FIELD.findall(template))


def disarmed(text: str) -> str:
    """The text with a space within what the usual chat templates take for their own tokens: `< |im_end|>`, `[ INST]`.

    A server's tokenizer may read such a token in a message as if the template had put it there, and so end the message.
    """
    return _CONTROL_TOKENS.sub(lambda match: f"{match[0]} ", text)
