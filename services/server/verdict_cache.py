"""Remembers verdicts by what they depend on: in this process, and in a Redis that replicas share where one is named.

Only verdicts of cacheable scorers come here, and only repeatable ones: never a time-out, never an error. What is
remembered is the bytes of a protobuf `Verdict` without its total: as a message it takes ten times their room. A Redis that is away, slow, full or holds something else costs
time once and then nothing for a while; it never costs a verdict. Whoever may write to that Redis decides what verdicts
are: give it a password and to nobody else.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import Counter

from protos.gen.assay.v1 import scoring_pb2
from services.server.shared_verdicts import SharedVerdicts

REMEMBERED = Counter(
    "assay_verdicts_remembered_total", "Items answered without grading, by what remembered.", ["where"]
)
ENTRY_BYTES = 300
"""What an entry takes beside its verdict's own bytes, about."""


class VerdictCache:
    """The verdicts of one version of one scorer."""

    def __init__(
        self, scorer: str, version: str, kwargs: Mapping[str, Any], max_bytes: int, shared: SharedVerdicts | None
    ) -> None:
        """scorer, version, kwargs: the import path (a scorer's name may be its parent's), version and arguments that an
        entry is bound to. max_bytes: of this process's memory."""
        scope = json.dumps([scorer, version, kwargs], sort_keys=True).encode()
        self._scope = hashlib.blake2b(scope, digest_size=16).digest()
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self._max_bytes = max_bytes
        self._shared = shared

    def key(self, item: scoring_pb2.ScoreItem, options_json: str) -> bytes:
        """What the item's verdict depends on, as 16 bytes: its texts, checks and options, not its names and times."""
        prompt, checks = item.prompt, item.checks_json
        text = f"{len(prompt)},{len(checks)},{len(options_json)},{prompt}{checks}{options_json}{item.response}"
        return hashlib.blake2b(text.encode(), digest_size=16, key=self._scope).digest()

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The verdicts that are remembered of these, by key."""
        entries = self._entries
        found: dict[bytes, bytes] = {}
        unknown = []
        for key in keys:
            verdict = entries.get(key)
            if verdict is None:
                unknown.append(key)
            else:
                entries.move_to_end(key)
                found[key] = verdict
        REMEMBERED.labels("memory").inc(len(keys) - len(unknown))
        if unknown and self._shared is not None:
            shared = await self._shared.get(unknown)
            REMEMBERED.labels("redis").inc(sum(key in shared for key in unknown))
            for key, verdict in shared.items():
                self._keep(key, verdict)
            found |= shared
        return found

    def put(self, key: bytes, verdict: bytes) -> None:
        """Remembers a verdict here at once, in Redis soon."""
        self._keep(key, verdict)
        if self._shared is not None:
            self._shared.put(key, verdict)

    def _keep(self, key: bytes, verdict: bytes) -> None:
        old = self._entries.pop(key, None)
        self._bytes += _size(verdict) - (_size(old) if old is not None else 0)
        self._entries[key] = verdict
        while self._bytes > self._max_bytes:
            self._bytes -= _size(self._entries.popitem(last=False)[1])


def _size(verdict: bytes) -> int:
    return ENTRY_BYTES + len(verdict)
