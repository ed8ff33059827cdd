"""Reuse of cached keys and values by the token, where vLLM's prefix cache reuses whole blocks.

A search step is shorter than a block, and a path seldom ends where a block does: each child would compute
its parent's last, unfilled block again. ``PartialBlockConnector`` is a KV connector, vLLM's own extension
point, whose other end is the cache of the same engine. A request whose next block was begun by another
request gets a copy of that block, and computes from the token at which the two differ.

A finished request's blocks stay where they are, readable, until vLLM needs them for something new (the
oldest first, among its own cached blocks). So no memory is used beside the engine's.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorBase_V1, KVConnectorMetadata
from vllm.v1.kv_cache_interface import FullAttentionSpec

from actors.prefixes import Prefixes

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorRole
    from vllm.v1.core.block_pool import BlockPool
    from vllm.v1.core.kv_cache_manager import KVCacheBlocks
    from vllm.v1.core.kv_cache_utils import KVCacheBlock
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.outputs import KVConnectorOutput
    from vllm.v1.request import Request

WORTH_WAITING = 4
"""The tokens for which a request is held back for one engine step.

A request waits for the step that is being scheduled if at least so many more of its tokens can be copied
after it, and for a further step only if that offers more than any before. So siblings share the prefill of
the first of them, which may itself have waited for the beginning that all prompts share."""


@dataclass
class Copies(KVConnectorMetadata):
    """Tells the worker to copy block ``sources[i]`` to ``targets[i]`` before its next forward pass."""

    sources: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Start:
    """Tells where the request that is being admitted begins to compute."""

    request: str
    place: int
    """The index, among the request's blocks, of the first that it has not whole."""
    source: int | None
    """The block that is copied to that place, or None if none has its first token."""


class PartialBlockConnector(KVConnectorBase_V1):
    """Copies begun blocks; vLLM makes one connector for its scheduler and one for its worker.

    It copies nothing where it has not been shown to be right: with the prefix cache off, attention other than
    full, more than one group of layers, speculative decoding, prompts in chunks (whose blocks come step by
    step), or more than one engine step in flight.
    """

    # vLLM 0.32: KVConnectorBase_V1; every public method but ``let_go`` is one of its hooks.

    def __init__(
        self, vllm_config: VllmConfig, role: KVConnectorRole, kv_cache_config: KVCacheConfig
    ) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        # vLLM 0.32: KVCacheConfig.kv_cache_groups, VllmConfig.max_concurrent_batches and
        # SchedulerConfig.enable_chunked_prefill.
        cache, specs = vllm_config.cache_config, [g.kv_cache_spec for g in kv_cache_config.kv_cache_groups]
        self._block_size = cache.block_size
        self._num_blocks = kv_cache_config.num_blocks
        self._applies = (
            bool(cache.enable_prefix_caching)
            and [(type(spec), spec.block_size) for spec in specs] == [(FullAttentionSpec, cache.block_size)]
            and vllm_config.speculative_config is None
            and vllm_config.max_concurrent_batches == 1
            and not vllm_config.scheduler_config.enable_chunked_prefill
        )
        # On the scheduler's side:
        self._pool: BlockPool | None = None
        self._held = Prefixes()  # blocks that can be copied now
        self._coming = Prefixes()  # blocks that can be copied after the step that is being scheduled
        self._start: _Start | None = None
        self._admitted: list[tuple[Request, int, Sequence[KVCacheBlock]]] = []
        self._copies = Copies()
        self._promised: dict[str, int] = {}  # request held back -> the tokens that it waits for
        self._known: dict[str, int] = {}  # request -> the number of its tokens that are in ``_held``
        self._pinned: list[KVCacheBlock] = []
        # On the worker's side:
        self._caches: list[torch.Tensor] = []

    @property
    def requires_kv_delivery(self) -> bool:
        return False  # no request waits for a delivery to another engine

    # -- the scheduler's side ----------------------------------------------------------------------

    def bind_gpu_block_pool(self, gpu_block_pool: BlockPool) -> None:
        self._pool = gpu_block_pool  # vLLM 0.32: BlockPool.blocks, touch and unpin_blocks are used

    def get_num_new_matched_tokens(
        self, request: Request, num_computed_tokens: int
    ) -> tuple[int | None, bool]:
        """Returns how many tokens a copy offers after the ``num_computed_tokens`` of whole cached blocks.

        None in place of the number makes vLLM ask again at the next step. The second value is always False:
        a copy is there before the forward pass.
        """
        self._start = None
        if not self._applies or request.skip_reading_prefix_cache or _is_special(request):
            return 0, False
        id, place = request.request_id, num_computed_tokens // self._block_size
        # The last token has to be computed: the next one is sampled from its output.
        # vLLM 0.32: Request.all_token_ids, num_tokens and skip_reading_prefix_cache.
        end = min(num_computed_tokens + self._block_size, request.num_tokens - 1)
        wanted, parent = request.all_token_ids[num_computed_tokens:end], _parent(request, place)
        source, length = self._held.longest(parent, wanted)
        coming = self._coming.longest(parent, wanted)[1]
        promise = num_computed_tokens + coming
        if coming - length >= WORTH_WAITING and promise > self._promised.get(id, 0):
            self._promised[id] = promise
            return None, False
        self._start = _Start(id, place, source if length else None)
        return length, False

    def update_state_after_alloc(
        self, request: Request, blocks: KVCacheBlocks, num_external_tokens: int
    ) -> None:
        """Notes the copy of a request that is admitted.

        The source may get a new owner in the same step, this request too: its content is there until the
        forward pass, and copies come before that.
        """
        start, self._start = self._start, None
        if start is None or start.request != request.request_id:
            return
        mine = blocks.blocks[0]  # vLLM 0.32: KVCacheBlocks.blocks[group]
        if num_external_tokens:
            assert start.source is not None
            self._copies.sources.append(start.source)
            self._copies.targets.append(mine[start.place].block_id)
        self._promised.pop(request.request_id, None)
        self._admitted.append((request, start.place, mine))
        self._note(self._coming, request, mine, start.place, request.num_tokens)

    def build_connector_meta(self, scheduler_output: SchedulerOutput) -> Copies:
        self.let_go()
        for request, place, blocks in self._admitted:
            scheduled = scheduler_output.num_scheduled_tokens[request.request_id]
            self._keep(request, blocks, place, request.num_computed_tokens + scheduled)
        self._admitted.clear()
        self._coming.clear()
        copies, self._copies = self._copies, Copies()
        return copies

    def request_finished(self, request: Request, block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]:
        """Keeps what the request has computed since it was admitted.

        An aborted request's is kept too: vLLM aborts a request when it finds a stop string in its output.
        """
        self._promised.pop(request.request_id, None)
        known = self._known.pop(request.request_id, None)
        if known is not None and self._pool is not None:
            blocks = [self._pool.blocks[id] for id in block_ids]
            end = request.num_computed_tokens
            self._keep(request, blocks, known // self._block_size, end)
            del self._known[request.request_id]
            if end % self._block_size:
                # vLLM 0.32: BlockPool.free_blocks puts an unfilled block first in line for reuse. So it is
                # held until the request has let go of it, and then put last.
                self._pool.touch(blocks[-1:])
                self._pinned += blocks[-1:]
        return False, None

    def update_connector_output(self, connector_output: KVConnectorOutput) -> None:
        """Lets go of blocks at the end of an engine step."""
        self.let_go()

    def let_go(self) -> None:
        """Unpins the last blocks of finished requests, which have let go of them by now.

        Called between engine steps, and before the cache is reset, which vLLM refuses while a block is held.
        """
        if self._pool is not None and self._pinned:
            pinned, self._pinned = self._pinned, []
            self._pool.unpin_blocks(pinned, self._forget)

    def reset_cache(self) -> bool:
        self._held.clear()
        return True

    def _keep(self, request: Request, blocks: Sequence[KVCacheBlock], place: int, end: int) -> None:
        """Makes the request's blocks from number ``place`` on, up to its token ``end``, available for copies.

        They are from the next engine step on, until vLLM gives the block to another request.
        """
        assert self._pool is not None
        self._known[request.request_id] = end
        kept = self._note(self._held, request, blocks, place, end)
        self._pool.touch(kept)
        # vLLM 0.32: unpin_blocks undoes touch, and calls _forget when the block is given away.
        self._pool.unpin_blocks(kept, self._forget)

    def _note(
        self, prefixes: Prefixes, request: Request, blocks: Sequence[KVCacheBlock], place: int, end: int
    ) -> list[KVCacheBlock]:
        """Adds the request's blocks from number ``place`` on to ``prefixes``. Returns them."""
        noted, size = [], self._block_size
        for begin in range(place * size, end, size):
            block = blocks[begin // size]
            tokens = request.all_token_ids[begin : min(begin + size, end)]
            prefixes.add(block.block_id, _parent(request, begin // size), tokens)
            noted.append(block)
        return noted

    def _forget(self, block: KVCacheBlock) -> None:
        self._held.drop(block.block_id)

    # -- the worker's side -------------------------------------------------------------------------

    def register_kv_caches(self, kv_caches: dict[str, torch.Tensor]) -> None:
        # vLLM 0.32: the first dimension of a layer's cache is the block.
        for name, cache in kv_caches.items():
            if self._applies and cache.shape[0] != self._num_blocks:
                raise ValueError(
                    f"engine.kv_transfer_config: {type(self).__name__} cannot copy blocks of {name}, whose "
                    f"cache has the shape {tuple(cache.shape)} for {self._num_blocks} blocks; set it to null"
                )
        # Layers may share one cache.
        self._caches = list({cache.data_ptr(): cache for cache in kv_caches.values()}.values())

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        copies = self._get_connector_metadata()
        assert isinstance(copies, Copies)
        if not copies.sources:
            return
        # A source may be the target of another copy: all are read before any is written.
        sources, targets = torch.tensor(copies.sources), torch.tensor(copies.targets)
        for cache in self._caches:
            cache.index_copy_(0, targets.to(cache.device), cache.index_select(0, sources.to(cache.device)))

    def wait_for_layer_load(self, layer_name: str) -> None: ...

    def save_kv_layer(self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any) -> None: ...

    def wait_for_save(self) -> None: ...


def _parent(request: Request, place: int) -> Hashable:
    """Returns a key of all tokens before the request's block number ``place``."""
    # vLLM 0.32: Request.block_hashes[i] is the hash of the tokens up to the end of block i.
    return request.block_hashes[place - 1] if place else None


def _is_special(request: Request) -> bool:
    """Returns True if more than its tokens determines the content of the request's first block."""
    return bool(
        request.lora_request or request.mm_features or request.cache_salt or request.prompt_embeds is not None
    )
