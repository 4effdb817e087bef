"""A stack of real services, queue and workers, and a job small enough to run in seconds."""

import json
import tomllib
from pathlib import Path

import pytest

from examples.quickstart.make import write_model
from services.client.jobs import JobsClient
from services.stack import Stack, default_services, scorer_spec
from trainer.config import job_to_json, parse_job

JOB = """
[job]
name = "tiny"
[model]
path = "model"
[data]
train = "train.jsonl"
heldout = "heldout.jsonl"
max_difficulty = { controller = "threshold", start = 8.0, min = 4.0, max = 14.0, high = -100.0, metric = "reward/total" }
[warmup]
path = "warmup.jsonl"
steps = 6
batch_size = 8
learning_rate = 1e-3
[rollout]
prompts_per_step = 4
samples_per_prompt = 4
max_new_tokens = 6
prompts_per_task = 2
[rewards]
scorers = { math = ["math", "brevity"] }
[rewards.weights]
"math/format" = 0.5
"brevity/short" = { schedule = "linear", start = 1.0, end = 0.5 }
[rewards.custom]
brevity = "examples.scorers.brevity:Brevity"
[evaluation]
accuracy = { math = "math/correctness" }
[[loss.terms]]
name = "policy"
type = "grpo"
[[loss.terms]]
name = "pairs"
type = "dpo"
weight = { controller = "running_scale", start = 0.1, min = 0.01, max = 1.0 }
kwargs = { beta = { controller = "target_kl", start = 0.1, target = 1e-6, min = 0.01, max = 1.0, metric = "term/kl/k1" } }

[[loss.terms]]
name = "imitate"
type = "kto_unpaired"
weight = { schedule = "polynomial", start = 0.1, end = 0.01, power = 2.0 }

[[loss.terms]]
name = "kl"
type = "kl"
weight = { schedule = "linear", start = 0.0, end = 0.05 }
[[loss.terms]]
name = "mine"
path = "examples.losses.truncated_reinforce.truncated_reinforce"
weight = 0.1
[optim]
steps = 8
learning_rate = 1e-3
micro_batch_size = 8
[checkpoint]
every_steps = 2
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A model and its data."""
    folder = tmp_path_factory.mktemp("job")
    write_model(folder / "model", 0)
    sums = [(a, b) for a in range(2, 8) for b in range(2, 8)]
    prompts = [
        {
            "id": f"p{i}",
            "domain": "math",
            "prompt": f"{a} + {b} = ",
            "checks": {"gold": str(a + b), "keywords": ["#"]},
            "difficulty": a + b,
        }
        for i, (a, b) in enumerate(sums)
    ]
    (folder / "train.jsonl").write_text("\n".join(json.dumps(p) for p in prompts[:24]))
    (folder / "heldout.jsonl").write_text("\n".join(json.dumps(p) for p in prompts[24:]))
    demonstrations = [{"prompt": f"{a} + {b} = ", "completion": f"#### {a + b}"} for a, b in sums]
    (folder / "warmup.jsonl").write_text("\n".join(json.dumps(d) for d in demonstrations))
    return folder


@pytest.fixture(scope="session")
def make_job(folder):
    """Builds the job with changes such as `("optim.steps", 4)`, as a tree of plain values."""

    def build(*changes):
        tree = tomllib.loads(JOB)
        for path, value in changes:
            node = tree
            *parents, last = path.split(".")
            for part in parents:
                node = node.setdefault(part, {})
            node[last] = value
        return json.loads(job_to_json(parse_job(tree, folder)))

    return build


@pytest.fixture(scope="session")
def state_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def stack(tmp_path_factory, state_dir):
    """Everything that the job needs, running."""
    wanted = ("math", "rollout", "jobs")
    specs = [spec for spec in default_services() if spec.name in wanted]
    specs.append(scorer_spec("brevity", "examples.scorers.brevity:Brevity"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REDIS_URL", raising=False)
        patch.setenv("ASSAY_VISIBILITY_TIMEOUT_SECONDS", "3")
        with Stack(specs, state_dir=state_dir, runs_dir=tmp_path_factory.mktemp("runs")) as running:
            yield running


@pytest.fixture(scope="session")
def client(stack):
    with JobsClient(stack.addresses["jobs"]) as client:
        yield client
