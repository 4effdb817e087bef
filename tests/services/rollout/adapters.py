"""Makes LoRA adapters as PEFT saves them, and the models that they stand for, merged by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

MODULES = ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj")


def factors_for(directory: Path, *, rank: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random factors for `MODULES` of a model, by the names that PEFT gives them."""
    weights = load_file(directory / "model.safetensors")
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for module in MODULES:
        outputs, inputs = weights[f"{module}.weight"].shape
        tensors[f"base_model.model.{module}.lora_A.weight"] = 0.2 * torch.randn(rank, inputs, generator=generator)
        tensors[f"base_model.model.{module}.lora_B.weight"] = 0.2 * torch.randn(outputs, rank, generator=generator)
    return tensors


def save_adapter(directory: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    """Writes the adapter; `config` changes its configuration."""
    directory.mkdir(parents=True)
    usual = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "r": 4,
        "lora_alpha": 8,
        "use_rslora": False,
        "use_dora": False,
        "bias": "none",
        "target_modules": ["q_proj", "down_proj"],
        "modules_to_save": None,
        "init_lora_weights": True,
    }
    (directory / "adapter_config.json").write_text(json.dumps(usual | config))
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    return directory


def save_merged(directory: Path, base: Path, tensors: dict[str, torch.Tensor], scale: float) -> Path:
    """The base with W + scale * B A, in double precision until the end."""
    shutil.copytree(base, directory)
    weights = load_file(base / "model.safetensors")
    for module in MODULES:
        up = tensors[f"base_model.model.{module}.lora_B.weight"].double()
        down = tensors[f"base_model.model.{module}.lora_A.weight"].double()
        name = f"{module}.weight"
        weights[name] = (weights[name].double() + scale * (up @ down)).float().contiguous()
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory
