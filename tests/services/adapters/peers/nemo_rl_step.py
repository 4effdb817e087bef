"""The example's environment as an actor of a real Ray; `nemo_rl` is a stand-in with the interface's two names."""

import json
import sys

import ray
import torch

from examples.adapters.nemo_rl_environment import Environment
from services.adapters.nemo_rl import AssayEnvironment


def log(*turns):
    return [{"role": role, "content": text, "token_ids": torch.zeros(1)} for role, text in turns]


LOGS = [
    log(("user", "2 + 2 = ?"), ("assistant", "\\boxed{4}")),
    log(("system", "Think."), ("user", "2 + 2 = ?"), ("assistant", "\\boxed{5}")),
    log(("user", "1?"), ("assistant", "\\boxed{4}"), ("user", "2 + 2 = ?"), ("assistant", "It is 3")),
    log(("user", "Be short."), ("assistant", "word " * 90)),
]
METADATA = [{"ground_truth": "4"}] * 3 + [{"ground_truth": None, "domain": "brevity"}]


def main():
    cfg = {
        "weights": {"math/correctness": 1.0, "math/format": 0.5, "brevity/short": 2.0},
        "routes": {"brevity": ["brevity"]},
        "checks": {"gold": "ground_truth"},
    }
    ray.init(num_cpus=1, include_dashboard=False, configure_logging=False, log_to_driver=False)
    try:
        actor = Environment.remote(cfg)
        found = ray.get(actor.step.remote(LOGS, METADATA))
        batch, metrics = ray.get(actor.global_post_process_and_metrics.remote({"rewards": found.rewards}))
        try:
            ray.get(actor.step.remote(LOGS[:1], [{"ground_truth": None}]))
            raised = ""
        except Exception as error:
            raised = str(error)
    finally:
        ray.shutdown()
    chosen = AssayEnvironment({**cfg, "missing": -1}).step(LOGS[:2], [{"ground_truth": None}, METADATA[1]])
    print(
        json.dumps(
            {
                "type": type(found).__module__,
                "base": [base.__module__ for base in AssayEnvironment.__bases__],
                "rewards": found.rewards.tolist(),
                "dtype": str(found.rewards.dtype),
                "terminateds": found.terminateds.tolist(),
                "observations": found.observations,
                "metadata": found.metadata,
                "stops": found.next_stop_strings,
                "answers": found.answers,
                "batch": batch["rewards"].tolist(),
                "metrics": metrics,
                "raised": raised,
                "chosen": chosen.rewards.tolist(),
            }
        )
    )


main()
sys.stdout.flush()
