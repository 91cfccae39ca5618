"""The backend on vLLM: its processes hold the model, and the denoising engine runs inside them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.config import Config, RolloutConfig, VllmBackendConfig
from common.likelihood.views import Text, Views
from common.models.config import ModelConfig
from common.models.families import ModelError, family_named
from common.models.folder import model_folder
from common.models.loading import load_model
from common.models.shapes import parameter_shapes
from common.weights.layout import Layout, WeightsError
from common.weights.location import Location
from common.weights.messages import BroadcastError, CalledOffError, Plan
from rollout_workers.backends.vllm_backend.errors import VllmError
from rollout_workers.backends.vllm_backend.extension import Failure, Settings
from rollout_workers.backends.vllm_backend.limits import check_limits
from rollout_workers.backends.vllm_backend.models import register_here
from rollout_workers.backends.vllm_backend.names import EngineArgs, MultiprocExecutor, WeightTransferConfig
from rollout_workers.backends.vllm_backend.plugin import ARCHITECTURES, WEIGHT_TRANSFER
from rollout_workers.backends.vllm_backend.remote_engine import RemoteEngine
from rollout_workers.backends.vllm_backend.shared_files import unlink_queues
from rollout_workers.backends.vllm_backend.starting import start
from rollout_workers.backends.vllm_backend.temporary_folder import temporary_folder
from rollout_workers.backends.vllm_backend.transfer import segments

#: Errors that keep their type on the way here.
_KINDS = {error.__name__: error for error in (WeightsError, BroadcastError, CalledOffError)}

#: Seconds that a process is given to tell that it has missed a deadline of its own.
_GRACE_SECONDS = 10.0
#: Denoising steps of one call, after which groups that have come meanwhile can join.
_MOST_STEPS = 16


class VllmBackend:
    """vLLM's processes and the engine in them; see :class:`~rollout_workers.backends.interface.Backend`.

    One process for each tensor-parallel rank, all on this machine; none of them outlives this one. Calls are made
    one at a time, each with a deadline. Once an answer did not come, the backend refuses every call: the next
    answer might be the one that was late. ``check`` is called while they start, and may raise.

    vLLM reads its environment when this module is imported, so that has to be prepared before.
    """

    def __init__(self, config: Config, check: Callable[[], None] = lambda: None) -> None:
        settings = config.rollout.backend
        if not isinstance(settings, VllmBackendConfig):
            raise TypeError("rollout.backend is not vllm")
        self._config = ModelConfig.from_folder(model_folder(config.model.path))
        try:
            on_gpu = torch.cuda.is_available() and config.model.device != "cpu"
            check_limits(self._config, settings.tensor_parallel_size, on_gpu)
        except ValueError as error:
            raise ModelError(f"vllm cannot compute {config.model.path}: {error}") from error
        self._deadlines = config.deadlines
        self._calling = threading.Lock()
        self._open = ExitStack()
        self._unusable = ""
        with ExitStack() as starting:
            starting.callback(self.close)
            folder = self._open.enter_context(temporary_folder())
            self._executor = self._start(_arguments(self._config, config, settings, folder), folder, check)
            self._open.callback(self._executor.shutdown)
            unlink_queues()
            begun = Settings(config.rollout.batch_tokens, config.rollout.compile)
            self._call("begin", begun, deadline=self._deadlines.start_seconds)
            self.load(load_model(config.model.path).named_parameters())
            starting.pop_all()
        most = 1 if config.takes_weights_between == "steps" else _MOST_STEPS
        self.engine = RemoteEngine(self._step, self._config, config.rollout.batch_tokens, most)

    def prepare(
        self,
        rollout: RolloutConfig,
        completions: int | None = None,
        said: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Do nothing: its processes have compiled when they began."""

    def locations(self) -> tuple[Location, ...]:
        return tuple(Location.here(gpu) for gpu in self._call("gpu"))

    def adopt(self, layout: Layout, weights: Iterable[tuple[str, Tensor]]) -> bool:
        return False  # other processes hold them

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        with ExitStack() as failed:
            failed.callback(self._call, "abandon_update")
            self._call("start_weight_update")
            for segment in segments(weights):
                self._call("take_segment", segment)
            self._call("finish_weight_update")
            failed.pop_all()

    def release(self) -> None:
        raise NotImplementedError("rollout.placement: vLLM's processes cannot give their memory back")

    @contextmanager
    def receiving(self, plan: Plan, rank: int, deadline: float) -> Iterator[tuple[int, Callable[[], None]]]:
        patience = deadline + _GRACE_SECONDS
        received = False

        def finish() -> None:
            nonlocal received
            received = True
            self._call("finish_receiving", deadline=patience)

        try:
            members = self.locations()
            yield self._call("begin_receiving", members, plan, rank, deadline, deadline=patience)[0], finish
        finally:
            if not received:
                self._call("give_up_receiving")

    def estimate(self, text: Text, views: Views) -> tuple[float, ...]:
        estimates: tuple[float, ...] = self._call("estimate", text, views)[0]
        return estimates

    def corrupt(self) -> None:
        shapes = parameter_shapes(self._config)
        self.load((name, torch.full(shape, torch.nan)) for name, shape in shapes.items())

    def differing(self, weights: Iterable[tuple[str, Tensor]]) -> list[str]:
        missing = dict.fromkeys(parameter_shapes(self._config))
        found: list[str] = []
        for segment in segments(weights):
            of_ranks = self._call("differing", segment)
            found += [name for name, *_ in segment.entries if any(name in names for names in of_ranks)]
            for name, *_ in segment.entries:
                missing.pop(name, None)
        return [*found, *missing]

    def close(self) -> None:
        self._unusable = self._unusable or "vLLM's processes have been ended"
        self._open.close()

    def _start(self, arguments: EngineArgs, folder: Path, check: Callable[[], None]) -> MultiprocExecutor:
        """Start vLLM's processes, with the model's weights as they come. Raises VllmError."""
        register_here()
        try:
            return start(
                lambda: MultiprocExecutor(arguments.create_engine_config()),
                folder,
                self._deadlines.start_seconds,
                check,
            )
        except ValueError as error:
            raise VllmError(f"vLLM did not start: {error}") from error

    def _step(self, *arguments: Any) -> list[Any]:
        return self._call("advance", *arguments, deadline=self._deadlines.step_seconds)

    def _call(self, method: str, *arguments: Any, deadline: float | None = None) -> list[Any]:
        """Call a method of vLLM's worker, or of our extension, in every process; return the answers by rank.

        Raises WeightsError or BroadcastError for such an error there, and VllmError for any other, and where the
        answers do not come within ``deadline`` seconds.
        """
        seconds = self._deadlines.weights_seconds if deadline is None else deadline
        try:
            with self._calling:
                if self._unusable:
                    raise VllmError(self._unusable)
                answers: list[Any] = self._executor.collective_rpc(
                    "ask", timeout=seconds, args=(method, *arguments)
                )
        except (RuntimeError, TimeoutError) as error:
            self._unusable = f"vLLM's processes did not answer ({method}): {error}"
            raise VllmError(self._unusable) from error
        failures = [(rank, answer) for rank, answer in enumerate(answers) if isinstance(answer, Failure)]
        # Where one rank has changed its weights and another has not, they have been changed.
        for rank, failure in sorted(failures, key=lambda one: one[1].kind == CalledOffError.__name__):
            if failure.kind in _KINDS:
                raise _KINDS[failure.kind](failure.text)
            raise VllmError(f"{method}, rank {rank}: {failure.kind}: {failure.text}")
        return answers


def _arguments(model: ModelConfig, config: Config, settings: VllmBackendConfig, folder: Path) -> EngineArgs:
    """Write the model's configuration into ``folder``, and return vLLM's arguments.

    Weights are not in it: they come through :meth:`VllmBackend.load`, so that vLLM takes whatever family the
    project reads, with the names of its parameters.
    """
    dtype = settings.dtype or config.model.dtype
    stated = model.to_hugging_face(dtype) | {"architectures": [ARCHITECTURES[family_named(model.family).layout]]}
    (folder / "config.json").write_text(json.dumps(stated))
    longest = max(config.rollout.batch_tokens, model.max_position_embeddings)
    return EngineArgs(
        model=str(folder),
        load_format="dummy",
        skip_tokenizer_init=True,
        dtype=dtype,
        # Logits in fp32 out of unrounded sums, as the learner computes them.
        hf_overrides={"head_dtype": "float32"},
        tensor_parallel_size=settings.tensor_parallel_size,
        distributed_executor_backend="mp",
        gpu_memory_utilization=settings.gpu_memory_utilization,
        enforce_eager=settings.enforce_eager,
        enable_prefix_caching=False,
        # There is no KV cache; without a size for it, vLLM sets a share of the memory aside on a CPU.
        kv_cache_memory_bytes=1,
        max_model_len=model.max_position_embeddings,
        max_num_batched_tokens=longest,
        worker_extension_cls="rollout_workers.backends.vllm_backend.extension.DenoisingExtension",
        weight_transfer_config=WeightTransferConfig(backend=WEIGHT_TRANSFER),
        disable_log_stats=True,
    )
