"""The quickstart with vLLM as the engine, held to the same bar as with transformers."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import Figure
from benchmarks.pipeline import POINTS, run_quickstart
from benchmarks.rollouts_parity import ENGINES
from services.stack import StackError, rollout_spec

BAR = f"+{POINTS:.0f} points, no domain worse"


def quickstart() -> Iterator[Figure]:
    """Held-out accuracy with each engine, from the same seed; vLLM's is not measured where its environment is missing."""
    for engine in ENGINES:
        try:
            rollout_spec(engine)
        except StackError as error:
            yield Figure(f"quickstart, engine {engine}", f"not measured: {error}", BAR, None)
            continue
        yield _learns(engine)


def _learns(engine: str) -> Figure:
    summary = run_quickstart(0, "--engine", engine)
    if isinstance(summary, int):
        return Figure(f"quickstart, engine {engine}", f"exit code {summary}", BAR, False)
    start, end = summary["accuracy_before"], summary["accuracy_after"]
    gain = 100 * (end["overall"] - start["overall"])
    worse = [name for name, value in start["by_domain"].items() if end["by_domain"][name] < value]
    told = f"{start['overall']:.1%} to {end['overall']:.1%} ({gain:+.1f} points), {summary['seconds']['total']:.0f} s"
    return Figure(f"quickstart, engine {engine}", told, BAR, gain >= POINTS and not worse)
