"""Says what confines a run on this machine, what does not, and what that leaves open."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.inside.confine import FILTER, SEALED
from sandbox.inside.jail import JAIL
from sandbox.inside.landlock import LANDLOCK
from sandbox.inside.namespaces import NAMESPACES, OWN_USER, USER_NAMESPACE
from sandbox.jobs import Kind
from sandbox.pool import Sandbox
from sandbox.selftest import self_test
from sandbox.server import ServerError

_ALWAYS = (
    "an empty environment, no new privileges, no capabilities, no tracing, no descriptors but the run's own",
    "limits: CPU and wall time, address space, length of files, open files, output",
    "the whole process tree is ended with the run, all runs with their server, the server with its owner",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one kind. `layers` are in force; `missing` says why others are not; `broken` why it cannot run."""

    kind: Kind
    layers: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    broken: str = ""
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class Examination:
    """`failures`: what the self-test found; runs must not be trusted while there are any."""

    findings: tuple[Finding, ...]
    failures: tuple[str, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the sandbox must not serve: what does not hold, and kinds that are missing though they need nothing."""
        needed = [finding for finding in self.findings if finding.kind.value in SEALED or not finding.forbidden]
        return (*self.failures, *(f"{finding.kind}: {finding.broken}" for finding in needed if finding.broken))

    @property
    def is_sound(self) -> bool:
        """Whether the sandbox may serve."""
        return not self.faults

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(finding.kind for finding in self.findings if not finding.broken)


async def examine(sandbox: Sandbox, kinds: tuple[Kind, ...] = tuple(Kind)) -> Examination:
    """Starts the servers of the kinds and tries them."""
    findings = []
    for kind in kinds:
        try:
            server = await sandbox.server(kind)
        except ServerError as error:
            findings.append(Finding(kind, broken=str(error), forbidden=error.forbidden))
        else:
            findings.append(Finding(kind, server.layers, tuple(server.missing.items())))
    there = tuple(finding.kind for finding in findings if not finding.broken)
    try:
        failures = await self_test(sandbox, there) if there else ["no kind of process can be had"]
    except ServerError as error:
        failures = [f"a server was lost in the self-test: {error}"]
    return Examination(tuple(findings), tuple(failures))


def describe(examination: Examination) -> str:
    """The findings as text for a person."""
    lines = ["in force for every run:", *(f"  {text}" for text in _ALWAYS), "", "by kind of process:"]
    for finding in examination.findings:
        lines.append(f"  {finding.kind:<17}{finding.broken or ', '.join(finding.layers)}")
    missing = {layer: reason for finding in examination.findings for layer, reason in finding.missing}
    if missing:
        lines += ["", "not permitted here:", *(f"  {layer}: {reason}" for layer, reason in missing.items())]
    lines += ["", "not covered:"]
    lines += [f"  {text}" for text in open_ends(examination)]
    if not examination.is_sound:
        lines += ["", "the self-test failed, nothing may be trusted:", *(f"  {text}" for text in examination.faults)]
    else:
        lines += ["", "the self-test found nothing open"]
    return "\n".join(lines)


def open_ends(examination: Examination) -> list[str]:
    """What a program can do that it perhaps should not, given the layers in force."""
    by_kind = {finding.kind: set(finding.layers) for finding in examination.findings if not finding.broken}
    every = set.intersection(*by_kind.values()) if by_kind else set()
    found = ["faults of the kernel in the system calls that are left; a virtual machine or gVisor covers those"]
    found.append("the time that programs take, by which those on one machine can tell something of each other")
    if not every & {NAMESPACES, USER_NAMESPACE}:
        found.append("no namespaces: only the system-call filter keeps runs from other processes and the network")
    if JAIL not in every:
        found.append("no jail: attributes of files whose path is known can be read in the kind files")
    if LANDLOCK not in every:
        found.append("no Landlock: only the system-call filter and the jail keep runs from the machine's files")
    if OWN_USER not in every:
        found.append("runs share a user: only the system-call filter keeps them from one another")
    if FILTER not in every:
        found.append("no system-call filter: the whole kernel can be reached")
    if any(JAIL not in by_kind.get(kind, {JAIL}) for kind in (Kind.FILES, Kind.SUBPROCESS)):
        found.append(
            "no jail: what a run takes up of the disk is looked at every 10 to 20 ms, not limited by the kernel"
        )
    if Kind.SUBPROCESS in by_kind:
        found.append("memory and CPU time of several processes are looked at every 10 ms, not limited by the kernel")
    if {Kind.FILES, Kind.SUBPROCESS} & set(by_kind):
        found.append("locks on files that all may read, by which two runs at one time can tell each other something")
    return found
