"""Whether every other trainer's own interface takes Assay's rewards: the tests that call them, one figure a trainer."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.figures import Figure

ROOT = Path(__file__).parents[1]
BAR = "a real call through the peer's own interface"
CALLS = {
    "TRL: GRPOTrainer, two steps": "test_adapter_trl",
    "verl: reward loop worker": "test_verl_loads",
    "OpenRLHF: executor, Python file": "test_openrlhf_calls",
    "OpenRLHF: executor, HTTP": "test_openrlhf_posts",
    "verifiers: task rewards": "test_verifiers_scores",
    "verifiers: rubric and environment": "test_rubrics_of",
    "NeMo RL: environment (the interface stood in for), Ray actor": "test_nemo_rl",
}
"""What is called to a part of the names of its tests."""


def adapters() -> Iterator[Figure]:
    """A figure for each trainer; not measured where its package is not there."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "tests/services/adapters", "--junitxml", str(results)]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        cases = list(ElementTree.parse(results).iter("testcase"))
    for name, part in CALLS.items():
        outcomes = [_passed(case) for case in cases if part in f"{case.get('classname')}.{case.get('name')}"]
        met = None if not outcomes or None in outcomes else all(outcomes)
        yield Figure(name, f"{outcomes.count(True)} of {len(outcomes)} tests", BAR, met)


def _passed(case: ElementTree.Element) -> bool | None:
    """None for a test that was left out."""
    if case.find("skipped") is not None:
        return None
    return case.find("failure") is None and case.find("error") is None
