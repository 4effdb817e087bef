"""The client of a scoring service: chunks items into messages, retries, hedges, and never invents a score."""

from __future__ import annotations

import itertools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import grpc
from tenacity import Retrying

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.client.channel import ServiceError, open_channel, replicas, service_errors
from services.client.messages import MESSAGE_ITEMS, Asked, failed, pack, unpack
from services.client.patience import retrying
from services.verdicts import Item, Outcome
from services.wire import ScorerDescription, description_from_wire

MESSAGES_AT_ONCE = 4

NextStub = Callable[[], Any]


class Calls:
    """Those under way of one stream; `ended` is set when nobody waits for them any more."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._running: set[Any] = set()
        self._lock = threading.Lock()

    def add(self, call: Any) -> None:
        """Takes in a call, until it is done."""
        with self._lock:
            self._running.add(call)
        call.add_done_callback(self._drop)
        if self.ended.is_set():
            call.cancel()

    def end(self) -> None:
        """Cancels those under way, and those that are taken in later."""
        self.ended.set()
        with self._lock:
            running = list(self._running)
        for call in running:
            call.cancel()

    def _drop(self, call: Any) -> None:
        with self._lock:
            self._running.discard(call)


class ScoringClient:
    """Calls one scoring service. Threads may share it; it opens its channels at the first call.

    `services.client.async_scoring.AsyncScoringClient` is the same for asyncio.
    """

    def __init__(
        self,
        name: str,
        address: str,
        *,
        patience_seconds: float = 10.0,
        hedge_seconds: float | None = None,
        message_items: int = MESSAGE_ITEMS,
    ) -> None:
        """
        name: what errors call the service.
        address: `host:port`; several with commas between them are replicas, which take turns. A name that has several
            addresses is as good.
        patience_seconds: how long a service that cannot be reached is tried again within one `score`.
        hedge_seconds: a message that is not answered by then is sent a second time, to the next replica; the first answer
            counts and the other call is cancelled. None sends each once.
        message_items: the largest number of items in a message.
        Raises services.addresses.WrongAddressError for an address without a port.
        """
        self.name = name
        self.address = address
        self._addresses = replicas(address)
        self._patience_seconds = patience_seconds
        self._hedge_seconds = hedge_seconds
        self._message_items = message_items
        self._lock = threading.Lock()
        self._channels: list[grpc.Channel] = []
        self._stubs: list[Any] = []
        self._turns = itertools.count()
        self._calls = 0

    def __enter__(self) -> ScoringClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channels; a later call opens others."""
        with self._lock:
            channels, self._channels, self._stubs = self._channels, [], []
        for channel in channels:
            channel.close()

    @property
    def calls(self) -> int:
        """ScoreBatch calls made so far, hedges and those that failed included."""
        return self._calls

    def describe(self, timeout_seconds: float = 10.0, deadline: float = math.inf) -> ScorerDescription:
        """What the service measures.

        timeout_seconds: for one try. deadline: of `time.monotonic`, for all of them.
        Raises ServiceError; ServiceUnavailableError after the client's patience or the deadline.
        """
        again = Retrying(**retrying(deadline, self._patience_seconds))
        return again(self._describe, self._turn(), timeout_seconds, deadline)

    def _describe(self, next_stub: NextStub, timeout_seconds: float, deadline: float) -> ScorerDescription:
        seconds = max(0.0, min(timeout_seconds, deadline - time.monotonic()))
        with service_errors(self.name, self.address):
            return description_from_wire(next_stub().Describe(scoring_pb2.DescribeRequest(), timeout=seconds))

    def score(
        self,
        items: Sequence[Item],
        timeout_seconds: float,
        *,
        options: Mapping[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        fresh: bool = False,
    ) -> dict[str, Outcome]:
        """One outcome for each item, by id, in the order of the items.

        Sends as many messages as the items need and tries again, within `timeout_seconds` for all of it, where the
        service is full or cannot be reached. What stays unanswered is an `ItemError`: UNAVAILABLE or DEADLINE; what
        cannot be sent is INVALID_ITEM.

        options: checks of every item that does not have the same key itself.
        weights: component name to its weight in each `Verdict.total`.
        fresh: score anew what the service remembers.
        Raises ValueError for ids that are not unique or not 1 to 256 characters long, ServiceError where the address is
        not that of a scoring service or where the service refuses options or weights.
        """
        outcomes = dict(self.stream(items, timeout_seconds, options=options, weights=weights, fresh=fresh))
        return {item.id: outcomes[item.id] for item in items}

    def stream(
        self,
        items: Sequence[Item],
        timeout_seconds: float,
        *,
        options: Mapping[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        fresh: bool = False,
    ) -> Iterator[tuple[str, Outcome]]:
        """As `score`, but ids and outcomes come as soon as their message is answered. Closing it ends what is under way."""
        deadline = time.monotonic() + timeout_seconds
        parcel = pack(items, Asked(options or {}, weights or {}, fresh), self._message_items)
        yield from parcel.unsendable.items()
        threads = ThreadPoolExecutor(MESSAGES_AT_ONCE)
        waited_for = Calls()
        try:
            sent = [threads.submit(self._send, waited_for, request, deadline) for request in parcel.requests]
            for answer in as_completed(sent):
                yield from answer.result().items()
        finally:
            waited_for.end()
            threads.shutdown(cancel_futures=True)

    def _send(self, calls: Calls, request: scoring_pb2.ScoreBatchRequest, deadline: float) -> dict[str, Outcome]:
        """The outcomes of one message's items."""
        again = Retrying(**retrying(deadline, self._patience_seconds, calls.ended))
        try:
            return unpack(self.name, request, again(self._call, calls, self._turn(), request, deadline))
        except ServiceError as error:
            return failed(request, error)

    def _call(
        self, calls: Calls, next_stub: NextStub, request: scoring_pb2.ScoreBatchRequest, deadline: float
    ) -> scoring_pb2.ScoreBatchResponse:
        """The first good answer of one call, or of two where the first takes long."""
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        made: list[Any] = []

        def send() -> None:
            call = next_stub().ScoreBatch.future(request, timeout=max(0.0, deadline - time.monotonic()))
            with self._lock:
                self._calls += 1
            made.append(call)
            calls.add(call)
            call.add_done_callback(ended.put)

        with service_errors(self.name, self.address):
            try:
                send()
                try:
                    done = ended.get(timeout=self._hedge_seconds)
                except queue.Empty:
                    send()
                    done = ended.get()
                    if done.code() is not grpc.StatusCode.OK:
                        done = ended.get()
                return done.result()
            finally:
                for call in made:
                    call.cancel()

    def _turn(self) -> NextStub:
        """What each try of one message goes to: the replica whose turn it is, then those after it."""
        turns = itertools.count(next(self._turns))

        def next_stub() -> Any:
            with self._lock:
                if not self._channels:
                    self._channels = [open_channel(address) for address in self._addresses]
                    self._stubs = [scoring_pb2_grpc.ScorerStub(channel) for channel in self._channels]
                return self._stubs[next(turns) % len(self._stubs)]

        return next_stub
