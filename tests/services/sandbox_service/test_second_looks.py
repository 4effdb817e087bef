"""What is kept of runs that attack, and what is done again to see whether the same comes out."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from sandbox.jobs import Program, Trial
from sandbox.results import Ending, Limits, RunResult, TrialResult
from services.client.sandbox import Run, SandboxClient
from services.sandbox.evidence import Evidence
from services.sandbox.shadow import Shadow
from services.sandbox.slots import Slots
from services.server.errors import StartError

GOOD, TAMPERED = RunResult(Ending.EXITED, b"1\n"), RunResult(Ending.TAMPERED, b"\xffout", b"err", detail="ptrace")


def kept(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))]


def test_a_run_that_attacked_is_kept_with_all_it_said(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "evidence"
    evidence = Evidence(directory)
    run = Run(Program("print('\udc80')", b"\xfe"), Limits(cpu_seconds=3.0), trace_id="t-1", caller="c")
    evidence.keep(run, TAMPERED, ("landlock",))
    (found,) = kept(directory)
    assert (found["trace_id"], found["caller"], found["layers"]) == ("t-1", "c", ["landlock"])
    assert found["job"]["source"] == "print('\udc80')" and found["job"]["stdin"] == "\\xfe"
    assert found["limits"]["cpu_seconds"] == 3.0
    (process,) = found["processes"]
    assert (process["ending"], process["stdout"], process["stderr"]) == ("TAMPERED", "\\xffout", "err")
    (path,) = directory.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_nothing_is_kept_of_any_other_run(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path)
    for ending in Ending:
        if ending is not Ending.TAMPERED:
            evidence.keep(Run(Program("pass")), RunResult(ending), ())
            evidence.keep(Run(Trial("pass", "pass", ("f",))), TrialResult(RunResult(ending), GOOD), ())
    assert not kept(tmp_path)


@pytest.mark.parametrize("processes", [(TAMPERED, GOOD), (GOOD, TAMPERED)])
def test_a_trial_is_kept_whichever_of_its_processes_attacked(tmp_path: Path, processes: Any) -> None:
    Evidence(tmp_path).keep(Run(Trial("pass", "check", ("f",))), TrialResult(*processes), ())
    assert kept(tmp_path)[0]["job"]["test"] == "check"


def test_evidence_is_bounded_in_files_and_in_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.sandbox.evidence._MOST_FILES", 3)
    evidence = Evidence(tmp_path)
    (tmp_path / "0.json").write_text("somebody else's")
    for number in range(5):
        evidence.keep(Run(Program(f"{number}" + "x" * 100_000)), TAMPERED, ())
    (tmp_path / "0.json").unlink()
    sources = [found["job"]["source"] for found in kept(tmp_path)]
    assert [source[0] for source in sources] == ["2", "3", "4"]
    assert {len(source) for source in sources} == {1 << 16}


def test_a_directory_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"--evidence-dir '.*file': nothing can be written there"):
        Evidence(tmp_path / "file")


class Scripted:
    """A sandbox whose answers are given."""

    def __init__(self, *answers: RunResult) -> None:
        self.answers = list(answers)

    async def run(self, *_: object) -> RunResult:
        return self.answers.pop(0)


def counted(same: str) -> float:
    return REGISTRY.get_sample_value("assay_sandbox_second_runs_total", {"same": same}) or 0.0


def second_runs(share: float, first: RunResult, *seconds: RunResult, times: int = 1) -> tuple[float, float, int]:
    """How many were counted as the same and as different, and how many answers were left."""
    scripted = Scripted(*seconds)
    before = counted("yes"), counted("no")

    async def main() -> None:
        shadow = Shadow(scripted, Slots(1, 1), share)  # type: ignore[arg-type]
        for _ in range(times):
            shadow.consider(Run(Program("pass")), first)
            for _ in range(5):
                await asyncio.sleep(0)

    asyncio.run(main())
    return counted("yes") - before[0], counted("no") - before[1], len(scripted.answers)


def test_second_runs_count_what_is_the_same_and_what_is_not() -> None:
    assert second_runs(1.0, GOOD, GOOD) == (1, 0, 0)
    assert second_runs(1.0, GOOD, RunResult(Ending.EXITED, b"2\n")) == (0, 1, 0)
    assert second_runs(1.0, GOOD, RunResult(Ending.RAISED, b"1\n")) == (0, 1, 0)
    assert second_runs(1.0, GOOD, RunResult(Ending.EXITED, b"1\n", cpu_seconds=2.0, stderr=b"x")) == (1, 0, 0)


def test_a_share_of_the_runs_is_done_again() -> None:
    assert second_runs(0.25, GOOD, *[GOOD] * 9, times=12) == (3, 0, 6)
    assert second_runs(0.0, GOOD, GOOD, times=50) == (0, 0, 1)


@pytest.mark.parametrize("ending", [Ending.CPU_LIMIT, Ending.WALL_LIMIT, Ending.OUTPUT_LIMIT, Ending.INFRASTRUCTURE])
def test_what_met_a_limit_or_a_fault_is_not_done_again(ending: Ending) -> None:
    assert second_runs(1.0, RunResult(ending), GOOD) == (0, 0, 1)


def test_a_fault_under_the_second_run_is_not_counted() -> None:
    assert second_runs(1.0, GOOD, RunResult(Ending.INFRASTRUCTURE)) == (0, 0, 0)


def test_a_second_run_waits_behind_everything() -> None:
    """The only slot is busy and somebody of the lowest priority waits: the second run comes last."""
    order: list[str] = []

    class Noting(Scripted):
        async def run(self, *_: object) -> RunResult:
            order.append("second run")
            return GOOD

    async def main() -> None:
        slots = Slots(1, 10)
        shadow = Shadow(Noting(), slots, 1.0)  # type: ignore[arg-type]

        async def somebody() -> None:
            async with slots.slot("somebody", 0):
                order.append("somebody")

        async with slots.slot():
            shadow.consider(Run(Program("pass")), GOOD)
            await asyncio.sleep(0)
            waiting = asyncio.create_task(somebody())
            await asyncio.sleep(0)
        await waiting
        assert shadow._under_way is not None
        await shadow._under_way

    asyncio.run(main())
    assert order == ["somebody", "second run"]


def test_the_service_keeps_attacks_and_counts_second_runs(start_service: Any, tmp_path: Path) -> None:
    service = start_service(
        "services.sandbox", "--workers", "1", "--evidence-dir", str(tmp_path / "kept"), "--second-runs", "1"
    )
    attack = "import ctypes\nctypes.CDLL(None).ptrace(16, 1, 0, 0)"
    with SandboxClient(service.address) as client:
        results = client.execute([Run(Program(source)) for source in (attack, "import os\nprint(os.urandom(8))")], 60)
        client.execute([Run(Program("print(1)"))], 60)
    assert [result.ending for result in results if isinstance(result, RunResult)] == [Ending.TAMPERED, Ending.EXITED]
    (found,) = kept(tmp_path / "kept")
    assert found["job"]["source"] == attack
    metrics = service.metrics()
    assert sum(value for name, value in metrics.items() if name.startswith("assay_sandbox_second_runs_total")) >= 1
    assert os.getuid() == (tmp_path / "kept").stat().st_uid
