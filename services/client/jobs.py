"""A client of the jobs service in plain types: tries again while the service is away, and goes on watching."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from protos.gen.assay.v1 import jobs_pb2, jobs_pb2_grpc
from services.addresses import address_of
from services.client.channel import ServiceUnavailableError, open_channel, service_errors
from services.jobs.job import Job, JobEvent
from services.jobs.wire import event_from_wire, job_from_wire

_CALL_SECONDS = 30.0
_AGAIN_SECONDS = 0.2


class JobsClient:
    """Calls one jobs service. Threads may share it.

    Every method raises ServiceError where the service refuses (its `code` is NOT_FOUND for an unknown job) and
    ServiceUnavailableError where it stayed away for `patience_seconds`.
    """

    def __init__(self, address: str | None = None, *, patience_seconds: float = 30.0) -> None:
        """address: `host:port`; the default is ASSAY_JOBS_ADDRESS or the default port on this machine."""
        self.address = address or address_of("jobs")
        self._patience_seconds = patience_seconds
        self._channel = open_channel(self.address)
        self._stub: Any = jobs_pb2_grpc.JobsStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends running calls and closes the connection."""
        self._channel.close()

    def submit(self, config: Mapping[str, Any], idempotency_key: str = "") -> Job:
        """Queues a job; two submissions with one key are one job, and the second says so in `deduplicated`.

        Without a key a fresh one is made, so that a try whose answer was lost does not queue the job twice.
        ServiceError has the code ALREADY_EXISTS where the key belongs to a job with another configuration.
        """
        request = jobs_pb2.SubmitRequest(
            config_json=json.dumps(config), idempotency_key=idempotency_key or uuid.uuid4().hex
        )
        return job_from_wire(self._call(self._stub.Submit, request))

    def get(self, job_id: str) -> Job:
        return job_from_wire(self._call(self._stub.Get, jobs_pb2.GetJobRequest(id=job_id)))

    def list(self, limit: int = 50) -> list[Job]:
        """The newest jobs, newest first, without their configurations."""
        response = self._call(self._stub.List, jobs_pb2.ListJobsRequest(limit=limit))
        return [job_from_wire(job) for job in response.jobs]

    def cancel(self, job_id: str) -> Job:
        """Asks a job to stop. A running one writes a checkpoint first: watch it to see it end."""
        return job_from_wire(self._call(self._stub.Cancel, jobs_pb2.CancelJobRequest(id=job_id)))

    def watch(self, job_id: str, after: str = "", *, history_only: bool = False) -> Iterator[JobEvent]:
        """The job's events from the beginning or after a cursor, until it ends, each once.

        history_only: ends with the newest event instead of waiting for more.
        """
        while True:
            stream = None
            try:
                with service_errors("jobs", self.address):
                    stream = self._stub.Watch(jobs_pb2.WatchRequest(id=job_id, after=after, history_only=history_only))
                    for event in stream:
                        after = event.cursor
                        yield event_from_wire(event)
                return
            except ServiceUnavailableError:
                time.sleep(_AGAIN_SECONDS)
                # waits for the service, and raises where it stays away
                self.get(job_id)
            finally:
                if stream is not None:
                    stream.cancel()

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        retrying = Retrying(
            retry=retry_if_exception_type(ServiceUnavailableError),
            stop=stop_after_delay(self._patience_seconds),
            wait=wait_exponential_jitter(initial=0.1, max=2.0),
            reraise=True,
        )
        return retrying(self._try, method, request)

    def _try(self, method: Callable[..., Any], request: Any) -> Any:
        with service_errors("jobs", self.address):
            return method(request, timeout=_CALL_SECONDS)
