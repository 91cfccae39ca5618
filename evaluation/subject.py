"""The model that is evaluated: of which kind it is, and what it takes to complete prompts with it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from common.config import PromptSettings
from common.models.causal import CausalModel, is_causal_model
from common.models.config import ModelConfig
from common.models.families import ModelError
from common.models.folder import load_tokenizer, model_folder
from common.models.prompts import PromptEncoder
from evaluation.benchmark import AskedBenchmark
from evaluation.completers.interface import Completer, Loading
from evaluation.settings import Engine, EvaluationSettings
from rollout_workers.backends.vllm_backend import environment
from rollout_workers.requests import HasLength, RequestError, check_prompt


@dataclass(frozen=True)
class Subject:
    """A model before its weights are loaded, and the engine that runs it."""

    path: str
    engine: Engine
    config: ModelConfig | CausalModel

    @classmethod
    def read(cls, path: str, engine: Engine | None) -> Subject:
        """Read what kind of model it is, from its config.json; no weights are downloaded.

        By default torch runs a masked-diffusion model and vllm a causal one. Raises ModelError for another engine
        than the kind has, and for one that is not installed.
        """
        if is_causal_model(path):
            if engine == "torch":
                raise ModelError(
                    f"--engine torch: {path} is a causal model, which is not denoised; give --engine vllm or "
                    "transformers, or adapt it to masked diffusion first (couplet adapt)"
                )
            engine = engine or "vllm"
            _require(engine)
            return cls(path, engine, CausalModel.read(path))
        if engine == "transformers":
            raise ModelError(
                f"--engine transformers: {path} is a masked-diffusion model, which it cannot sample from; give "
                "--engine torch or vllm"
            )
        engine = engine or "torch"
        _require(engine)
        return cls(path, engine, ModelConfig.from_folder(model_folder(path, weights=False)))

    @property
    def causal(self) -> bool:
        """Whether it is a causal model, and no masked-diffusion one."""
        return isinstance(self.config, CausalModel)

    def encoder(self, settings: PromptSettings) -> PromptEncoder:
        """Return what renders and encodes its prompts. Raises ModelError."""
        tokenizer: Any = (
            self.config.tokenizer if isinstance(self.config, CausalModel) else load_tokenizer(self.path)
        )
        return PromptEncoder(self.path, settings, tokenizer)

    def check(self, asked: Iterable[AskedBenchmark], sampler: HasLength) -> int:
        """Return the length of the longest sequence, prompt and completion.

        Raises RequestError, naming the task, for a prompt that the model cannot complete.
        """
        prompts = [
            (prompt, task, one) for one in asked for prompt, task in zip(one.prompts, one.tasks, strict=True)
        ]
        longest, task, one = max(prompts, key=lambda found: len(found[0]))
        room = self.config.max_position_embeddings - len(longest)
        if sampler.completion_length > room:
            remedy = f"give --max-tokens {room} or less" if room > 0 else "leave the task out"
            raise RequestError(
                f"--max-tokens {sampler.completion_length}: does not fit: the model knows "
                f"{self.config.max_position_embeddings} positions, and the longest prompt, of task {task.id!r} of "
                f"{one.name}, takes {len(longest)} of them; {remedy}"
            )
        for prompt, task, one in prompts:
            try:
                check_prompt(prompt, sampler, self.config)
            except RequestError as error:
                raise RequestError(f"task {task.id!r} of {one.name}: {error}") from error
        return len(longest) + sampler.completion_length

    def load(self, settings: EvaluationSettings, longest: int, loading: Loading) -> Completer:
        """Load the weights; ``longest`` is the length of the longest sequence, prompt and completion.

        Raises ModelError, PluginError for a decoder that cannot be loaded, and VllmError.
        """
        # Each imports a library that the others do not need.
        if not isinstance(self.config, CausalModel):
            from evaluation.completers.diffusion import DiffusionCompleter

            return DiffusionCompleter(settings, loading)
        if self.engine == "vllm":
            environment.prepare(settings.model.threads, settings.tensor_parallel_size)
            from evaluation.completers.vllm_causal import VllmCompleter

            return VllmCompleter(settings, self.config, longest, loading)
        from evaluation.completers.transformers_causal import TransformersCompleter

        return TransformersCompleter(settings, self.config)


def _require(engine: Engine) -> None:
    if importlib.util.find_spec(engine) is None:
        raise ModelError(
            f"--engine {engine}: it is not installed; install it (pip install 'couplet-rl[vllm]'), or give "
            "--engine transformers for a causal model, --engine torch for a masked-diffusion one"
        )
