"""The sandbox: fork servers of several kinds, and the runs in them.

    async with Sandbox() as sandbox:
        result = await sandbox.run(Program("print(input())", stdin=b"hello"))
        assert result.stdout == b"hello\\n"

It executes and reports; it never judges and is never told what is right.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Self

from sandbox.imports import checker_kind_of, kind_of
from sandbox.inside.namespaces import IDS
from sandbox.jobs import Job, Kind, Language, Program, Trial, check_length
from sandbox.results import Ending, Limits, RunResult, TrialResult
from sandbox.run import Process
from sandbox.server import Server, ServerError, Setup
from sandbox.trial import run_trial

_RUNS_OF_A_SERVER = 50_000
"""After so many a server is replaced, in case something of it has grown."""
_COMPILE_LIMITS = Limits(cpu_seconds=20.0, wall_seconds=60.0, memory_bytes=1 << 30)
_COMPILED = 64
"""Binaries that are kept: the cases of an item run one program each."""


class Sandbox:
    """Owns the fork servers; a server is started when its kind is first needed, and again when it was lost.

    `slots` runs go on at once, a trial counting as one; the others wait. They are never more than a fork server has users
    for (`IDS`): each run has one of its own. Everything a run started is gone before its
    result is there, and when its caller is cancelled.
    """

    def __init__(self, slots: int = 2, setup: Setup | None = None) -> None:
        self.setup = setup or Setup.here()
        self.restarts = 0
        """Servers that were lost and replaced."""
        self.retries = 0
        """Runs and trials done once more because the sandbox had failed under them."""
        self.fallbacks: Counter[Kind] = Counter()
        """Runs that were done again in FILES, by the kind that turned out to have too little."""
        self._servers: dict[Kind, Server] = {}
        self._starting: dict[Kind, asyncio.Lock] = {}
        self._slots = asyncio.Semaphore(min(slots, IDS))
        self._compiled: dict[str, asyncio.Task[RunResult | str]] = {}
        self._retired: set[Server] = set()
        self._is_closed = False
        self._impossible: dict[Kind, str] = {}
        """Kinds that this machine does not permit, and why."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_closed = True
        for server in (*self._servers.values(), *self._retired):
            server.lose("the sandbox was closed")

    async def server(self, kind: Kind) -> Server:
        """The server of a kind, started if need be. Raises ServerError where it cannot be."""
        if kind in self._impossible:
            raise ServerError(self._impossible[kind], forbidden=True)
        async with self._starting.setdefault(kind, asyncio.Lock()):
            if self._is_closed:
                raise ServerError("the sandbox was closed")
            server = self._servers.get(kind)
            if server is not None and server.is_alive and server.started_runs < _RUNS_OF_A_SERVER:
                return server
            if server is not None:
                self.restarts += not server.is_alive
                self._retire(server)
            server = Server(kind, self.setup)
            try:
                await server.start()
            except ServerError as error:
                if error.forbidden:
                    self._impossible[kind] = str(error)
                raise
            self._servers[kind] = server
            if self._is_closed:
                server.lose("the sandbox was closed")
            return server

    def layers(self, kind: Kind) -> tuple[str, ...]:
        """What confines runs of a kind; nothing where it has no server."""
        server = self._servers.get(kind)
        return server.layers if server else ()

    def _retire(self, server: Server) -> None:
        self._retired = {old for old in (*self._retired, server) if old.is_alive}
        server.retire()

    async def run(self, job: Job, limits: Limits | None = None, kind: Kind | None = None) -> RunResult:
        """Runs a program, or calls, in a process of its own.

        kind: None chooses by the imports of the source; where that turns out to have been too little, it is run once
        more in FILES. Cancelling it kills the run. Raises ValueError where a source is too long, or another language
        than Python is asked of another kind than SUBPROCESS.
        """
        check_length(job.source)
        limits = limits or Limits()
        if isinstance(job, Program) and job.language is not Language.PYTHON:
            return await self._run_command(job, limits, kind)
        chosen = kind or kind_of(job.source)
        async with self._slots:
            result = await self._run(_fields(job, limits), _stdin(job), limits, chosen)
            if kind is None and result.ending is Ending.UNSUPPORTED and chosen is not Kind.FILES:
                self.fallbacks[chosen] += 1
                result = await self._run(_fields(job, limits), _stdin(job), limits, Kind.FILES)
        return result

    async def trial(self, trial: Trial, limits: Limits | None = None, kind: Kind | None = None) -> TrialResult:
        """Runs test code against a candidate. kind: the candidate's. Raises ValueError where a source is too long."""
        check_length(trial.source)
        check_length(trial.test, "test")
        chosen = kind or kind_of(trial.source)
        limits = limits or Limits()
        async with self._slots:
            result = await self._trial(trial, limits, chosen)
            if Ending.INFRASTRUCTURE in (result.candidate.ending, result.checker.ending):
                self.retries += 1
                result = await self._trial(trial, limits, chosen)
        return result

    async def _trial(self, trial: Trial, limits: Limits, kind: Kind) -> TrialResult:
        try:
            checkers = await self.server(checker_kind_of(trial.test, trial.modules))
            return await run_trial(trial, limits, await self.server(kind), checkers)
        except OSError as error:
            lost = _out_of_something(error)
        except ServerError as error:
            lost = _unavailable(kind, error)
        return TrialResult(lost, lost)

    async def _run(self, fields: list[str], stdin: bytes, limits: Limits, kind: Kind) -> RunResult:
        """One run, and another one where the sandbox failed under it."""
        result = await self._run_once(fields, stdin, limits, kind)
        if result.ending is not Ending.INFRASTRUCTURE:
            return result
        self.retries += 1
        return await self._run_once(fields, stdin, limits, kind)

    async def _run_once(self, fields: list[str], stdin: bytes, limits: Limits, kind: Kind) -> RunResult:
        try:
            server = await self.server(kind)
        except ServerError as error:
            return _unavailable(kind, error)
        try:
            process = Process(server, fields, stdin, limits)
        except OSError as error:
            return _out_of_something(error)
        except ServerError as error:
            return _unavailable(kind, error)
        with process:
            await process.wait()
            return process.result()

    async def _run_command(self, program: Program, limits: Limits, kind: Kind | None) -> RunResult:
        if kind not in (None, Kind.SUBPROCESS):
            raise ValueError(f"kind is {kind}; programs in {program.language} need {Kind.SUBPROCESS}")
        compiled = await self._compile(program)
        if isinstance(compiled, RunResult):
            return compiled
        async with self._slots:
            return await self._run(["command", program.language, compiled], program.stdin, limits, Kind.SUBPROCESS)

    async def _compile(self, program: Program) -> str | RunResult:
        """What the language's compiler makes of a source, made once; or how that failed."""
        key = f"{program.language}\0{program.source}"
        task = self._compiled.get(key)
        if task is None:
            while len(self._compiled) >= _COMPILED:
                del self._compiled[next(iter(self._compiled))]
            task = self._compiled[key] = asyncio.create_task(self._compile_once(program))
        result = await asyncio.shield(task)
        if isinstance(result, RunResult) and result.ending is Ending.INFRASTRUCTURE:
            self._compiled.pop(key, None)
        return result

    async def _compile_once(self, program: Program) -> str | RunResult:
        fields = ["compile", program.language, program.source]
        async with self._slots:
            result = await self._run(fields, b"", _COMPILE_LIMITS, Kind.SUBPROCESS)
        if result.ending is not Ending.EXITED:
            return result
        return result.stdout.decode("utf-8", "surrogatepass")


def _fields(job: Job, limits: Limits) -> list[str]:
    if isinstance(job, Program):
        return ["program", job.source]
    calls = [text for call in job.calls for text in (call.function, call.args, call.kwargs)]
    return ["calls", job.source, str(limits.output_bytes), *calls]


def _stdin(job: Job) -> bytes:
    return job.stdin if isinstance(job, Program) else b""


def _out_of_something(error: OSError) -> RunResult:
    return RunResult(Ending.INFRASTRUCTURE, detail=f"the sandbox is out of something: {error}")


def _unavailable(kind: Kind, error: ServerError) -> RunResult:
    ending = Ending.UNSUPPORTED if error.forbidden else Ending.INFRASTRUCTURE
    return RunResult(ending, detail=f"its server, of kind {kind}, is not there: {error}", kind=kind.value)
