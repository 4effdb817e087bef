"""The policies that are held, each in a vLLM engine or as an adapter on another's: loads, proves, evicts, starts again.

An update waits for the requests that have begun, and those that come meanwhile wait for it. So a completion is sampled
from one version, and no keys and values outlive their weights.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from services.rollout.canary import check_canary
from services.rollout.engine import EngineError, EngineFault, WeightSource
from services.rollout.held import find, find_base, is_sent_again
from services.rollout.text import Text, load_text
from services.rollout.vllm_core import Core
from services.rollout.vllm_sampling import all_at_once, given_logprobs
from services.rollout.vllm_transfer import check_group, check_tensors
from services.rollout.vllm_weights import AdapterCopy, Contents, read_contents
from services.rollout.weights import checked_directory, reading

WATCH_SECONDS = 0.5
"""Between two looks whether vLLM's processes live."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a name stands for. `adapter` is vLLM's `LoRARequest`, None for whole weights."""

    source: WeightSource
    contents: Contents
    core: Core
    text: Text
    adapter: Any = None
    files: AdapterCopy | None = None
    """What vLLM reads the adapter from; goes when the last request that began with it has ended."""


class Policies:
    """Up to `limit` vLLM engines; the one that was not used for longest is given up. Methods raise EngineError.

    dtype, options: see `services.rollout.vllm_options.engine_arguments`.
    """

    def __init__(self, limit: int, dtype: str, options: Mapping[str, Any]) -> None:
        self._limit = limit
        self._dtype = dtype
        self._options = options
        self._policies: dict[str, Policy] = {}  # the least recently used first
        self._updating = asyncio.Lock()  # two engines that start at once would both count the same free memory
        self._adapter_ids = itertools.count(1)

    @property
    def versions(self) -> dict[str, int]:
        """Of the policies that are held."""
        return {name: policy.source.version for name, policy in self._policies.items()}

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Policy]:
        """The policy, whose weights stay as they are meanwhile."""
        core = find(self._policies, name).core
        async with core.turns.shared():
            held = find(self._policies, name)
            if held.core is not core:
                raise EngineError(EngineFault.UNAVAILABLE, f"policy {name!r} has just been made anew; ask again")
            used = held.source.base or name  # room is made by whole engines
            self._policies[used] = self._policies.pop(used)
            yield held

    async def update(self, source: WeightSource, gone: asyncio.Event) -> float:
        """The largest difference to the canary, in nats; see `RolloutEngine.update_weights`.

        gone: set when the caller has gone away, and sends the tensors of a transfer no more.
        """
        async with self._updating:
            held = self._policies.get(source.policy)
            if held is not None and is_sent_again(held.source, source):
                return await self._again(held, source)
            if held is not None and held.source.base != source.base:
                raise EngineError(
                    EngineFault.FAILED_PRECONDITION,
                    f"policy {source.policy!r} has base {held.source.base!r}, not {source.base!r}; use another name",
                )
            if source.base:
                return await self._update_adapter(source)
            if source.transfer and held is not None:
                contents = await asyncio.to_thread(_transferred, source)
                if held.core.has(contents):
                    check_group(source.transfer, held.core.group)
                    return await self._next(held, source, contents, gone)
            source = replace(source, transfer=None)  # vLLM starts, and starts again, from files
            with reading(Path(source.path)):
                directory = await asyncio.to_thread(checked_directory, source.path, source.sha256)
                contents = await asyncio.to_thread(read_contents, directory)
            return await (self._first(source, contents) if held is None else self._next(held, source, contents, gone))

    async def watch(self) -> None:
        """Starts vLLM again where its process has ended, with the weights it had; for ever."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            dead = [name for name, policy in self._policies.items() if not policy.source.base and policy.core.dead]
            for name in dead:
                try:
                    async with self._updating:
                        await self._revive(name)
                except Exception:  # whatever it is, the next look tries again
                    structlog.get_logger().exception("vLLM was not started again", policy=name)

    async def close(self) -> None:
        """Ends every engine."""
        for core in {policy.core for policy in self._policies.values()}:
            await core.stop()
        self._policies.clear()

    async def _again(self, held: Policy, source: WeightSource) -> float:
        """Looks at the canary of a version that is served; one that misses it is held no more."""
        if not source.canary:
            return 0.0
        try:
            async with self.use(source.policy):
                difference = await _difference(held.core, held.text, source, held.adapter)
        except EngineError as error:
            if error.fault is EngineFault.DATA_LOSS:
                await self._drop(source.policy)
            raise
        self._policies[source.policy] = replace(held, source=replace(source, transfer=None))
        return difference

    async def _first(self, source: WeightSource, contents: Contents) -> float:
        while len({policy.core for policy in self._policies.values()}) >= self._limit:
            evicted = next(name for name, policy in self._policies.items() if not policy.source.base)
            structlog.get_logger().warning("policy evicted", policy=evicted, max_policies=self._limit)
            await self._drop(evicted)
        core = Core(self._dtype, self._options)
        try:
            await core.serve(Path(source.path), contents, source.version)
            policy, difference = await _proven(core, source, contents)
        except BaseException:
            await core.stop()
            raise
        self._policies[source.policy] = policy
        return difference

    async def _next(self, held: Policy, source: WeightSource, contents: Contents, gone: asyncio.Event) -> float:
        async with held.core.turns.alone():
            if source.transfer and gone.is_set():
                raise EngineError(EngineFault.CANCELLED, "the caller of the update went away")
            try:
                if source.transfer:
                    await held.core.receive(source.transfer, source.version, gone)
                else:
                    await held.core.serve(Path(source.path), contents, source.version)
                policy, difference = await _proven(held.core, source, contents)
            except Exception as error:
                structlog.get_logger().error("weights refused", policy=source.policy, reason=str(error))
                await self._serve_again(held)
                raise
            self._drop_adapters(source.policy)  # nothing has proven them on the new weights
            self._policies[source.policy] = policy
            return difference

    async def _update_adapter(self, source: WeightSource) -> float:
        """The adapter before it answers the requests that have begun with it."""
        find_base(self._policies, source.base)
        async with self.use(source.base) as base:
            if not base.core.takes_adapters:
                message = "this service takes no LoRA adapters; start it with --vllm enable_lora=true"
                raise EngineError(EngineFault.FAILED_PRECONDITION, message)
            files = await asyncio.to_thread(AdapterCopy, source.path, source.sha256, base.contents.tensors)
            from vllm.lora.request import LoRARequest

            number = next(self._adapter_ids)
            adapter = LoRARequest(f"{source.policy}@{number}", number, str(files.path))
            await base.core.add_adapter(adapter)
            difference = await _difference(base.core, base.text, source, adapter)
            self._policies[source.policy] = Policy(source, base.contents, base.core, base.text, adapter, files)
            return difference

    async def _serve_again(self, held: Policy) -> None:
        """Loads the weights that `held` stands for, proves them, and gives the policy up where that fails; alone."""
        # a process whose weights can be proven is kept; otherwise only a new one is sure to have them
        for afresh in (False, True) if held.source.canary else (True,):
            try:
                directory = await asyncio.to_thread(checked_directory, held.source.path, held.source.sha256)
                await held.core.serve(directory, held.contents, held.source.version, afresh=afresh)
                await _difference(held.core, held.text, held.source, None)
                return
            except Exception as error:  # nothing may be sampled from weights of which nobody knows
                structlog.get_logger().error("weights not served again", policy=held.source.policy, reason=str(error))
        self._forget(held.source.policy)
        await held.core.stop()

    async def _revive(self, name: str) -> None:
        held = self._policies.get(name)
        if held is None or not held.core.dead:
            return
        async with held.core.turns.alone():
            structlog.get_logger().error("vLLM's process ended; it is started again", policy=name)
            await self._serve_again(held)
            await self._prove_adapters(name)

    async def _prove_adapters(self, base: str) -> None:
        """vLLM loads an adapter again when it is asked for."""
        for name, policy in list(self._policies.items()):
            if policy.source.base == base:
                try:
                    await _difference(policy.core, policy.text, policy.source, policy.adapter)
                except EngineError as error:
                    structlog.get_logger().error("adapter not served again", policy=name, reason=error.message)
                    del self._policies[name]

    def _drop_adapters(self, base: str) -> None:
        for name in [name for name, policy in self._policies.items() if policy.source.base == base]:
            structlog.get_logger().warning("adapter given up: its base has new weights", policy=name, base=base)
            del self._policies[name]

    def _forget(self, name: str) -> None:
        self._drop_adapters(name)
        del self._policies[name]

    async def _drop(self, name: str) -> None:
        policy = self._policies[name]
        self._forget(name)
        if not policy.source.base:
            async with policy.core.turns.alone():
                await policy.core.stop()


async def _proven(core: Core, source: WeightSource, contents: Contents) -> tuple[Policy, float]:
    """The policy, once the canary has shown that `core` has its weights, and the difference to it in nats; alone."""
    text = await asyncio.to_thread(load_text, Path(source.path), core.positions, core.vocabulary)
    difference = await _difference(core, text, source, None)
    return Policy(replace(source, transfer=None), contents, core, text), difference


def _transferred(source: WeightSource) -> Contents:
    """Of the folder that holds what is transferred too. Raises EngineError where it holds something else."""
    with reading(Path(source.path)):
        contents = read_contents(checked_directory(source.path, ""), numbers=False)
    if source.transfer:
        check_tensors(source.transfer, contents)
    return contents


async def _difference(core: Core, text: Text, source: WeightSource, adapter: Any) -> float:
    """To the canary, in nats; 0 without one. Raises EngineError (DATA_LOSS) where it is above the tolerance."""
    text.check_sequences("canary", [probe.sequence for probe in source.canary])
    values = await all_at_once(given_logprobs(core, probe.sequence, adapter) for probe in source.canary)
    return check_canary(source.canary, values, source.tolerance)
