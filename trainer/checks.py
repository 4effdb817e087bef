"""Whether the scorers can judge the prompts of a data set: a prompt whose checks none of them takes has no reward, ever."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel, ValidationError

from services.verdicts import describe_misfit
from trainer.data import Prompt
from trainer.names import unknown_name

MOST_PROBLEMS = 3
"""How many faults of a file are told; a data set of the wrong form is wrong in every line."""


def check_problems(
    prompts: Iterable[Prompt], scorers: Mapping[str, Sequence[str]], models: Mapping[str, type[BaseModel]]
) -> list[str]:
    """A line for each of the first prompts that a scorer would refuse, with the key and what is wrong.

    scorers: domain to names. models: scorer to the model of its checks; of a scorer without one nothing is known here.
    """
    keys = {scorer: frozenset(model.model_json_schema().get("properties", {})) for scorer, model in models.items()}
    known = {
        domain: frozenset().union(*(keys[name] for name in names))
        for domain, names in scorers.items()
        if all(name in models for name in names)
    }

    def faults(prompt: Prompt) -> Iterator[str]:
        unknown = prompt.checks.keys() - known.get(prompt.domain, prompt.checks.keys())
        yield from (f"checks: {unknown_name(key, sorted(known[prompt.domain]))}" for key in sorted(unknown))
        for scorer in scorers[prompt.domain]:
            if scorer in models:
                try:
                    models[scorer].model_validate({k: v for k, v in prompt.checks.items() if k in keys[scorer]})
                except ValidationError as error:
                    yield f"{scorer!r} cannot judge it: {describe_misfit(error)}"

    found = [f"prompt {prompt.id!r}: {fault}" for prompt in prompts for fault in faults(prompt)]
    more = len(found) - MOST_PROBLEMS
    return [*found[:MOST_PROBLEMS], *([f"and {more} more faults of this kind"] if more > 0 else [])]
