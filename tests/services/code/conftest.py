from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from services.code.scorer import CodeScorer
from services.verdicts import Item, Outcome, Verdict

ROOT = Path(__file__).resolve().parents[3]

Judge = Callable[..., Verdict]


@pytest.fixture(scope="module")
def sandbox_service(start_service: Any) -> Any:
    """A sandbox service that runs."""
    return start_service("services.sandbox", "--workers", "2")


@pytest.fixture(scope="module")
def sandbox_address(sandbox_service: Any) -> str:
    return sandbox_service.address


@pytest.fixture(scope="module")
def score(sandbox_address: str) -> Iterator[Callable[[Sequence[Item]], Sequence[Outcome]]]:
    """`score` of a scorer that calls it, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_SANDBOX_ADDRESS", sandbox_address)
        yield lambda items: asyncio.run(CodeScorer().score(items))


@pytest.fixture
def judge(score: Callable[[Sequence[Item]], Sequence[Outcome]]) -> Callable[..., Outcome]:
    """The outcome of one response."""

    def outcome(response: str, prompt: str = "", timeout_seconds: float = 30.0, **checks: Any) -> Outcome:
        return score([Item("item", prompt, response, checks, timeout_seconds=timeout_seconds)])[0]

    return outcome


@pytest.fixture
def judge_many(
    score: Callable[[Sequence[Item]], Sequence[Outcome]],
) -> Callable[[Sequence[Item]], dict[str, Outcome]]:
    """The outcomes of many items by id, judged side by side."""

    def outcomes(items: Sequence[Item]) -> dict[str, Outcome]:
        return {item.id: outcome for item, outcome in zip(items, score(items), strict=True)}

    return outcomes


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the data sets; skips where there is none."""
    folder = Path(os.environ.get("ASSAY_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; ASSAY_DATA names the folder")
    return folder
