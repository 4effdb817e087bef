"""A client of the sandbox service in plain types, synchronous. It does not try again: its user knows what may be redone."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import grpc

from protos.gen.assay.v1 import sandbox_pb2, sandbox_pb2_grpc
from sandbox.results import CallOutcome, Limits, RunResult, SessionEndedError
from services.addresses import address_of
from services.client.channel import ServiceUnavailableError, open_channel, service_errors
from services.sandbox.wire import limits_to_wire, outcome_from_wire, outcome_to_wire, result_from_wire

Callback = Callable[[str, str], CallOutcome]
"""Takes the texts (`sandbox/values.py`) of the positional and the keyword arguments of a call back."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program for `SandboxClient.execute`."""

    source: str
    stdin: bytes = b""
    limits: Limits = field(default_factory=Limits)
    trace_id: str = ""


class SandboxClient:
    """Calls one sandbox service. Threads may share it.

    Methods raise ServiceUnavailableError where the service is full, cannot be reached or did not answer within
    `timeout_seconds` (waiting for a slot included), ServiceError where it refuses what it was asked.
    """

    def __init__(self, address: str | None = None) -> None:
        """address: `host:port`; the default is ASSAY_SANDBOX_ADDRESS or the default port on this machine."""
        self.address = address or address_of("sandbox")
        self._channel = open_channel(self.address)
        self._stub: Any = sandbox_pb2_grpc.SandboxStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends running calls, and the runs with them, and closes the connection."""
        self._channel.close()

    def execute(self, programs: Sequence[Program], timeout_seconds: float) -> list[RunResult]:
        """Runs programs, each in a process of its own; results in order."""
        request = sandbox_pb2.ExecuteRequest(
            programs=[
                sandbox_pb2.Program(
                    id=str(index),
                    source=program.source,
                    stdin=program.stdin,
                    limits=limits_to_wire(program.limits),
                    trace_id=program.trace_id,
                )
                for index, program in enumerate(programs)
            ]
        )
        with service_errors("sandbox", self.address):
            response = self._stub.Execute(request, timeout=timeout_seconds)
        return [result_from_wire(result) for result in response.results]

    def session(
        self,
        source: str,
        limits: Limits,
        timeout_seconds: float,
        *,
        callbacks: Mapping[str, Callback] | None = None,
        trace_id: str = "",
    ) -> SandboxSession:
        """An interpreter that executes `source` when its context is entered and lives for `timeout_seconds` at most."""
        opening = sandbox_pb2.OpenSession(
            source=source, callbacks=list(callbacks or ()), limits=limits_to_wire(limits), trace_id=trace_id
        )
        return SandboxSession(self._stub, self.address, opening, callbacks or {}, timeout_seconds)


class SandboxSession:
    """One interpreter of the service, for one thread. Leaving the context kills it."""

    def __init__(
        self,
        stub: Any,
        address: str,
        opening: sandbox_pb2.OpenSession,
        callbacks: Mapping[str, Callback],
        timeout_seconds: float,
    ) -> None:
        self._stub = stub
        self._address = address
        self._opening = opening
        self._callbacks = callbacks
        self._timeout_seconds = timeout_seconds
        self._requests: queue.SimpleQueue[sandbox_pb2.SessionRequest | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        """Executes the source. Raises SessionEndedError where that fails."""
        self._requests.put(sandbox_pb2.SessionRequest(open=self._opening))
        self._stream = self._stub.Session(iter(self._requests.get, None), timeout=self._timeout_seconds)
        try:
            self._receive("ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)  # ends the thread that gRPC reads requests in
        self._stream.cancel()

    def call(self, function: str, args: str, kwargs: str = "{}") -> CallOutcome:
        """Calls a function of the source with texts of `sandbox/values.py`; callbacks are answered meanwhile.

        The value that comes back was not looked at. Raises SessionEndedError where the interpreter is gone, and what a
        callback raises.
        """
        call = sandbox_pb2.CallFunction(function=function, args=args, kwargs=kwargs)
        self._requests.put(sandbox_pb2.SessionRequest(call=call))
        while True:
            response = self._receive("call_outcome", "callback")
            if response.HasField("call_outcome"):
                return outcome_from_wire(response.call_outcome)
            asked = response.callback
            outcome = self._callbacks[asked.function](asked.args, asked.kwargs)
            self._requests.put(sandbox_pb2.SessionRequest(callback_outcome=outcome_to_wire(outcome)))

    def close(self) -> RunResult:
        """Ends the session in good order; how it ended."""
        self._requests.put(None)
        try:
            self._receive()
        except SessionEndedError as error:
            return error.result
        raise AssertionError("unreachable: _receive() raises")

    def _receive(self, *expected: str) -> sandbox_pb2.SessionResponse:
        """The next response, one of the kinds expected. Raises SessionEndedError where it is the last one."""
        with service_errors("sandbox", self._address):
            response = next(self._stream, None)
        kind = response.WhichOneof("response") if response is not None else "nothing"
        if kind == "ended" and response is not None:
            raise SessionEndedError(result_from_wire(response.ended.result))
        if response is None or kind not in expected:
            what = f"the session sent {kind} out of turn"
            raise ServiceUnavailableError("sandbox", self._address, grpc.StatusCode.INTERNAL, what)
        return response
