"""Completions of a causal model by vLLM: the engine that its ``LLM.generate`` runs, one step at a time.

Importing this imports vLLM, whose environment has to be prepared before.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from common.models import runtime
from common.models.causal import CausalModel
from common.models.families import ModelError
from common.models.folder import model_folder
from evaluation.completers.interface import Batch, Loading, Steps, left_to_right
from evaluation.completers.seeds import sample_seed
from evaluation.settings import AnySampler, EvaluationSettings
from rollout_workers.backends.vllm_backend.errors import VllmError
from rollout_workers.backends.vllm_backend.names import (
    EngineArgs,
    LLMEngine,
    RequestOutputKind,
    SamplingParams,
)
from rollout_workers.backends.vllm_backend.shared_files import unlink_queues
from rollout_workers.backends.vllm_backend.starting import start
from rollout_workers.backends.vllm_backend.temporary_folder import temporary_folder
from rollout_workers.requests import Request

#: Memory for the keys and values of the sequences under way on a CPU, where vLLM would take most of what is free.
_CPU_CACHE_BYTES = 1 << 30
#: Tokens of prompts that are read together there.
_CPU_BATCH_TOKENS = 4096
#: Requests that are completed together: what vLLM runs at a time by itself.
_BATCH = 256


class VllmCompleter:
    """Samples from left to right; ``longest`` is the length of the longest sequence, prompt and completion.

    Each completion has a seed of its own, so that it does not depend on the others. Of the model's own defaults
    of sampling (``generation_config.json``) none but the tokens that end the text is used. Raises ModelError.
    """

    def __init__(self, settings: EvaluationSettings, model: CausalModel, longest: int, loading: Loading) -> None:
        # Requests are scheduled in this process, and the model alone is in another, which ends with this one.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        on_cpu = runtime.configure(settings.model).type == "cpu"
        self._ends = model.end_token_ids
        arguments = EngineArgs(
            model=str(model_folder(settings.model.path)),
            skip_tokenizer_init=True,
            generation_config="vllm",
            dtype=settings.model.dtype,
            max_model_len=longest,
            tensor_parallel_size=settings.tensor_parallel_size,
            # The model in a process of its own: on a CPU, vLLM alters torch where it computes.
            distributed_executor_backend="mp",
            kv_cache_memory_bytes=_CPU_CACHE_BYTES if on_cpu else None,
            # A prompt in chunks would rewind the generator of its draws, which a CPU's cannot.
            enable_chunked_prefill=not on_cpu,
            max_num_batched_tokens=max(longest, _CPU_BATCH_TOKENS) if on_cpu else None,
            enforce_eager=on_cpu,  # to compile takes longer there than it saves
            use_tqdm_on_load=False,
            disable_log_stats=True,
        )
        self._open = ExitStack()
        with ExitStack() as starting:
            starting.callback(self.close)
            folder = self._open.enter_context(temporary_folder())
            try:
                self._engine = start(
                    lambda: LLMEngine.from_engine_args(arguments), folder, loading.start_seconds, loading.check
                )
            except ValueError as error:
                raise ModelError(
                    f"--engine vllm: {settings.model.path}: vLLM cannot run the model: {error}"
                ) from error
            self._open.callback(self._engine.engine_core.shutdown)
            unlink_queues()
            starting.pop_all()

    def batches(self, requests: Sequence[Request], sampler: AnySampler) -> list[Batch]:
        """Make batches of as many requests as vLLM runs together."""
        return [requests[start : start + _BATCH] for start in range(0, len(requests), _BATCH)]

    def complete(self, batches: Sequence[Batch], sampler: AnySampler) -> Steps:
        for batch in batches:
            self._engine.reset_prefix_cache()  # prompts that are read in part are rounded otherwise
            yield from self._complete(batch, sampler)

    def close(self) -> None:
        self._open.close()

    def _complete(self, requests: Batch, sampler: AnySampler) -> Steps:
        by_name = {str(number): request for number, request in enumerate(requests)}
        prompts = [{"prompt_token_ids": list(request.prompt_ids)} for request in requests]
        inputs = self._engine.renderer.render_cmpl(prompts)
        for (name, request), prompt in zip(by_name.items(), inputs, strict=True):
            self._engine.add_request(name, prompt, self._parameters(request, sampler))
        try:
            while self._engine.has_unfinished_requests():
                outputs = [output for output in self._step() if output.finished]
                yield [
                    left_to_right(by_name.pop(output.request_id), output.outputs[0].token_ids, self._ends)
                    for output in outputs
                ]
        finally:
            self._engine.abort_request(list(by_name))

    def _step(self) -> list[Any]:
        """Have vLLM step. Raises VllmError where its processes fail, or do not answer within its own deadline."""
        try:
            outputs: list[Any] = self._engine.step()
        except (RuntimeError, TimeoutError) as error:
            raise VllmError(f"vLLM's processes did not answer (step): {error}") from error
        return outputs

    def _parameters(self, request: Request, sampler: AnySampler) -> SamplingParams:
        return SamplingParams(
            temperature=sampler.temperature,
            top_p=sampler.top_p,
            top_k=sampler.top_k,
            max_tokens=sampler.completion_length,
            stop_token_ids=list(self._ends),
            seed=sample_seed(request),
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
