"""One vLLM engine: starts it, asks it, loads weights into it, and says which of its errors means what.

vLLM's scheduler and workers are processes of their own (EngineCore). Whoever calls sees to it that nothing is asked while
weights are loaded (`services.rollout.vllm_turns`).
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from services.rollout.engine import EngineError, EngineFault, Transfer
from services.rollout.vllm_options import engine_arguments
from services.rollout.vllm_transfer import take, while_sent
from services.rollout.vllm_turns import Turns
from services.rollout.vllm_weights import Contents
from services.rollout.weights import bad_path, brief


class Core:
    """Holds the weights of one policy, and of the LoRA adapters on it. Every method raises EngineError."""

    def __init__(self, dtype: str, options: Mapping[str, Any]) -> None:
        self._dtype = dtype
        self._options = options
        self._llm: Any = None
        self._contents: Contents | None = None
        self.group = b""
        """The workers' group with the trainer, of the last transfer; empty before the first of a process."""
        self.turns = Turns()

    @property
    def dead(self) -> bool:
        """vLLM's process has ended, or was never started."""
        return self._llm is None or self._llm.errored

    @property
    def positions(self) -> int:
        """Longest sequence, in tokens."""
        return self._llm.model_config.max_model_len

    @property
    def vocabulary(self) -> int:
        """Token ids are below it."""
        return self._llm.model_config.get_vocab_size()

    @property
    def takes_adapters(self) -> bool:
        return self._llm.vllm_config.lora_config is not None

    async def serve(self, directory: Path, contents: Contents, version: int, *, afresh: bool = False) -> None:
        """Puts a checked directory's weights in place of what is there; alone.

        A process that runs is kept where nothing but numbers differs, unless `afresh`.
        """
        try:
            if self.dead or afresh or contents != self._contents:
                await self._start(directory)
            else:
                await self._reload(directory)
            await self._llm.update_weight_version(str(version))
        except Exception as error:
            self._contents = None  # whatever is there now, the next weights go into a new process
            if self._llm is not None and self.dead:
                raise EngineError(EngineFault.UNAVAILABLE, "vLLM's process ended while it loaded weights") from error
            raise bad_path(directory, f"cannot be loaded: {brief(error)}") from error
        self._contents = contents

    def has(self, contents: Contents) -> bool:
        """Whether a running process has these contents, but for the numbers."""
        return not self.dead and contents == self._contents

    async def receive(self, transfer: Transfer, version: int, gone: asyncio.Event) -> None:
        """Takes the weights from the trainer, in place of others of the same contents; alone.

        gone: set when nobody sends any more. After an error the next weights go into a new process: the workers of this
        one may wait in NCCL for ever.
        """
        try:
            await while_sent(take(self._llm, transfer, self.group), gone)
            await self._llm.update_weight_version(str(version))
        except Exception as error:
            self._contents, self.group = None, b""
            message = f"the transfer broke off, send the update without it: {brief(error)}"
            raise EngineError(EngineFault.UNAVAILABLE, message) from error
        self.group = transfer.group

    async def ask(self, prompt: Sequence[int], params: Any, adapter: Any = None) -> Any:
        """vLLM's `RequestOutput` once it is finished; cancelled, the request ends too."""
        from vllm import TokensPrompt

        async with _plain_errors(self):
            last = None
            tokens = TokensPrompt(prompt_token_ids=list(prompt))
            async for output in self._llm.generate(tokens, params, uuid4().hex, lora_request=adapter):
                last = output
        if last is None or not last.finished or last.outputs[0].finish_reason not in ("stop", "length"):
            raise EngineError(EngineFault.UNAVAILABLE, "vLLM gave the request up; the same one may succeed later")
        return last

    async def add_adapter(self, adapter: Any) -> None:
        """Loads a LoRA adapter (`LoRARequest`)."""
        try:
            await self._llm.add_lora(adapter)
        except Exception as error:
            if self.dead:
                raise EngineError(EngineFault.UNAVAILABLE, "vLLM's process ended while it loaded an adapter") from error
            raise EngineError(
                EngineFault.FAILED_PRECONDITION, f"the adapter cannot be loaded: {brief(error)}"
            ) from error

    async def stop(self) -> None:
        """Ends vLLM's processes; what they were asked fails."""
        llm, self._llm, self._contents, self.group = self._llm, None, None, b""
        if llm is not None:
            await asyncio.to_thread(llm.shutdown)

    async def _start(self, directory: Path) -> None:
        await self.stop()
        self._llm = await asyncio.to_thread(_open, str(directory), self._dtype, self._options)

    async def _reload(self, directory: Path) -> None:
        # vLLM's own order for new weights: nothing runs, and no keys and values of the old ones are kept
        await self._llm.pause_generation(mode="abort", clear_cache=True)
        await self._llm.collective_rpc("assay_reload", args=(str(directory),))
        await self._llm.resume_generation()


def _open(directory: str, dtype: str, options: Mapping[str, Any]) -> Any:
    from vllm.v1.engine.async_llm import AsyncLLM

    return AsyncLLM.from_engine_args(engine_arguments(directory, dtype, options))


@asynccontextmanager
async def _plain_errors(core: Core) -> AsyncIterator[None]:
    """vLLM's errors as EngineError. Their texts may hold prompts, so they go no further."""
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except (EngineError, asyncio.CancelledError):
        raise
    except Exception as error:
        if core.dead or isinstance(error, EngineDeadError):
            message = "vLLM's process ended during the call; it is being started again"
            raise EngineError(EngineFault.UNAVAILABLE, message) from error
        raise EngineError(EngineFault.INTERNAL, f"vLLM raised {type(error).__name__}; see the service's log") from error
