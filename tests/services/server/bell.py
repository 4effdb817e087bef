"""A tiny service for tests of the runtime: Describe rings slowly, and the context leaves a note when it closes."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.server.errors import StartError
from services.server.serve import serve


def leave(note):
    Path(note).touch()


class Bell(scoring_pb2_grpc.ScorerServicer):
    def __init__(self, service):
        self.service = service

    async def Describe(self, request, context):
        leave("ringing")
        await asyncio.sleep(self.service.options.rings)
        return scoring_pb2.Description(name="bell")

    async def ScoreStream(self, request_iterator, context):
        await self.service.draining.wait()
        yield scoring_pb2.ScoreBatchResponse()


@asynccontextmanager
async def register(service):
    if service.options.rings < 0:
        raise StartError("rings must not be negative")
    if service.options.rings > 900:
        leave("loading")
        await asyncio.sleep(600)
    scoring_pb2_grpc.add_ScorerServicer_to_server(Bell(service), service.server)
    yield
    leave("closed")


if __name__ == "__main__":
    serve(
        "scorer",
        register,
        interfaces=["assay.v1.Scorer"],
        about="Rings.",
        add_options=lambda parser: parser.add_option("--rings", type=float, default=0.0, help="seconds"),
    )
