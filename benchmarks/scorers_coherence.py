"""Measures the coherence scorer: `python -m benchmarks.scorers_coherence GSM8K_SOLUTIONS [--list]`.

The file is JSON lines with `prompt`, `response` and `expected`; the rows that are right count. An answer should be more
relevant to its own question than another question's answer, and flow better than its sentences in another order. Beside
the two figures with a bar in the issue's words stand harder ones: the most similar other question, texts without
calculators' notes, without line breaks and without the answer's line, and prose of `prose.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, report
from services.coherence.scorer import CoherenceScorer
from services.verdicts import Item, Verdict

PROSE = Path(__file__).parent / "prose.jsonl"
ROUNDS = 3
"""Other answers that each answer is compared with, and shuffles of each."""
SEED = 0
LEAST_SENTENCES = 4
_NOTE = re.compile(r"<<[^<>]*>>")
_END = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class Row:
    """A question and a right answer to it; `index` is its line in the file, from 0."""

    index: int
    prompt: str
    response: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """Pairs of which the first should have the higher score."""

    name: str
    component: str
    pairs: Sequence[tuple[Row, Row]]
    bar: float


def coherence(gsm8k: Path, list_misranked: bool = False) -> list[Figure]:
    """The figures; `list_misranked` prints the index of each pair that is ranked wrongly."""
    scorer = CoherenceScorer()
    rows = read_rows(gsm8k)
    prose = read_rows(PROSE)
    bare = _changed(rows, lambda text: _NOTE.sub("", text))
    unanswered = _changed(rows, lambda text: re.sub(r"\nA: .*\s*$", "", text))
    rankings = [
        Ranking("relevance: own answer against another question's", "relevance", against_others(rows), 0.98),
        Ranking("relevance: against the 3 most similar questions'", "relevance", against_similar(rows, scorer), 0.98),
        Ranking("relevance: prose against other prose", "relevance", against_others(prose), 0.98),
        Ranking("flow: answer against itself shuffled", "flow", against_shuffled(rows), 0.9),
        Ranking("flow: without calculators' notes", "flow", against_shuffled(bare), 0.9),
        Ranking("flow: shuffled into one line", "flow", against_shuffled(rows, " "), 0.9),
        Ranking("flow: both in one line", "flow", against_shuffled(_changed(rows, _one_line), " "), 0.9),
        Ranking("flow: without the answer's line", "flow", against_shuffled(unanswered), 0.9),
        Ranking("flow: prose against itself shuffled", "flow", against_shuffled(prose, " ", 10), 0.7),
    ]
    return [*(_ranked(scorer, ranking, list_misranked) for ranking in rankings), _speed(rows)]


def read_rows(file: Path) -> list[Row]:
    """Rows that are right, or of which the file does not say."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [Row(n, row["prompt"], row["response"]) for n, row in enumerate(rows) if row.get("expected", True)]


def against_others(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Each row, and its question with answers to others."""
    choice = random.Random(SEED)
    pairs = []
    for row in rows:
        for _ in range(ROUNDS):
            while (other := choice.choice(rows)).prompt == row.prompt:
                pass
            pairs.append((row, Row(row.index, row.prompt, other.response)))
    return pairs


def against_similar(rows: Sequence[Row], scorer: CoherenceScorer) -> list[tuple[Row, Row]]:
    """Each row, and its question with answers to those that are most like it."""
    answers = {row.prompt: row.response for row in rows}
    prompts = list(answers)
    vectors = scorer.embedder.embed(prompts)
    near = np.argsort(-(vectors @ vectors.T), axis=1, kind="stable")
    similar = {
        prompt: [prompts[n] for n in line if prompts[n] != prompt][:ROUNDS]
        for prompt, line in zip(prompts, near, strict=True)
    }
    return [(row, Row(row.index, row.prompt, answers[other])) for row in rows for other in similar[row.prompt]]


def against_shuffled(rows: Sequence[Row], joint: str = "\n", rounds: int = ROUNDS) -> list[tuple[Row, Row]]:
    """Each row of enough sentences, and the same with its sentences in other orders."""
    shuffler = random.Random(SEED)
    pairs = []
    for row in rows:
        parts = [part for part in _END.split(row.response) if part.strip()]
        if len(parts) < LEAST_SENTENCES:
            continue
        for _ in range(rounds):
            while (order := shuffler.sample(parts, len(parts))) == parts:
                pass
            pairs.append((row, Row(row.index, row.prompt, joint.join(order))))
    return pairs


def _changed(rows: Sequence[Row], change: Callable[[str], str]) -> list[Row]:
    return [Row(row.index, row.prompt, change(row.response)) for row in rows]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _ranked(scorer: CoherenceScorer, ranking: Ranking, list_misranked: bool) -> Figure:
    flat = [row for pair in ranking.pairs for row in pair]
    values = _score(scorer, flat, ranking.component)
    right = [own > other for own, other in zip(values[::2], values[1::2], strict=True)]
    wrong = [(pair, place) for place, (pair, ok) in enumerate(zip(ranking.pairs, right, strict=True)) if not ok]
    for (row, _), place in wrong if list_misranked else []:
        print(
            f"MISRANKED {ranking.name}: row {row.index}, {values[2 * place]:.4f} against {values[2 * place + 1]:.4f}",
            file=sys.stderr,
        )
    share = sum(right) / len(right)
    return Figure(
        ranking.name,
        f"{100 * share:.1f} % of {len(right)} pairs; own mean {np.mean(values[::2]):.2f}, other {np.mean(values[1::2]):.2f}",
        f"{100 * ranking.bar:.0f} %",
        share >= ranking.bar,
    )


def _score(scorer: CoherenceScorer, rows: Sequence[Row], component: str) -> list[float]:
    values = []
    for start in range(0, len(rows), scorer.batch_size):
        chunk = rows[start : start + scorer.batch_size]
        for outcome in scorer.score([Item(str(n), row.prompt, row.response) for n, row in enumerate(chunk)]):
            if not isinstance(outcome, Verdict):
                raise RuntimeError(f"no verdict: {outcome.message}")
            values.append(outcome.components[f"coherence/{component}"])
    return values


def _speed(rows: Sequence[Row]) -> Figure:
    """A scorer that has seen none of the texts, by CPU time."""
    scorer = CoherenceScorer()
    start = time.process_time()
    _score(scorer, rows, "flow")
    rate = len(rows) / (time.process_time() - start)
    return Figure("items a second and core, all components", f"{rate:.0f}", "15", rate >= 15)


def main(arguments: Sequence[str] | None = None) -> int:
    """The table; 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gsm8k", type=Path, help="JSON lines: prompt, response, expected")
    parser.add_argument("--list", action="store_true", help="print the index of each pair that is ranked wrongly")
    given = parser.parse_args(arguments)
    return report(coherence(given.gsm8k, given.list))


if __name__ == "__main__":
    sys.exit(main())
