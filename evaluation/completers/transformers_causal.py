"""Completions of a causal model by transformers: the slow reference, one completion at a time, on any machine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from common.models import runtime
from common.models.causal import CausalModel
from common.models.families import ModelError
from common.models.folder import model_folder
from common.models.quiet import quiet_transformers
from evaluation.completers.interface import Batch, Steps, left_to_right
from evaluation.completers.seeds import sample_seed
from evaluation.settings import AnySampler, EvaluationSettings
from rollout_workers.requests import Request


class TransformersCompleter:
    """Samples from left to right by ``generate``, with a seed for each completion. Raises ModelError.

    Of the model's own defaults of sampling (``generation_config.json``) none but the tokens that end the text is
    used.
    """

    def __init__(self, settings: EvaluationSettings, model: CausalModel) -> None:
        self._device = runtime.configure(settings.model)
        self._ends = model.end_token_ids
        folder = model_folder(settings.model.path)
        dtype = runtime.compute_dtype(settings.model)
        try:
            with quiet_transformers():
                loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{folder}: transformers cannot load the model: {error}") from error
        self._model = loaded.to(self._device).eval()

    def batches(self, requests: Sequence[Request], sampler: AnySampler) -> list[Batch]:
        """Make a batch of each request."""
        return [[request] for request in requests]

    def complete(self, batches: Sequence[Batch], sampler: AnySampler) -> Steps:
        # In place of the model's own, which would fill in what is not stated here.
        self._model.generation_config = self._generation_config(sampler)
        for (request,) in batches:
            yield [left_to_right(request, self._write(request), self._ends)]

    def close(self) -> None:
        pass

    def _generation_config(self, sampler: AnySampler) -> GenerationConfig:
        greedy = sampler.temperature == 0
        drawn = {"temperature": sampler.temperature, "top_p": sampler.top_p, "top_k": sampler.top_k}
        return GenerationConfig(
            do_sample=not greedy,
            max_new_tokens=sampler.completion_length,
            eos_token_id=list(self._ends),
            pad_token_id=self._ends[0],
            **({} if greedy else drawn),
        )

    def _write(self, request: Request) -> list[int]:
        prompt = torch.tensor([request.prompt_ids], device=self._device)
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(sample_seed(request))
            written: list[int] = self._model.generate(prompt, attention_mask=torch.ones_like(prompt))[0].tolist()
        return written[len(request.prompt_ids) :]
