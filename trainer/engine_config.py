"""How to train, as DeepSpeed is told: the keys that are the trainer's own, and the user's merged in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

OWNED_KEYS: Mapping[str, str] = {
    "train_batch_size": "the step's samples decide it",
    "train_micro_batch_size_per_gpu": "set micro_batch_size",
    "gradient_accumulation_steps": "the step's samples and micro_batch_size decide it",
    "managed_gradient_accumulation": "the trainer says which micro-batch is the last",
    "gradient_clipping": "set gradient_clipping of the optimizer",
    "gradient_predivide_factor": "the loss is normalised before the backward pass",
    "gradient_allreduce_op": "the loss is normalised before the backward pass",
    "prescale_gradients": "the loss is normalised before the backward pass",
    "optimizer": "the optimizer is AdamW, set by the optimizer's own section",
    "scheduler": "write the learning rate as a schedule",
    "zero_optimization.stage": "set zero_stage",
    "bf16.enabled": "set dtype",
    "fp16.enabled": "set dtype",
}
"""Keys of DeepSpeed's configuration that would break what the trainer promises, and what to do instead."""


class EngineConfigError(ValueError):
    """A DeepSpeed key that is not the user's to set, or settings that do not go together."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How to train. `bf16` under ZeRO 0 also adds gradients up in bf16; from stage 1 on it is float32."""

    zero_stage: Literal[0, 1, 2, 3] = 0
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    """On matrices only; biases and norms are not pulled to 0."""
    gradient_clipping: float = 1.0
    """Largest norm of the whole gradient; 0 does not clip."""
    not_finite: Literal["raise", "skip_step"] = "raise"
    parameter_cosines_every: int = 0
    """Steps between two comparisons of the terms' gradients with respect to the parameters; 0 is never.

    Taken on the first micro-batch of each rank. Not with ZeRO 3, which does not hold whole parameters.
    """
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Merged into DeepSpeed's own configuration; `OWNED_KEYS` are refused."""


def deepspeed_config(config: EngineConfig) -> dict[str, Any]:
    """DeepSpeed's configuration. Raises EngineConfigError for overrides of `OWNED_KEYS`."""
    for key, remedy in OWNED_KEYS.items():
        section, _, inner = key.partition(".")
        given = config.overrides.get(section)
        # What is no table would take the place of ours: `zero_optimization = true` is stage 1 to DeepSpeed.
        if section in config.overrides and (not inner or not isinstance(given, Mapping) or inner in given):
            raise EngineConfigError(f"deepspeed key {key!r} belongs to the trainer: {remedy}")
    ours: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        # Always written out: DeepSpeed's own default is 1.0, not 0.
        "gradient_clipping": config.gradient_clipping,
        "steps_per_print": None,
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    if config.dtype != "fp32":
        ours[config.dtype] = {"enabled": True}
    if config.dtype == "bf16" and config.zero_stage > 0:
        ours["data_types"] = {"grad_accum_dtype": "fp32"}
    return _merge(ours, config.overrides)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
