"""What scoring clients put into messages, and what they read out of the answers; nothing here talks to anybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from protos.gen.assay.v1 import scoring_pb2
from services.addresses import MAX_MESSAGE_BYTES
from services.client.channel import ServiceError, ServiceUnavailableError
from services.verdicts import ErrorReason, Item, ItemError, Outcome
from services.wire import MAX_ITEMS, item_to_wire, outcome_from_wire, to_json

MESSAGE_ITEMS = 256
MESSAGE_BYTES = MAX_MESSAGE_BYTES // 2
"""A message is sent when it holds this much; an item that is larger travels alone."""
SPARE_BYTES = 64
"""Of a message, for what goes around its items."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says of all its items."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Checks of every item that does not have the same key itself."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Component name to its weight in `Verdict.total`."""
    fresh: bool = False
    """Score anew what the service remembers."""

    def template(self) -> scoring_pb2.ScoreBatchRequest:
        """A request without items. Raises ValueError for options that JSON cannot hold, and weights that are no numbers."""
        options_json = to_json("options", self.options)
        try:
            return scoring_pb2.ScoreBatchRequest(options_json=options_json, weights=self.weights, fresh=self.fresh)
        except (TypeError, ValueError) as error:
            raise ValueError("weights must map names of components to numbers") from error


@dataclass(frozen=True, slots=True)
class Parcel:
    """Items as messages, and outcomes of those that cannot be sent."""

    requests: Sequence[scoring_pb2.ScoreBatchRequest]
    unsendable: Mapping[str, ItemError]


def pack(items: Sequence[Item], asked: Asked, message_items: int = MESSAGE_ITEMS) -> Parcel:
    """The items in as few messages as they fit into, in order.

    Raises ValueError for ids that are not unique or not 1 to 256 characters long, and for what `Asked.template` does.
    """
    if not 1 <= message_items <= MAX_ITEMS:
        raise ValueError(f"message_items is {message_items}; it must be 1 to {MAX_ITEMS}")
    _check_ids(items)
    template = asked.template()
    room = MAX_MESSAGE_BYTES - SPARE_BYTES - template.ByteSize()
    unsendable: dict[str, ItemError] = {}
    sendable: list[scoring_pb2.ScoreItem] = []
    for item in items:
        try:
            encoded = item_to_wire(item)
            if encoded.ByteSize() > room:
                raise ValueError(f"the item has {encoded.ByteSize()} bytes; a message holds at most {room}")
            sendable.append(encoded)
        except ValueError as error:
            unsendable[item.id] = ItemError(ErrorReason.INVALID_ITEM, str(error))
    return Parcel(list(_messages(sendable, template, message_items, min(room, MESSAGE_BYTES))), unsendable)


def unpack(
    service: str, request: scoring_pb2.ScoreBatchRequest, response: scoring_pb2.ScoreBatchResponse
) -> dict[str, Outcome]:
    """An outcome for each item of the request, by id; UNAVAILABLE where the service was silent about it."""
    answered = {result.id: outcome_from_wire(result) for result in response.results}
    silent = ItemError(ErrorReason.UNAVAILABLE, f"the {service} service did not answer for this item")
    return {item.id: answered.get(item.id, silent) for item in request.items}


def failed(request: scoring_pb2.ScoreBatchRequest, error: ServiceError) -> dict[str, Outcome]:
    """What a failed call says of its items. Raises the error itself where it is the caller's or the address's fault."""
    if isinstance(error, ServiceUnavailableError):
        late = error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        failure = ItemError(ErrorReason.DEADLINE if late else ErrorReason.UNAVAILABLE, str(error))
    elif error.code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL):
        failure = ItemError(ErrorReason.SCORER_FAILED, str(error))
    else:
        raise error
    return {item.id: failure for item in request.items}


def _check_ids(items: Sequence[Item]) -> None:
    seen: set[str] = set()
    for place, item in enumerate(items):
        if not 1 <= len(item.id) <= 256:
            raise ValueError(f"items[{place}].id has {len(item.id)} characters; it must have 1 to 256")
        if item.id in seen:
            raise ValueError(f"items[{place}].id is {item.id!r}, which an earlier item has; ids must be unique")
        seen.add(item.id)


def _messages(
    items: Sequence[scoring_pb2.ScoreItem],
    template: scoring_pb2.ScoreBatchRequest,
    message_items: int,
    message_bytes: int,
) -> Iterator[scoring_pb2.ScoreBatchRequest]:
    def message(first: int, end: int) -> scoring_pb2.ScoreBatchRequest:
        request = scoring_pb2.ScoreBatchRequest()
        request.CopyFrom(template)
        request.items.extend(items[first:end])
        return request

    first = size = 0
    for place, item in enumerate(items):
        item_size = item.ByteSize() + 8
        if place > first and (place - first == message_items or size + item_size > message_bytes):
            yield message(first, place)
            first, size = place, 0
        size += item_size
    if first < len(items):
        yield message(first, len(items))
