"""Jobs and rows for tests of the data."""

import itertools
import json
import tomllib

from trainer.config import job_from_json, job_to_json, parse_job

JOB = """
job = { name = "demo", seed = 7 }
model.path = "model"
rollout = { prompts_per_step = 1, samples_per_prompt = 2, max_new_tokens = 4 }
rewards.scorers = { math = ["math"] }
rewards.weights = { "math/correctness" = 1.0 }
loss.terms = [{ name = "policy", type = "grpo" }]
optim = { steps = 10, learning_rate = 1e-4 }
"""


ACCURACY = {"math": "math/correctness"}


def job(folder, data, accuracy=ACCURACY):
    """A job with such a table of data, that comes back alike from JSON."""
    tree = tomllib.loads(JOB) | {"data": data, "evaluation": {"accuracy": accuracy}}
    config = parse_job(tree, folder)
    assert job_from_json(job_to_json(config)) == config
    return config


def row(number, **over):
    return {"id": str(number), "domain": "math", "prompt": f"{number}+1=", "checks": {"gold": str(number + 1)}, **over}


def write(folder, name, rows):
    (folder / name).write_text("".join(json.dumps(each) + "\n" for each in rows))
    return name


def ids(drawn):
    return [each.prompt.id for each in drawn]


def through_json(state):
    return json.loads(json.dumps(state))


def endless(start):
    """Rows without end, without ids."""
    for number in itertools.count(start):
        yield {"prompt": f"{number}-1=", "checks": {"gold": str(number - 1)}, "difficulty": number % 7}


class Remembers:
    """Rows that know themselves where they are."""

    def __init__(self, size, state=None):
        self.size, self.place = size, 0
        self.given_state = state

    def __iter__(self):
        return self

    def __next__(self):
        if self.place == self.size:
            raise StopIteration
        self.place += 1
        return row(self.place)

    def state_dict(self):
        return {"place": self.place if self.given_state is None else float(self.given_state)}

    def load_state_dict(self, state):
        self.place = state["place"]


def listed(rows):
    return rows


def fails(after):
    yield from (row(number) for number in range(after))
    raise RuntimeError("the network is down " + "x" * 5000)


CALLS = []


def changes():
    """Other rows at each call."""
    CALLS.append(1)
    yield from (row(number, prompt=f"call {len(CALLS)}") for number in range(9))
