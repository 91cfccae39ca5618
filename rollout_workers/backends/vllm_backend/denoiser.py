"""A model inside one of vLLM's processes, as the denoising engine sees it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from common.models.config import ModelConfig
from common.models.packing import Packing, Queries
from common.models.transformer import Rows
from common.models.window import Memory, Window
from rollout_workers.backends.vllm_backend.names import (
    Attention,
    CommonAttentionMetadata,
    EncoderOnlyAttentionSpec,
    VllmConfig,
    get_layers_from_vllm_config,
    get_tp_group,
    set_forward_context,
)
from rollout_workers.vocabulary import GroupRanks, Vocabulary


class VllmDenoiser:
    """Runs vLLM's model directly, past its scheduler: whole sequences at every step, and no KV cache."""

    def __init__(self, model: Any, config: ModelConfig, vllm_config: VllmConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self._model = model
        self._vllm_config = vllm_config
        self._attention = _attention_builders(vllm_config, device)
        self.vocabulary = _vocabulary(model, config)
        never = self.vocabulary.columns_never_predicted(config.forbidden_token_ids)
        self._never = torch.tensor(never, dtype=torch.int64, device=device)
        self._packing: Packing | None = None
        self._metadata: dict[str, Any] = {}

    @torch.inference_mode()
    def hidden(self, ids: Tensor, packing: Packing, queries: Queries | None = None) -> Tensor:
        """Hidden states [N, H] of a packed batch of token ids [N]; every sequence sees all of itself.

        With ``queries``, only of those rows [m, H], though vLLM's layers compute all of them.
        """
        if packing is not self._packing:
            self._packing, self._metadata = packing, self._metadata_of(packing)
        # What was compiled is good for no more tokens than this; estimates of many views may be more.
        longest = self._vllm_config.scheduler_config.max_num_batched_tokens
        with set_forward_context(
            self._metadata,
            self._vllm_config,
            num_tokens=packing.total,
            skip_compiled=packing.total > longest,
        ):
            # A compiled model checks no types: it was traced with ids of 32 bits, and takes others for garbage.
            hidden: Tensor = self._model(ids.to(torch.int32), packing.positions)
        return hidden if queries is None else hidden[queries.rows]

    def refresh(self, ids: Tensor, packing: Packing, window: Window, memory: Memory) -> Tensor:
        """Raise NotImplementedError: the configuration refuses approximate caches for this backend."""
        raise NotImplementedError("the vllm backend computes every step exactly")

    @torch.inference_mode()
    def local_logits(self, rows: Tensor) -> Tensor:
        """Compute this rank's columns [n, size] of logits, fp32; -inf at padding and what is never predicted."""
        logits: Tensor = self._model.part_logits(rows)[:, : self.vocabulary.size].float()
        return logits.index_fill_(-1, self._never, -torch.inf)

    def logits(self, rows: Tensor) -> Tensor:
        """Compute fp32 logits [n, V] of hidden rows [n, H], gathered from all ranks; -inf as above."""
        return self.vocabulary.join(self.local_logits(rows))

    def source_rows(self, target_rows: Rows) -> Rows:
        """Return the flat rows that predict the target rows (one to the left where logits shift)."""
        return target_rows - 1 if self.config.shift else target_rows

    def _metadata_of(self, packing: Packing) -> dict[str, Any]:
        """What attention must know of a packing, by layer; it is computed once and serves every step."""
        lengths = [length for _, count, length in packing.blocks for _ in range(count)]
        on_host = torch.tensor(lengths, dtype=torch.int32)
        starts = torch.nn.functional.pad(on_host.cumsum(0, dtype=torch.int32), (1, 0))
        common = CommonAttentionMetadata(
            query_start_loc=starts.to(self.device),
            query_start_loc_cpu=starts,
            seq_lens=on_host.to(self.device),
            num_reqs=len(lengths),
            num_actual_tokens=packing.total,
            max_query_len=max(lengths),
            max_seq_len=max(lengths),
            # Where keys would be cached: builders expect the tensors, and nothing reads them.
            block_table_tensor=torch.zeros(len(lengths), 1, dtype=torch.int32, device=self.device),
            slot_mapping=torch.zeros(packing.total, dtype=torch.int64, device=self.device),
            causal=False,
            positions=packing.positions,
            seq_lens_cpu_upper_bound=on_host,
        )
        found: dict[str, Any] = {}
        for builder, layers in self._attention:
            metadata = builder.build(common_prefix_len=0, common_attn_metadata=common)
            found |= dict.fromkeys(layers, metadata)
        return found


def _vocabulary(model: Any, config: ModelConfig) -> Vocabulary:
    """Say which tokens this rank has the logits of: vLLM gives every rank as many columns, padded at the end."""
    group = get_tp_group()
    if group.world_size == 1:
        return Vocabulary.whole(config.vocab_size)
    return Vocabulary(
        config.vocab_size, model.lm_head.num_embeddings_per_partition, GroupRanks(group.device_group)
    )


def _attention_builders(vllm_config: VllmConfig, device: torch.device) -> list[tuple[Any, list[str]]]:
    """Make the builders of attention metadata, each with the layers that it serves.

    Layers without a KV cache are not among those for which vLLM's runner makes them.
    """
    groups: dict[tuple[object, ...], list[tuple[str, Any]]] = {}
    for name, layer in get_layers_from_vllm_config(vllm_config, Attention).items():
        layer.kv_cache = torch.empty(0, dtype=vllm_config.model_config.dtype, device=device)
        kind = (layer.get_attn_backend(), layer.num_heads, layer.num_kv_heads, layer.head_size)
        groups.setdefault(kind, []).append((name, layer))
    builders = []
    for alike in groups.values():
        names, layer = [name for name, _ in alike], alike[0][1]
        spec = EncoderOnlyAttentionSpec(
            block_size=vllm_config.cache_config.block_size,
            num_kv_heads=layer.num_kv_heads,
            head_size=layer.head_size,
            dtype=vllm_config.model_config.dtype,
        )
        make = layer.get_attn_backend().get_builder_cls()
        builders.append((make(spec, names, vllm_config, device), names))
    return builders
