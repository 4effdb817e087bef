"""Measures the choice of data: `python -m benchmarks.rollouts_data`. A file of 250 MB is written and taken away again."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, report
from trainer.config import JobConfig, parse_job
from trainer.mixing import WHOLE, Mixer, shares_of
from trainer.prompt_stream import open_stream

ROWS = 500_000
RESUMED = 100
STEPS = 200
PER_STEP = 32
SAMPLES = 8


def data_figures(rows: int = ROWS) -> Iterator[Figure]:
    """Memory and time of a large file, resumed runs, proportions, and what a curriculum is good for."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _large_file(folder, rows)
        yield _resumed(folder)
        yield _proportions()
        yield _curriculum(folder)


def _large_file(folder: Path, rows: int) -> Iterator[Figure]:
    """In a process of its own: the most memory that a process had says nothing of one part of it."""
    write_rows(folder / "large.jsonl", rows, "x" * 400)
    size = (folder / "large.jsonl").stat().st_size
    done = subprocess.run([sys.executable, "-m", __spec__.name, str(folder)], capture_output=True, check=True)
    found = json.loads(done.stdout)
    memory, file = found["bytes"] / 2**20, size / 2**20
    yield Figure(
        f"memory of a run on {rows:,} prompts",
        f"{memory:.0f} MiB for a file of {file:.0f} MiB",
        "at most 128 MiB",
        memory <= 128,
    )
    ratio = found["open"] / found["parse"]
    told = f"{found['open'] / rows * 1e6:.0f} µs of CPU a row, {ratio:.1f} times"
    yield Figure("opening it, against parsing its JSON alone", told, "at most 8 times", ratio <= 8)
    draw = found["draw"] * 1e3
    yield Figure(f"a draw of {PER_STEP} of them", f"{draw:.1f} ms of CPU", "at most 25 ms", draw <= 25)


def measure_large(folder: Path) -> dict[str, float]:
    """CPU seconds of opening, drawing and mere parsing, and the memory that came with the first two."""
    config = _job(folder, {"train": "large.jsonl", "max_difficulty": 1.0})
    before, began = _peak_bytes(), time.process_time()
    stream = open_stream(config, None)
    opened, began = time.process_time() - began, time.process_time()
    for step in range(20):
        stream.draw(PER_STEP, step, 0.5)
    drawn, began = (time.process_time() - began) / 20, time.process_time()
    memory = _peak_bytes() - before
    with (folder / "large.jsonl").open() as lines:
        for line in lines:
            json.loads(line)
    return {"bytes": memory, "open": opened, "draw": drawn, "parse": time.process_time() - began}


def _resumed(folder: Path) -> Figure:
    write_rows(folder / "a.jsonl", 97, "a")
    write_rows(folder / "b.jsonl", 31, "b")
    falling = {"schedule": "linear", "start": 3.0, "end": 0.5}
    sources = [
        {"name": "a", "path": "a.jsonl", "weight": falling},
        {"name": "b", "path": "b.jsonl"},
        {"name": "sums", "iterator": "examples.data.sums:sums", "domain": "math", "weight": 0.5},
    ]
    config, draw = _job(folder, {"sources": sources}), random.Random(0)
    alike = 0
    for _ in range(RESUMED):
        counts = [draw.randint(1, 20) for _ in range(12)]
        whole, part = open_stream(config, None), open_stream(config, None)
        cuts = set(draw.sample(range(12), 4))
        same = True
        for step, count in enumerate(counts):
            if step in cuts:
                state = json.loads(json.dumps(part.state_dict()))
                part = open_stream(config, None)
                part.load_state_dict(state)
            same &= part.draw(count, step) == whole.draw(count, step)
        alike += same
    return Figure(
        "runs cut at four places that drew what an uncut one draws",
        f"{alike} of {RESUMED}",
        f"{RESUMED} of {RESUMED}",
        alike == RESUMED,
    )


def _proportions() -> Figure:
    draw, worst = random.Random(0), 0.0
    for _ in range(20):
        shares = shares_of([draw.random() ** 3 for _ in range(8)])
        mixer, counts = Mixer(8), [0] * 8
        for drawn in range(1, 5001):
            counts[mixer.pick(shares)] += 1
            worst = max(
                worst, *(abs(count - drawn * share / WHOLE) for count, share in zip(counts, shares, strict=True))
            )
    return Figure(
        "8 sources by weight, largest distance from their shares in 5,000 draws",
        f"{worst:.3f} draws",
        "below 1",
        worst < 1,
    )


def _curriculum(folder: Path) -> Figure:
    """A learner that is made up: its skill grows from 0 to 10, and it solves a prompt of difficulty d with the probability
    sigmoid(2 (skill - d)). A group has signal where some of its 8 completions are right, and not all."""
    (folder / "graded.jsonl").write_text("".join(_line(place, "g", 20 * place / 2000) for place in range(2000)))
    plain = _with_signal(_job(folder, {"train": "graded.jsonl"}))
    chosen = _with_signal(_job(folder, {"train": "graded.jsonl", "curriculum": {"by": "pass_rate", "width": 0.4}}))
    told = f"{chosen:.2f} of the groups, {plain:.2f} without"
    return Figure(
        "groups with signal under a curriculum by pass rate, a simulated learner",
        told,
        "at least 1.5 times as many",
        chosen >= 1.5 * plain,
    )


def _with_signal(config: JobConfig) -> float:
    stream, draw, found = open_stream(config, None), random.Random(0), 0
    for step in range(STEPS):
        skill = 10 * step / STEPS
        for each in stream.draw(PER_STEP, step):
            chance = 1 / (1 + math.exp(2 * ((each.prompt.difficulty or 0.0) - skill)))
            right = sum(draw.random() < chance for _ in range(SAMPLES))
            found += 0 < right < SAMPLES
            stream.learned(each.prompt, right / SAMPLES)
    return found / (STEPS * PER_STEP)


def write_rows(path: Path, rows: int, text: str) -> None:
    """JSON lines whose difficulty grows from 0 to 1."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(_line(place, text, place / rows) for place in range(rows))


def _line(place: int, text: str, difficulty: float) -> str:
    row = {
        "id": str(place),
        "domain": "math",
        "prompt": f"{text} {place}",
        "checks": {"gold": str(place)},
        "difficulty": difficulty,
    }
    return json.dumps(row) + "\n"


def _job(folder: Path, data: dict[str, Any]) -> JobConfig:
    return parse_job(
        {
            "job": {"name": "data"},
            "model": {"path": "model"},
            "data": data,
            "rollout": {"prompts_per_step": PER_STEP, "samples_per_prompt": SAMPLES, "max_new_tokens": 8},
            "rewards": {"scorers": {"math": ["math"]}, "weights": {"math/correctness": 1.0}},
            "loss": {"terms": [{"name": "policy", "type": "grpo"}]},
            "optim": {"steps": STEPS, "learning_rate": 1e-4},
            "evaluation": {"accuracy": {"math": "math/correctness"}},
        },
        folder,
    )


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure_large(Path(sys.argv[1]))))
    else:
        sys.exit(report(list(data_figures())))
