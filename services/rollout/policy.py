"""A policy as the transformers engine holds it: the model and its texts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from services.rollout.engine import WeightSource
from services.rollout.text import Text, load_text
from services.rollout.weights import (
    bad_path,
    brief,
    checked_directory,
    exchange_weights,
    read_weights,
    reading,
    settings_digest,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """Loaded weights and how to use them."""

    model: PreTrainedModel
    text: Text
    settings: str
    """Digest of the configuration and the tokenizer."""
    source: WeightSource
    """Where the weights are from, without the canary."""

    @property
    def version(self) -> int:
        return self.source.version


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy with new weights. Where they went into the model of the policy before, `replaced` has those that were in it."""

    policy: Policy
    replaced: dict[str, torch.Tensor] = field(default_factory=dict)

    def undo(self) -> None:
        """Puts the weights back that were replaced."""
        if self.replaced and not exchange_weights(self.policy.model, self.replaced):
            raise AssertionError("the weights fitted before")


def load_policy(source: WeightSource, dtype: torch.dtype, device: torch.device, before: Policy | None) -> Loaded:
    """The policy that a directory holds. Where only the weights differ from `before`, they go into its model.

    Raises EngineError (FAILED_PRECONDITION), and leaves `before` as it was, where the directory cannot be loaded.
    """
    with reading(Path(source.path)):
        directory = checked_directory(source.path, source.sha256)
        settings = settings_digest(directory)
        tensors = read_weights(directory)
    if before is not None and settings == before.settings and exchange_weights(before.model, tensors):
        return Loaded(replace(before, source=source), tensors)
    whole = {name for name, tensor in tensors.items() if not tensor.is_floating_point()}
    del tensors
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # the library raises many kinds for files that do not fit
        raise bad_path(directory, f"cannot be loaded: {brief(error)}") from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise bad_path(directory, f"has weights that lack {len(missing)} tensors of its config, {missing[0]} first")
    if odd := sorted(name for name, own in model.state_dict().items() if own.is_floating_point() and name in whole):
        raise bad_path(directory, f"has whole numbers for {odd[0]}, which takes floating-point numbers")
    if unexpected := sorted(report["unexpected_keys"]):
        structlog.get_logger().warning(
            "weights hold tensors the model does not have",
            path=str(directory),
            count=len(unexpected),
            first=unexpected[0],
        )
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    text = load_text(directory, positions, model.get_input_embeddings().num_embeddings)
    return Loaded(Policy(model.to(device).eval(), text, settings, source))
