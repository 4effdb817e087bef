"""Clients of the sandbox service in plain types. They do not try again: their user knows what may be redone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import grpc

from protos.gen.assay.v1 import sandbox_pb2, sandbox_pb2_grpc
from services.addresses import address_of
from services.client.channel import ServiceUnavailableError, open_async_channel, open_channel, service_errors
from services.sandbox.wire import Refusal, Result, Run, outcome_from_wire, run_to_wire

__all__ = ["AsyncSandboxClient", "Execution", "Refusal", "Result", "Run", "SandboxClient"]


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

    def execute(self, runs: Sequence[Run], timeout_seconds: float) -> list[Result]:
        """Runs a batch; results in order. `services.sandbox.bounds` says how much fits into one."""
        return self.start(runs, timeout_seconds).results()

    def start(self, runs: Sequence[Run], timeout_seconds: float) -> Execution:
        """Begins to run a batch and returns at once."""
        return Execution(self._stub.Execute.future(_request(runs), timeout=timeout_seconds), len(runs), self.address)

    def stream(self, runs: Iterable[tuple[str, Run]], timeout_seconds: float) -> Iterator[tuple[str, Result | Refusal]]:
        """Runs what comes, as it comes, and yields what becomes of it as it ends, in any order.

        runs: names, unique in the stream, and runs; read in a thread of gRPC's. Closing the iterator ends all runs.
        """
        requests = (run_to_wire(name, run) for name, run in runs)
        call = self._stub.ExecuteStream(requests, timeout=timeout_seconds)
        try:
            with service_errors("sandbox", self.address):
                for outcome in call:
                    yield outcome.id, outcome_from_wire(outcome)
        finally:
            call.cancel()


class Execution:
    """A batch that runs."""

    def __init__(self, future: Any, count: int, address: str) -> None:
        self._future = future
        self._count = count
        self._address = address

    def results(self) -> list[Result]:
        """Waits for the end; a result for each run, in order. Raises as `SandboxClient` says."""
        with service_errors("sandbox", self._address):
            response = self._future.result()
        return _results(response, self._count, self._address)

    def cancel(self) -> None:
        """Ends the runs; does nothing where they have ended."""
        self._future.cancel()


class AsyncSandboxClient:
    """Calls one sandbox service from asyncio. Made and used in one loop; errors are those of `SandboxClient`."""

    def __init__(self, address: str | None = None) -> None:
        """address: as for `SandboxClient`."""
        self.address = address or address_of("sandbox")
        self._channel = open_async_channel(self.address)
        self._stub: Any = sandbox_pb2_grpc.SandboxStub(self._channel)

    async def close(self) -> None:
        """Ends running calls, and the runs with them, and closes the connection."""
        await self._channel.close()

    async def execute(self, runs: Sequence[Run], timeout_seconds: float) -> list[Result]:
        """Runs a batch; results in order. Cancelling it ends the runs."""
        with service_errors("sandbox", self.address):
            response = await self._stub.Execute(_request(runs), timeout=timeout_seconds)
        return _results(response, len(runs), self.address)


def _request(runs: Sequence[Run]) -> sandbox_pb2.ExecuteRequest:
    return sandbox_pb2.ExecuteRequest(runs=[run_to_wire(str(index), run) for index, run in enumerate(runs)])


def _results(response: sandbox_pb2.ExecuteResponse, count: int, address: str) -> list[Result]:
    """Raises ServiceUnavailableError where a run has no result."""
    results = [outcome_from_wire(outcome) for outcome in response.outcomes]
    answered = [result for result in results if not isinstance(result, Refusal)]
    if len(answered) != count:
        what = f"the service answered {len(answered)} of {count} runs"
        raise ServiceUnavailableError("sandbox", address, grpc.StatusCode.INTERNAL, what)
    return answered
