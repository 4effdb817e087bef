"""`assay score`: a user's file through one scoring service."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from services.addresses import WrongAddressError
from services.client.channel import ServiceError
from services.client.scoring import ScoringClient
from services.verdicts import Component, Item, ItemError, Outcome, Verdict
from trainer.cli.rows import Columns, Row, read_rows
from trainer.cli.services import SCORERS, scoring_address

ROWS_AT_ONCE = 256
TIMEOUT_SECONDS = 600.0


@dataclass
class Tally:
    """Sums over the rows so far."""

    main: Component
    scored: int = 0
    missing: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    disagreed: list[str] = field(default_factory=list)

    def add(self, row: Row, outcome: Outcome) -> None:
        if isinstance(outcome, Verdict):
            self.scored += 1
            self.labels[outcome.label] += 1
            for name, value in outcome.components.items():
                self.sums[name] += value
                self.counts[name] += 1
        else:
            self.missing += 1
            self.labels[outcome.reason.value] += 1
        if row.expected is not None:
            self.compared += 1
            if self.is_best(outcome) is not row.expected:
                self.disagreed.append(row.id)

    def is_best(self, outcome: Outcome) -> bool | None:
        """Whether the main component is at its best; None where there is no score to say so."""
        if isinstance(outcome, ItemError) or self.main.name not in outcome.components:
            return None
        return outcome.components[self.main.name] == (self.main.high if self.main.higher_is_better else self.main.low)

    def means(self) -> dict[str, float]:
        return {name: self.sums[name] / self.counts[name] for name in sorted(self.sums)}


def score(
    file: Path,
    domain: str,
    columns: Columns,
    options: Mapping[str, Any],
    as_json: bool,
    custom: Mapping[str, str],
    address: str | None,
) -> int:
    """Scores a file; see `assay score --help`. Returns the exit code."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with ExitStack() as stack:
        try:
            found = address or stack.enter_context(scoring_address(domain, custom, console))
            client = stack.enter_context(ScoringClient(domain, found))
            description = client.describe()
            if domain in SCORERS and description.name != domain:
                console.print(f"--address: {found} scores {description.name}, not {domain}", style="red", markup=False)
                return 2
            keys = list(description.checks_schema.get("properties", {}))
            for flag, given in (("--check", columns.checks or {}), ("--option", options)):
                if unknown := sorted(given.keys() - set(keys)):
                    known = ", ".join(keys) or "none"
                    console.print(
                        f"{flag}: {domain} has no key {unknown[0]!r}; known: {known}", style="red", markup=False
                    )
                    return 2
            tally = Tally(description.components[0])
            show = _print_json if as_json else _print_text
            for row, outcome in _outcomes(client, read_rows(file, columns, keys), options):
                tally.add(row, outcome)
                show(row, outcome)
        except (ServiceError, WrongAddressError) as error:
            console.print(str(error), style="red", markup=False)
            return 2
    _print_sums(tally, as_json)
    return 0 if tally.scored and not tally.missing else 1


def _outcomes(client: ScoringClient, rows: Iterable[Row], options: Mapping[str, Any]) -> Iterator[tuple[Row, Outcome]]:
    rows = iter(rows)
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        items = [row.item for row in chunk if isinstance(row.item, Item)]
        answers = client.score(items, TIMEOUT_SECONDS, options=options) if items else {}
        for row in chunk:
            yield row, row.item if isinstance(row.item, ItemError) else answers[row.item.id]


def _print_json(row: Row, outcome: Outcome) -> None:
    result: dict = {"id": row.id, "line": row.line}
    if isinstance(outcome, Verdict):
        result |= {"components": dict(outcome.components), "label": outcome.label, "evidence": dict(outcome.evidence)}
    else:
        result["error"] = {"reason": outcome.reason.value, "message": outcome.message}
    print(json.dumps(result, ensure_ascii=False))


def _print_text(row: Row, outcome: Outcome) -> None:
    if isinstance(outcome, Verdict):
        values = "  ".join(f"{name} {value:.3f}" for name, value in sorted(outcome.components.items()))
        print(f"{row.id}: {outcome.label or 'scored'}  {values}")
    else:
        print(f"{row.id}: {outcome.reason.value}: {outcome.message}")


def _print_sums(tally: Tally, as_json: bool) -> None:
    agreements = tally.compared - len(tally.disagreed)
    if as_json:
        sums: dict = {"scored": tally.scored, "missing": tally.missing, "labels": tally.labels, "means": tally.means()}
        print(json.dumps(sums))
        if tally.compared:
            print(json.dumps({"agreements": agreements, "of": tally.compared, "disagreed": tally.disagreed}))
        return
    labels = ", ".join(f"{label} {count}" for label, count in tally.labels.most_common())
    means = ", ".join(f"{name} {mean:.4f}" for name, mean in tally.means().items())
    print(f"{tally.scored} scored, {tally.missing} missing ({labels}); means: {means or 'none'}")
    if tally.compared:
        if tally.disagreed:
            print(f"disagreed: {', '.join(tally.disagreed[:20])}{' ...' if len(tally.disagreed) > 20 else ''}")
        print(f"agreements: {agreements} of {tally.compared}")
    sys.stdout.flush()
