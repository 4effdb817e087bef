"""TRL's GRPOTrainer takes two steps on Assay's rewards; its own reward code is then called with rows made by hand."""

import json
import tempfile
from pathlib import Path

import torch

from examples.adapters.trl_grpo import train
from services.adapters.trl import reward_func
from services.rewards import Plan


def rewards_of(function, folder, rows):
    """What GRPOTrainer makes of the function's answer for these prompts and completions: one number a row."""
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    trainer = GRPOTrainer(
        model=str(folder / "model"),
        reward_funcs=function,
        train_dataset=Dataset.from_list(rows),
        args=GRPOConfig(output_dir=str(folder), use_cpu=True, bf16=False, report_to="none"),
    )
    prompts, completions = [row["prompt"] for row in rows], [row["completion"] for row in rows]
    found = trainer._calculate_rewards(rows, prompts, completions, [[] for _ in rows])
    metrics = {name: values[-1] for name, values in trainer._pending_metrics.items()}
    columns = dict(trainer._pending_extra_logs)
    return {
        "names": trainer.reward_func_names,
        "rewards": [None if torch.isnan(value) else value.item() for value in found[:, 0]],
        "metrics": metrics,
        "columns": columns,
    }


def user(text):
    return [{"role": "user", "content": text}]


def assistant(text):
    return [{"role": "assistant", "content": text}]


PLAN = Plan(
    {"math/correctness": 1.0, "brevity/short": 0.5}, {"both": ("math", "brevity")}, {"brevity": {"keywords": ["sum"]}}
)
ROWS = [
    {"prompt": user("2 + 2 = ?"), "completion": assistant("The sum is \\boxed{4}"), "answer": "4", "kind": "both"},
    {"prompt": user("2 + 2 = ?"), "completion": assistant("\\boxed{5}"), "answer": "4", "kind": "both"},
    {"prompt": user("2 + 2 = ?"), "completion": assistant("\\boxed{4}"), "answer": "4", "kind": "math"},
    {"prompt": user("Speak."), "completion": assistant("word " * 120), "answer": None, "kind": "brevity"},
    {"prompt": user("2 + 2 = ?"), "completion": assistant("\\boxed{4}"), "answer": None, "kind": "math"},
]


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        history = train(folder)
        conversational = reward_func(PLAN, {"gold": "answer"}, domain_column="kind", missing=None, name="assay_both")
        plain = [
            row | {"prompt": row["prompt"][0]["content"], "completion": row["completion"][0]["content"]} for row in ROWS
        ]
        chosen = reward_func(PLAN, {"gold": "answer"}, domain_column="kind", missing=-1)
        raising = reward_func(PLAN, {"gold": "answer"}, domain_column="kind")
        try:
            rewards_of(raising, folder, ROWS)
            raised = ""
        except Exception as error:
            raised = f"{type(error).__name__}: {error}"
        print(
            json.dumps(
                {
                    "history": history,
                    "conversational": rewards_of(conversational, folder, ROWS),
                    "plain": rewards_of(chosen, folder, plain),
                    "raised": raised,
                }
            )
        )


main()
