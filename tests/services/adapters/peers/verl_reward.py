"""verl's reward loop worker loads the example's file by verl's own loader and scores a batch through its reward manager."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from verl import DataProto
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker

from examples.quickstart.make import make_tokenizer

WIDTH = 48


def config(path, tokenizer):
    return OmegaConf.create(
        {
            "actor_rollout_ref": {"model": {"path": tokenizer, "tokenizer_path": None}},
            "reward": {
                "reward_model": {"enable": False},
                "custom_reward_function": {"path": path, "name": "compute_score", "reward_kwargs": {}},
                "reward_manager": {"source": "register", "name": "naive", "module": None},
                "sandbox_fusion": None,
            },
        }
    )


def batch(tokenizer, rows):
    """Prompts of one token and padded responses, as verl's rollouts give them."""
    responses = torch.full((len(rows), WIDTH), tokenizer.pad_token_id)
    mask = torch.zeros((len(rows), 1 + WIDTH), dtype=torch.long)
    mask[:, 0] = 1
    for place, row in enumerate(rows):
        ids = tokenizer(row["response"])["input_ids"]
        responses[place, : len(ids)] = torch.tensor(ids)
        mask[place, 1 : 1 + len(ids)] = 1
    others = {
        "data_source": [row.get("source", "openai/gsm8k") for row in rows],
        "reward_model": [{"ground_truth": row["truth"], "style": "rule"} for row in rows],
        "extra_info": [{"question": "2 + 2 = ?", "more": np.arange(2)} for _ in rows],
    }
    tensors = {"prompts": torch.zeros((len(rows), 1), dtype=torch.long), "responses": responses, "attention_mask": mask}
    return DataProto.from_dict(tensors, {name: np.array(values, dtype=object) for name, values in others.items()})


async def main(path, folder):
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    worker = RewardLoopWorker(config(path, folder))
    right = {"response": "It is \\boxed{4}", "truth": "4"}
    rows = [right, {"response": "#### 5", "truth": "4"}, {"response": "\\boxed{2.0}", "truth": np.float64(2.0)}]
    scored = await worker.compute_score_batch(batch(tokenizer, rows))
    faults = []
    for wrong in (right | {"truth": None}, right | {"source": "elsewhere"}):
        try:
            await worker.compute_score_batch(batch(tokenizer, [wrong]))
        except Exception as error:
            faults.append(f"{type(error).__name__}: {error}")
    print(json.dumps({"scored": scored, "faults": faults}))


with tempfile.TemporaryDirectory() as name:
    Path(name, "own.py").write_text(Path(sys.argv[1]).read_text())
    asyncio.run(main(str(Path(name, "own.py")), name))
