"""GRPO by TRL on rewards of Assay, on a CPU: two steps of a tiny model on sums that the quickstart makes.

python -m services.math &                    # port 50051; elsewhere: ASSAY_MATH_ADDRESS=HOST:PORT
python -m examples.adapters.trl_grpo
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

from examples.quickstart.make import sum_problem, write_model
from services.adapters.trl import reward_func
from services.rewards import Plan


def train(folder: Path, steps: int = 2) -> list[dict[str, Any]]:
    """Trains a new model in the folder; returns TRL's log."""
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from trl.trainer.grpo_config import GRPOConfig  # pyright: ignore[reportMissingImports]
    from trl.trainer.grpo_trainer import GRPOTrainer  # pyright: ignore[reportMissingImports]

    write_model(folder / "model", seed=0)
    drawn = [sum_problem(random.Random(seed)) for seed in range(32)]
    data = Dataset.from_list([{"prompt": one.prompt, "answer": str(one.checks["gold"])} for one in drawn])
    plan = Plan({"math/correctness": 1.0, "math/format": 0.1})
    trainer = GRPOTrainer(
        model=str(folder / "model"),
        # the column `answer` is the check `gold`; a response without a reward is left out
        reward_funcs=[reward_func(plan, {"gold": "answer"}, missing=None)],
        train_dataset=data,
        args=GRPOConfig(
            output_dir=str(folder / "run"),
            max_steps=steps,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=8,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
    )
    trainer.train()
    return trainer.state.log_history


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for entry in train(Path(name)):
            print({key: value for key, value in entry.items() if "assay" in key or key in ("step", "loss", "reward")})
