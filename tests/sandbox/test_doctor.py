from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from sandbox.doctor import describe, examine, open_ends
from sandbox.endings import Report
from sandbox.inside.jail import JAIL
from sandbox.inside.namespaces import NAMESPACES, OWN_USER
from sandbox.results import Ending, RunResult

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_in_force_and_what_is_missing_are_all_the_layers() -> None:
    report, result = asyncio.run(examine())
    assert result.ending is Ending.EXITED
    assert not set(report.layers) & {layer for layer, _ in report.missing}


def test_each_missing_layer_leaves_something_open() -> None:
    whole = {NAMESPACES, JAIL, OWN_USER}
    few = set(open_ends(Report(tuple(whole))))
    for layer in whole:
        assert few < set(open_ends(Report(tuple(whole - {layer})))), layer


def test_a_sandbox_that_does_not_work_is_said_to() -> None:
    text = describe(Report(missing=(("jail", "no"),)), RunResult(Ending.INFRASTRUCTURE, detail="no processes"))
    assert "jail: no" in text
    assert "runs do not work: INFRASTRUCTURE: no processes" in text


def test_the_command_prints_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "doctor"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("in force:\n")
    assert "not covered:" in done.stdout
    assert "system calls are not filtered" in done.stdout
