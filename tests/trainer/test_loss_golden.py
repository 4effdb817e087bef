"""Values and gradients of published trainers: every row has a recipe of terms in `benchmarks/golden.py`."""

import json
import os
from pathlib import Path

import pytest

from benchmarks.golden import BAR, differences

DATA = Path(os.environ.get("ASSAY_DATA", Path(__file__).parents[3] / "shared" / "data")) / "loss_golden.jsonl"
ROWS = [json.loads(line) for line in DATA.read_text().splitlines()] if DATA.exists() else []


@pytest.mark.skipif(not ROWS, reason=f"{DATA} is absent")
@pytest.mark.parametrize("name", sorted({row["loss"] for row in ROWS}))
def test_golden(name):
    for row in ROWS:
        if row["loss"] == name:
            errors = differences(row)
            assert errors is not None and max(errors) <= BAR, (row["case"], errors)
