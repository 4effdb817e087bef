"""Measures the whole pipeline: `python -m benchmarks.pipeline --gsm8k FILE --humaneval FILE [--seeds 0 1 2]`.

Prints a table with a bar for each figure; the last line says how many were met, and the exit code is 1 if one was
missed. The quickstart runs once for each seed, exactly as `make run` does after installation. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.figures import Figure, report

ROOT = Path(__file__).parent.parent
ASSAY = [sys.executable, "-m", "trainer.cli"]
LIMIT_SECONDS = 360.0
POINTS = 10.0
HELDOUT = 256


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one quickstart each")
    parser.add_argument("--gsm8k", type=Path, help="rows with prompt, response, gold, expected")
    parser.add_argument("--humaneval", type=Path, help="rows with prompt, canonical_solution, entry_point, test")
    arguments = parser.parse_args()
    figures = [figure for seed in arguments.seeds for figure in quickstart(seed)]
    if arguments.gsm8k:
        figures.append(gsm8k(arguments.gsm8k))
    if arguments.humaneval:
        figures += humaneval(arguments.humaneval)
    return report(figures)


def quickstart(seed: int) -> list[Figure]:
    """One run of the main job."""
    before = own_processes()
    began = time.monotonic()
    summary = run_quickstart(seed)
    seconds = time.monotonic() - began
    left = own_processes() - before
    if isinstance(summary, int):
        return [Figure(f"quickstart, seed {seed}", f"exit code {summary}", "exit code 0", False)]
    start, end = summary["accuracy_before"], summary["accuracy_after"]
    gain = 100 * (end["overall"] - start["overall"])
    domains = {name: 100 * (end["by_domain"][name] - value) for name, value in start["by_domain"].items()}
    return [
        Figure(f"seed {seed}: seconds", f"{seconds:.0f}", f"under {LIMIT_SECONDS:.0f}", seconds < LIMIT_SECONDS),
        Figure(
            f"seed {seed}: held-out accuracy",
            f"{start['overall']:.1%} to {end['overall']:.1%} ({gain:+.1f} points, {end['scored']} problems)",
            f"+{POINTS:.0f} points on {HELDOUT} or more",
            gain >= POINTS and end["scored"] >= HELDOUT,
        ),
        Figure(
            f"seed {seed}: by domain",
            ", ".join(f"{name} {points:+.1f}" for name, points in domains.items()),
            "none worse",
            all(points >= 0 for points in domains.values()),
        ),
        Figure(
            f"seed {seed}: calls",
            ", ".join(f"{name} {count}" for name, count in summary["calls"].items()),
            "every service above 0",
            len(summary["calls"]) == 7 and min(summary["calls"].values()) > 0,
        ),
        Figure(f"seed {seed}: processes left", str(len(left)), "0", not left),
    ]


def run_quickstart(seed: int, *arguments: str) -> dict | int:
    """Its `summary.json`, or the exit code where it is not 0."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "examples.quickstart", "--seed", str(seed), "--runs-dir", folder, "--plain"]
        done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(done.stdout[-3000:], done.stderr[-3000:], sep="\n", file=sys.stderr)
            return done.returncode
        (path,) = Path(folder).glob("*/summary.json")
        return json.loads(path.read_text())


def gsm8k(path: Path) -> Figure:
    """Agreement of the math service with the labels of real solutions."""
    last = score("--domain", "math", str(path))[-1]
    result = f"{last['agreements']} of {last['of']}"
    return Figure("math: gsm8k labels", result, "all", last["agreements"] == last["of"] > 0)


def humaneval(path: Path) -> list[Figure]:
    """Canonical solutions pass; bodies that return None do not."""
    right = score("--domain", "code", str(path), "--response", "canonical_solution")[-1]
    null = score("--domain", "code", str(path), "--response-text", "    return None")[-1]
    rows = right["scored"] + right["missing"]
    passed, fooled = right["labels"].get("pass", 0), null["labels"].get("pass", 0)
    return [
        Figure("code: HumanEval canonical solutions", f"{passed} of {rows} pass", "all", passed == rows > 0),
        Figure("code: HumanEval `return None`", f"{fooled} of {rows} pass", "0", fooled == 0 and null["missing"] == 0),
    ]


def score(*arguments: str) -> list[dict]:
    """The JSON lines of `assay score`."""
    done = subprocess.run(
        [*ASSAY, "score", "--json", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if not done.stdout:
        raise RuntimeError(f"assay score failed: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def own_processes() -> set[int]:
    """Processes of this Python environment, this one apart."""
    found = set()
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        if ("services." in command or "-m trainer" in command) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.add(process.info["pid"])
    return found


if __name__ == "__main__":
    sys.exit(main())
