"""LoRA adapters as PEFT saves them, laid on a policy that is held: the weights become W + scale * B A.

Source: Hu et al. 2021, "LoRA: low-rank adaptation of large language models", section 4.1; the scale sqrt(r) of
`use_rslora` is that of Kalajdzievski 2023, "A rank stabilization scaling factor for fine-tuning with LoRA". What an
adapter may hold beyond two matrices a module is refused: merged without it, it would be another model.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from services.rollout.engine import EngineError, WeightSource
from services.rollout.policy import Loaded, Policy
from services.rollout.weights import (
    bad_path,
    check_sha256,
    exchange_weights,
    read_tensors,
    readable_directory,
    reading,
    shared_names,
)

FILES = CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
LARGEST_ALPHA = 1e30
TENSOR_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight")
REQUIRED: Mapping[str, tuple[Any, ...]] = {"bias": ("none", None), "init_lora_weights": (True, False, "gaussian", None)}
"""Options with the values that change nothing of W + scale * B A; further kinds of initialising change W itself."""
UNSUPPORTED = (
    "use_dora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "fan_in_fan_out",
    "lora_bias",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "use_qalora",
)
"""Options that must be empty or false."""


@dataclass(frozen=True, slots=True)
class Factors:
    """One module's two matrices, float32: `down` (A) [r, in] and `up` (B) [out, r]."""

    down: torch.Tensor
    up: torch.Tensor


@dataclass(frozen=True, slots=True)
class Adapter:
    """What a directory holds: the scale of the products, and the factors by the name of the weight that they change."""

    scale: float
    factors: Mapping[str, Factors]

    def check_fits(self, directory: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raises EngineError (FAILED_PRECONDITION) where the base, whose shapes are given by name, has no such weights.

        directory: for the error.
        """
        for name, factors in self.factors.items():
            if name not in shapes:
                raise bad_path(directory, f"changes {name!r}, which its base does not have")
            shape = (factors.up.shape[0], factors.down.shape[1])
            if tuple(shapes[name]) != shape:
                raise bad_path(
                    directory, f"changes {name!r} of shape {tuple(shapes[name])} by a product of shape {shape}"
                )


def lay_on(source: WeightSource, base: Policy, before: Policy | None) -> Loaded:
    """The base's weights with the adapter's, in the model of `before` where that is like the base, else in one of their
    own. The base stays as it is.

    Raises EngineError (FAILED_PRECONDITION), and leaves `before` as it was, where the adapter cannot be laid on the base.
    """
    directory = readable_directory(source.path)
    with reading(directory):
        adapter = read_adapter(directory, source.sha256)
    tensors = _merged(directory, adapter, base)
    if before is not None and before.settings == base.settings and exchange_weights(before.model, tensors):
        return Loaded(replace(before, source=source), tensors)
    model = copy.deepcopy(base.model)
    with torch.no_grad():
        for name in adapter.factors:
            model.get_parameter(name).copy_(tensors[name])
    return Loaded(replace(base, model=model, source=source))


def read_adapter(folder: Path, sha256: str, *, named: Path | None = None) -> Adapter:
    """Checks everything but the base. Raises EngineError (FAILED_PRECONDITION), which names `named` instead of the folder."""
    directory = named or folder
    for name in FILES:
        if not (folder / name).is_file():
            raise bad_path(directory, f"has no {name}; it must be a LoRA adapter saved by PEFT")
    rank, scale = _scale(folder / CONFIG, directory)
    if sha256:
        check_sha256(folder / TENSORS, sha256, directory)
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in read_tensors(folder / TENSORS, directory).items():
        if (found := TENSOR_NAME.fullmatch(name)) is None:
            raise bad_path(
                directory,
                f"has the tensor {name!r}; only base_model.model.<module>.lora_A.weight and lora_B.weight are supported",
            )
        pairs.setdefault(found["module"], {})[found["factor"]] = tensor.float()
    if not pairs:
        raise bad_path(directory, f"has no tensors in its {TENSORS}")
    factors = {}
    for module, pair in pairs.items():
        if len(pair) < 2:
            raise bad_path(directory, f"has lora_{next(iter(pair))} of {module!r} alone; both factors are needed")
        down, up = pair["A"], pair["B"]
        if down.ndim != 2 or up.ndim != 2 or down.shape[0] != rank or up.shape[1] != rank:
            raise bad_path(
                directory,
                f"has factors of the shapes {tuple(down.shape)} and {tuple(up.shape)} for {module!r}; with r = {rank} they "
                f"must be ({rank}, in) and (out, {rank})",
            )
        factors[f"{module}.weight"] = Factors(down, up)
    return Adapter(scale, factors)


def _scale(file: Path, directory: Path) -> tuple[int, float]:
    """Rank and scale of a configuration that is supported. directory: for errors."""
    try:
        config: Any = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise bad_path(directory, f"has a file {CONFIG} that cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise bad_path(directory, f"has a file {CONFIG} that is no object")

    def refused(key: str, right: str) -> EngineError:
        return bad_path(
            directory, f"has {key} = {json.dumps(config.get(key))[:100]} in its {CONFIG}; it must be {right}"
        )

    if str(config.get("peft_type")).upper() != "LORA":
        raise refused("peft_type", '"LORA"')
    rank: Any = config.get("r")
    alpha: Any = config.get("lora_alpha")
    if type(rank) is not int or rank < 1:
        raise refused("r", "a whole number of at least 1")
    if type(alpha) not in (int, float) or not abs(alpha) <= LARGEST_ALPHA:
        raise refused("lora_alpha", f"a number from -{LARGEST_ALPHA:g} to {LARGEST_ALPHA:g}")
    for key, values in REQUIRED.items():
        if config.get(key) not in values:
            raise refused(key, f"{json.dumps(values[0])}; other kinds are not supported")
    for key in UNSUPPORTED:
        if config.get(key):
            raise refused(key, "empty or false; it is not supported")
    return rank, alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


@torch.no_grad()
def _merged(directory: Path, adapter: Adapter, base: Policy) -> dict[str, torch.Tensor]:
    """Every weight of the base by name, those that the adapter changes in a tensor of their own."""
    own = base.model.state_dict(keep_vars=True)
    shared = {name for names in shared_names(own) if len(names) > 1 for name in names}
    tensors: dict[str, torch.Tensor] = {name: tensor.detach() for name, tensor in own.items()}
    adapter.check_fits(directory, {name: tuple(tensor.shape) for name, tensor in own.items()})
    for name, factors in adapter.factors.items():
        if name in shared:
            raise bad_path(directory, f"changes {name!r}, which its base ties to another weight; that is not supported")
        weight = own[name]
        product = adapter.scale * (factors.up.to(weight.device) @ factors.down.to(weight.device))
        tensors[name] = (weight.detach().float() + product).to(weight.dtype)
        if not bool(torch.isfinite(tensors[name]).all()):
            raise bad_path(directory, f"makes weights that are not finite: {name}")
    return tensors
