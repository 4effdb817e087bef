"""The client of a scoring service: chunks items into messages, retries, and never invents a score."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.addresses import MAX_MESSAGE_BYTES
from services.client.channel import ServiceError, ServiceUnavailableError, open_channel, service_errors
from services.verdicts import ErrorReason, Item, ItemError, Outcome
from services.wire import ScorerDescription, description_from_wire, item_to_wire, outcome_from_wire

MESSAGE_ITEMS = 256
MESSAGE_BYTES = MAX_MESSAGE_BYTES // 2
"""A message is sent when it holds this much; an item that is larger travels alone."""
LARGEST_ITEM_BYTES = MAX_MESSAGE_BYTES - 64
MESSAGES_AT_ONCE = 4
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0


class ScoringClient:
    """Calls one scoring service. Threads may share it; it opens its channel at the first call."""

    def __init__(self, name: str, address: str, *, patience_seconds: float = 10.0) -> None:
        """
        name: what errors call the service.
        address: `host:port`.
        patience_seconds: how long a service that cannot be reached is tried again within one `score`.
        """
        self.name = name
        self.address = address
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._calls = 0

    def __enter__(self) -> ScoringClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel; a later call opens another."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    @property
    def calls(self) -> int:
        """ScoreBatch calls made so far, those that failed included."""
        return self._calls

    def describe(self, timeout_seconds: float = 10.0) -> ScorerDescription:
        """What the service measures. Raises ServiceError; ServiceUnavailableError after the client's patience."""
        retrying = Retrying(
            retry=retry_if_exception_type(ServiceUnavailableError),
            wait=_pause_seconds,
            stop=stop_after_delay(self._patience_seconds),
            reraise=True,
        )
        return retrying(self._describe, timeout_seconds)

    def _describe(self, timeout_seconds: float) -> ScorerDescription:
        with service_errors(self.name, self.address):
            return description_from_wire(self._stub().Describe(scoring_pb2.DescribeRequest(), timeout=timeout_seconds))

    def score(self, items: Sequence[Item], timeout_seconds: float) -> dict[str, Outcome]:
        """One outcome for each item, by id, in the order of the items.

        Sends as many messages as the items need and tries again, within `timeout_seconds` for all of it, where the
        service is full or cannot be reached. What stays unanswered is an `ItemError`: UNAVAILABLE or DEADLINE; what
        cannot be sent is INVALID_ITEM. Raises ValueError for ids that are not unique or not 1 to 256 characters long,
        ServiceError where the address is not that of a scoring service.
        """
        _check_ids(items)
        outcomes: dict[str, Outcome] = {}
        sendable: list[scoring_pb2.ScoreItem] = []
        for item in items:
            encoded = _encode(item)
            if isinstance(encoded, ItemError):
                outcomes[item.id] = encoded
            else:
                sendable.append(encoded)
        deadline = time.monotonic() + timeout_seconds
        with ThreadPoolExecutor(MESSAGES_AT_ONCE) as threads:
            for answered in threads.map(lambda message: self._send(message, deadline), _messages(sendable)):
                outcomes |= answered
        return {item.id: outcomes[item.id] for item in items}

    def _send(self, items: Sequence[scoring_pb2.ScoreItem], deadline: float) -> dict[str, Outcome]:
        """The outcomes of one message's items."""

        def too_late(state: RetryCallState) -> bool:
            error: Any = state.outcome and state.outcome.exception()
            until = deadline
            if error.retry_after_seconds is None:
                until = min(deadline, start + self._patience_seconds)
            return error.code is grpc.StatusCode.DEADLINE_EXCEEDED or time.monotonic() + state.upcoming_sleep >= until

        start = time.monotonic()
        retrying = Retrying(
            retry=retry_if_exception_type(ServiceUnavailableError), wait=_pause_seconds, stop=too_late, reraise=True
        )
        try:
            response = retrying(self._call, scoring_pb2.ScoreBatchRequest(items=items), deadline)
        except ServiceError as error:
            failure = _item_error(error)
            return {item.id: failure for item in items}
        answered = {result.id: outcome_from_wire(result) for result in response.results}
        silent = ItemError(ErrorReason.UNAVAILABLE, f"the {self.name} service did not answer for this item")
        return {item.id: answered.get(item.id, silent) for item in items}

    def _call(self, request: scoring_pb2.ScoreBatchRequest, deadline: float) -> scoring_pb2.ScoreBatchResponse:
        stub = self._stub()
        with self._lock:
            self._calls += 1
        with service_errors(self.name, self.address):
            return stub.ScoreBatch(request, timeout=max(0.0, deadline - time.monotonic()))

    def _stub(self) -> Any:
        with self._lock:
            if self._channel is None:
                self._channel = open_channel(self.address)
            return scoring_pb2_grpc.ScorerStub(self._channel)


def _item_error(error: ServiceError) -> ItemError:
    """What a failed call says of its items. Raises the error itself where it is the caller's or the address's fault."""
    if isinstance(error, ServiceUnavailableError):
        late = error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        return ItemError(ErrorReason.DEADLINE if late else ErrorReason.UNAVAILABLE, str(error))
    if error.code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL):
        return ItemError(ErrorReason.SCORER_FAILED, str(error))
    raise error


def _pause_seconds(state: RetryCallState) -> float:
    """The service's hint, plus an exponential pause with jitter, so that clients do not come back together."""
    error: Any = state.outcome and state.outcome.exception()
    pause = min(FIRST_PAUSE_SECONDS * 2.0 ** (state.attempt_number - 1), LONGEST_PAUSE_SECONDS)
    return (error.retry_after_seconds or 0.0) + pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def _check_ids(items: Sequence[Item]) -> None:
    seen: set[str] = set()
    for place, item in enumerate(items):
        if not 1 <= len(item.id) <= 256:
            raise ValueError(f"items[{place}].id has {len(item.id)} characters; it must have 1 to 256")
        if item.id in seen:
            raise ValueError(f"items[{place}].id is {item.id!r}, which an earlier item has; ids must be unique")
        seen.add(item.id)


def _encode(item: Item) -> scoring_pb2.ScoreItem | ItemError:
    try:
        encoded = item_to_wire(item)
    except ValueError as error:
        return ItemError(ErrorReason.INVALID_ITEM, str(error))
    if encoded.ByteSize() > LARGEST_ITEM_BYTES:
        size = f"the item has {encoded.ByteSize()} bytes; a message holds at most {LARGEST_ITEM_BYTES}"
        return ItemError(ErrorReason.INVALID_ITEM, size)
    return encoded


def _messages(items: Sequence[scoring_pb2.ScoreItem]) -> Iterator[list[scoring_pb2.ScoreItem]]:
    message: list[scoring_pb2.ScoreItem] = []
    size = 0
    for item in items:
        item_size = item.ByteSize() + 8
        if message and (len(message) == MESSAGE_ITEMS or size + item_size > MESSAGE_BYTES):
            yield message
            message, size = [], 0
        message.append(item)
        size += item_size
    if message:
        yield message
