"""What vLLM is started with: the service's own choices, and any other argument of vLLM's engine as the operator gives it.

Imports vLLM only inside functions, so that the service's command line can be read where vLLM is not installed.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from services.rollout.vllm_transfer import CONFIG as TRANSFER
from services.rollout.vllm_worker import SERVICE
from services.server.errors import StartError
from services.server.options import json_object

OWN = {
    "model": "UpdateWeights gives it",
    "tokenizer": "it comes with the weights",
    "dtype": "use --dtype",
    "weight_transfer_config": "`transfer` of UpdateWeights goes over NCCL",
    "worker_extension_cls": "the service has its own",
    "logprobs_mode": "log-probabilities are those of the policy as it is, raw_logprobs",
    "generation_config": "a request says all about sampling",
}
"""Arguments that the service sets itself, and why they cannot be given."""
CPU_CACHE_BYTES = 2**30
"""Keys and values of one engine on a CPU; vLLM would take nearly all memory of the machine."""
ADAPTED = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""Layers that LoRA adapters may change, unless `lora_target_modules` says otherwise. Not the output layer: with it vLLM
cannot take the log-probabilities of given tokens on a CPU."""


class Merged(argparse.Action):
    """Puts the options of a repeated flag together."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        before = before if isinstance(before, dict) else {}  # the default is text still
        for key in values.keys() & before.keys():
            parser.error(f"{option_string} gives {key!r} twice")
        setattr(namespace, self.dest, {**before, **values})


def engine_options(text: str) -> dict[str, Any]:
    """`max_num_seqs=64` as `{"max_num_seqs": 64}`: the value is JSON, or else text as it stands. Or a JSON object of them.

    Raises ArgumentTypeError for a key that the service sets itself.
    """
    if text.lstrip().startswith("{"):
        options = json_object(text)
    else:
        key, equals, value = text.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{text!r} must be KEY=VALUE, for example max_num_seqs=64")
        try:
            options = {key.strip().replace("-", "_"): json.loads(value)}
        except ValueError:
            options = {key.strip().replace("-", "_"): value}
    for key in options.keys() & OWN.keys():
        raise argparse.ArgumentTypeError(f"{key!r} is set by the service: {OWN[key]}")
    return options


def prepare_environment() -> None:
    """Settings that vLLM reads once, at import, where what the operator has set stays; and whose end its processes share."""
    settings = {
        "VLLM_WORKER_MULTIPROCESSING_METHOD": "spawn",  # gRPC's threads and fork do not mix
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",  # its warnings speak of layers without weights at every update
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        "HF_HUB_OFFLINE": "1",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    os.environ[SERVICE] = str(os.getpid())


def check_options(options: Mapping[str, Any]) -> None:
    """Raises StartError for a key that vLLM's engine does not know."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    known = sorted({field.name for field in fields(AsyncEngineArgs)} - OWN.keys())
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3)
            hint = f"; do you mean {' or '.join(near)}?" if near else "."
            raise StartError(
                f"--vllm gives {key!r}, which vLLM's engine does not take{hint} It takes {', '.join(known)}"
            )


def resolved_dtype(dtype: str) -> str:
    """`auto` is float32 on a CPU and bfloat16 elsewhere, as in the transformers engine."""
    from vllm.platforms import current_platform

    return dtype if dtype != "auto" else ("float32" if current_platform.is_cpu() else "bfloat16")


def engine_arguments(directory: str, dtype: str, options: Mapping[str, Any]) -> Any:
    """vLLM's `AsyncEngineArgs` for the model in a directory."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform

    settings: dict[str, Any] = {"disable_log_stats": True, "use_tqdm_on_load": False}
    if options.get("enable_lora"):
        settings |= {"lora_target_modules": ADAPTED}
    if current_platform.is_cpu():
        settings |= {"enforce_eager": True, "kv_cache_memory_bytes": CPU_CACHE_BYTES}
        # A prompt that is read in parts draws a token after each and takes the draw back, which ends vLLM's process: random
        # generators of a CPU with a seed of their own cannot be set back.
        settings |= {"enable_chunked_prefill": False}
    return AsyncEngineArgs(
        **settings
        | dict(options)
        | {
            "model": directory,
            "dtype": dtype,
            "logprobs_mode": "raw_logprobs",
            "generation_config": "vllm",
            "weight_transfer_config": dict(TRANSFER),
            "worker_extension_cls": "services.rollout.vllm_worker.WorkerExtension",
        }
    )
