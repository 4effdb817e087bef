"""Checks of prompts against what the scorers of their domain take."""

from pydantic import BaseModel, ConfigDict

from services.math.scorer import MathChecks
from trainer.checks import check_problems
from trainer.data import Prompt

SCORERS = {"math": ["math", "words"], "own": ["elsewhere"]}


class WordChecks(BaseModel):
    model_config = ConfigDict(extra="forbid")
    words: list[str] = []


MODELS = {"math": MathChecks, "words": WordChecks}


def problems(*rows):
    prompts = [Prompt(f"p{place}", domain, "?", checks) for place, (domain, checks) in enumerate(rows)]
    return check_problems(prompts, SCORERS, MODELS)


def test_each_scorer_gets_its_own_keys_and_an_unknown_scorer_whatever_there_is():
    assert problems(("math", {"gold": "4", "words": ["so"]}), ("math", {"gold": 4}), ("own", {"anything": None})) == []


def test_a_missing_a_wrong_and_an_unknown_key_are_named_without_their_values():
    assert problems(("math", {})) == ["prompt 'p0': 'math' cannot judge it: checks.gold: Field required"]
    (wrong,) = problems(("math", {"gold": "4", "words": "secret"}))
    assert wrong == "prompt 'p0': 'words' cannot judge it: checks.words: Input should be a valid list"
    unknown, missing = problems(("math", {"golld": "4"}))
    assert unknown.startswith("prompt 'p0': checks: unknown name 'golld'; did you mean 'gold'? known: ")
    assert ", gold, " in unknown
    assert missing.startswith("prompt 'p0': 'math' cannot judge it: ")


def test_a_data_set_that_is_wrong_throughout_is_told_in_four_lines():
    found = problems(*[("math", {})] * 9)
    assert [line.split(":")[0] for line in found] == ["prompt 'p0'", "prompt 'p1'", "prompt 'p2'", "and 6 more faults of this kind"]
