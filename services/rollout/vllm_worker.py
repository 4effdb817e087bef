"""What this project adds to vLLM's worker, the process that holds the weights."""

# pyright: reportMissingImports=false

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import suppress
from typing import Any

SERVICE = "ASSAY_VLLM_SERVICE"
"""Variable with the id of the service's process."""


class WorkerExtension:
    """Mixed into vLLM's worker class (`worker_extension_cls`)."""

    model_runner: Any
    vllm_config: Any

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """Before anything is loaded: has this process end when the service's has, which may be while vLLM starts.

        vLLM's own processes would stay. Those that hold no weights end with this one.
        """
        threading.Thread(
            target=_end_with, args=(int(os.environ[SERVICE]),), name="end-with-service", daemon=True
        ).start()
        return super().__new__(cls)

    def assay_reload(self, path: str) -> None:
        """Loads the weights of a directory in place; right for tied embeddings too. Called by `collective_rpc`.

        vLLM's `reload_weights` processes each layer that the file names. With tied embeddings the file does not name the
        output layer. Its tensor is the embedding's and gets the new numbers, but on a CPU the layer computes with a copy
        that was packed for oneDNN when it was made: without this it would go on with the old numbers, and say nothing.
        """
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.layers.vocab_parallel_embedding import (
            UnquantizedEmbeddingMethod,
            VocabParallelEmbedding,
        )

        with set_current_vllm_config(self.vllm_config):
            self.model_runner.reload_weights(weights_path=path)
            for layer in self.model_runner.get_model().modules():
                method: Any = getattr(layer, "quant_method", None)
                if isinstance(layer, VocabParallelEmbedding) and isinstance(method, UnquantizedEmbeddingMethod):
                    method.process_weights_after_loading(layer)


def _end_with(service: int) -> None:
    with suppress(ProcessLookupError):  # it has ended already
        select.select([os.pidfd_open(service)], [], [])
    os.kill(os.getpid(), signal.SIGKILL)
