"""What the vllm backend must still show on GPUs; without one it runs on CPUs, which CI does.

For each dtype one process sends weights as a learner does, and a torch and a vllm backend receive them, each in an
actor as in a run, and decode the same requests in turns. The table has a column for each dtype and mode of vLLM.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import click
import ray
import torch

from benchmarks import rollout
from benchmarks.backends import vllm_device, worker_config
from benchmarks.command_options import DTYPES, parse_dtypes
from benchmarks.divergence import Parity, first_difference, written
from benchmarks.gpu.actors import Decode, EngineActor, ModelSender, ReferenceActor
from benchmarks.measure import describe, headline
from benchmarks.weights import BenchmarkError
from common.actors import as_remote
from common.config import Config
from common.models.config import ModelConfig
from common.models.folder import model_folder
from common.models.loading import save_model
from common.records import NOT_COMMITTED, NoiseKey
from common.weights.planner import BroadcastPlanner, members_of
from orchestrator.fleet.actor_environment import ACTOR_ENVIRONMENT
from orchestrator.fleet.cluster import local_ray
from orchestrator.fleet.learner_group import LearnerGroup
from rollout_workers.requests import Request

MODES = ("eager", "compiled")
#: The rows of the table: keys of a result, and what they are.
ROWS = {
    "completions": "completions compared, after an update by either way",
    "same": "of these, the same at every step",
    "near_ties": "of the others, parted by a near-tie (fp32)",
    "changed": "completions that the second update changes",
    "first_step_same": "share of the first step's tokens that are the same",
    "logprob_mean": "log-probability against torch, same canvas: mean difference, nats",
    "logprob_max": "largest difference, nats",
    "effective_share": "effective sample size of exp(difference), share",
    "torch_tokens_per_second": "torch, tokens/s",
    "vllm_tokens_per_second": "vllm, tokens/s",
    "torch_start_seconds": "torch, start, s",
    "vllm_start_seconds": "vllm, start, s",
    "vllm_first_seconds": "vllm, first decode, s (compiles)",
    "torch_store_seconds": "torch, update through the object store, s",
    "vllm_store_seconds": "vllm, update through the object store and shared memory, s",
    "vllm_broadcast_seconds": "vllm, update by broadcast, s",
    "broadcast": "the broadcast went by",
    "torch_gib": "torch, memory taken, GiB",
    "vllm_gib": "vllm, memory taken, GiB",
}
#: vLLM's share of a GPU that it shares with the torch backend.
_MEMORY_SHARE = 0.45
_VOCABULARY, _SMALL_VOCABULARY = 152_064, 512
_SMALL = rollout.Settings(rows=4, prompt=12, completion=16, steps=8, repeats=1)
_DEADLINE = 1800.0
_GIB = 2**30


class Handle:
    """A backend in an actor, and the learner that its weights come from."""

    def __init__(
        self, kind: type[EngineActor], config: Config, gpus: Sequence[int], learner: LearnerGroup
    ) -> None:
        self.actor = _spawn(kind, config, gpus)
        self._learner = learner
        # A name of its own: the sender keeps the group of a member for as long as there is no other.
        self._members = members_of(f"{kind.__name__}-{uuid4()}", self.call("locations"))
        self._planner = BroadcastPlanner("collective")

    def call(self, method: str, *arguments: Any) -> Any:
        return ray.get(getattr(self.actor, method).remote(*arguments), timeout=_DEADLINE)

    def update(self, broadcast: bool) -> float:
        """Bring the learner's weights here; return the seconds from the order until they are loaded."""
        begun = time.perf_counter()
        plan = self._planner.plan(self._learner, self._members) if broadcast else None
        self._learner.begin_publish(plan)
        receiving = None if plan is None else self.actor.receive_weights.remote(plan, 1, self._learner.version)
        publication = self._learner.end_publish(lambda: None)
        if publication.failure:
            raise BenchmarkError(f"the broadcast failed: {publication.failure}")
        loading = receiving or self.actor.load_weights.remote(publication.update)
        ray.get(loading, timeout=_DEADLINE)
        return time.perf_counter() - begun

    def median_update(self, broadcast: bool, repeats: int) -> float:
        """Time updates; the first, which makes the group of a broadcast, does not count."""
        return statistics.median([self.update(broadcast) for _ in range(1 + repeats)][1:])

    def broadcast_by(self) -> str:
        """Return what carries a broadcast: nccl where all members have GPUs of their own, else gloo."""
        plan = self._planner.plan(self._learner, self._members)
        return "" if plan is None else plan.backend

    def end(self) -> None:
        self.call("close")
        ray.kill(self.actor)


class Comparison:
    """A torch backend in one dtype, to be compared with vllm backends one after the other."""

    def __init__(self, model: Path, dtype: str, tensor_parallel: int, settings: rollout.Settings) -> None:
        self._model, self._dtype, self._settings = model, dtype, settings
        self._gpus = list(range(min(tensor_parallel, torch.cuda.device_count())))
        self._tensor_parallel = tensor_parallel
        vocabulary = ModelConfig.from_folder(model).vocab_size
        self._prompts = rollout.random_prompts(vocabulary, settings)
        self._sampler = settings.sampler(rollout.TEMPERATURE, rollout.TOP_P)
        config = self._config({"kind": "torch"})
        spare = range(len(self._gpus), torch.cuda.device_count())
        self._senders: list[Any] = []

        def sender(*_: object) -> Any:
            self._senders.append(_spawn(ModelSender, config, spare[:1]))
            return self._senders[-1]

        self._learner = LearnerGroup(config, sender, check_stop=lambda: None)
        self._learner.start(None)
        self._torch = Handle(ReferenceActor, config, self._gpus[:1], self._learner)
        self._torch.update(broadcast=False)
        self._decode(self._torch, 0)
        self._torch_bytes = self._torch.call("taken_bytes")

    def measure(self, mode: str) -> dict[str, Any]:
        """Start a vllm backend, and compare it after an update through the object store and after a broadcast."""
        options = {"enforce_eager": mode == "eager", "gpu_memory_utilization": _MEMORY_SHARE}
        config = self._config({"kind": "vllm", "tensor_parallel_size": self._tensor_parallel, **options})
        vllm, repeats = Handle(EngineActor, config, self._gpus, self._learner), self._settings.repeats
        # Other weights than both have read from the folder, so that the same completions show that they came.
        self._change()
        vllm.update(broadcast=False)
        self._torch.update(broadcast=False)
        pairs = [(self._decode(self._torch, n), self._decode(vllm, n)) for n in range(1 + repeats)]
        parity = sum((self._compare(n, *pair) for n, pair in enumerate(pairs)), Parity(0, ()))
        found: dict[str, Any] = {
            "torch_tokens_per_second": statistics.median(one.tokens_per_second for one, _ in pairs[1:]),
            "vllm_tokens_per_second": statistics.median(other.tokens_per_second for _, other in pairs[1:]),
            "torch_start_seconds": self._torch.call("start_seconds"),
            "vllm_start_seconds": vllm.call("start_seconds"),
            "vllm_first_seconds": pairs[0][1].seconds,
            "torch_gib": self._torch_bytes / _GIB,
            "vllm_gib": vllm.call("taken_bytes") / _GIB,
        }
        found["vllm_store_seconds"] = vllm.median_update(broadcast=False, repeats=repeats)
        self._change()
        found["vllm_broadcast_seconds"] = vllm.median_update(broadcast=True, repeats=repeats)
        found["broadcast"] = vllm.broadcast_by()
        new = self._decode(vllm, 0)
        olds = zip(pairs[0][0].completions, new.completions, strict=True)
        found["changed"] = sum(first_difference(old, after) is not None for old, after in olds)
        found["torch_store_seconds"] = self._torch.median_update(broadcast=False, repeats=repeats)
        pairs.append((self._decode(self._torch, 0), new))
        parity += self._compare(0, *pairs[-1])
        vllm.end()
        differences = self._torch.call("mismatch", self._requests(0), new)
        return found | {
            "completions": parity.completions,
            "same": parity.same,
            "near_ties": parity.near_ties if self._dtype == "float32" else None,
            "first_step_same": statistics.fmean(share for pair in pairs for share in _first_step_shares(*pair)),
            "logprob_mean": differences["mismatch/mean"],
            "logprob_max": differences["mismatch/max"],
            "effective_share": differences["mismatch/effective_share"],
        }

    def close(self) -> None:
        for actor in (self._torch.actor, *self._senders):
            ray.kill(actor)

    def _change(self) -> None:
        ray.get(self._senders[-1].change.remote(), timeout=_DEADLINE)

    def _config(self, backend: dict[str, Any]) -> Config:
        return worker_config(self._model, self._dtype, "auto", self._settings, backend)

    def _requests(self, number: int) -> list[Request]:
        return [Request(prompt, NoiseKey(number, "gpu", (row,))) for row, prompt in enumerate(self._prompts)]

    def _decode(self, backend: Handle, number: int) -> Decode:
        done: Decode = backend.call("decode", self._requests(number), self._sampler)
        return done

    def _compare(self, number: int, one: Decode, other: Decode) -> Parity:
        found: Parity = self._torch.call("compare", self._requests(number), self._sampler, one, other)
        return found


def wrong(result: dict[str, Any]) -> bool:
    """Return whether a result cannot be right: other tokens in fp32, or weights that never came."""
    different = result["dtype"] == "float32" and result["same"] + result["near_ties"] < result["completions"]
    return different or not result["changed"]


def table(results: Sequence[dict[str, Any]]) -> str:
    """Lay results out in Markdown, a column for each."""
    heads = [f"{result['dtype']}, {result['mode']}, TP {result['tensor_parallel']}" for result in results]
    lines = [["", *heads], ["---", *["---:"] * len(heads)]]
    lines += [[label, *(_cell(result[key]) for result in results)] for key, label in ROWS.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _first_step_shares(one: Decode, other: Decode) -> Iterator[float]:
    """Yield which share of each completion's first step, positions and tokens, the other engine wrote, too."""
    for done, twin in zip(one.completions, other.completions, strict=True):
        step = min(step for step in done.step_map if step != NOT_COMMITTED)
        tokens = written(done, step)
        yield len(tokens & written(twin, step)) / len(tokens)


def _spawn(actor: type, config: Config, gpus: Sequence[int]) -> Any:
    """Start an actor that sees these GPUs only; several actors may see the same."""
    seen = {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1", "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
    remote = as_remote(actor)
    options = {"num_cpus": 0, "max_concurrency": 4, "runtime_env": {"env_vars": ACTOR_ENVIRONMENT | seen}}
    return remote.options(**options).remote(config)


def _random_model(folder: Path, vocabulary: int, settings: rollout.Settings) -> Path:
    model = rollout.peaked_model(rollout.model_config(vocabulary, settings), seed=0)
    save_model(model.config, model.named_parameters(), folder / "model", source=folder)
    return folder / "model"


def _parse_modes(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    modes = tuple(value.split(","))
    if not set(modes) <= set(MODES):
        raise click.BadParameter(f"{value!r} is not a list of {' and '.join(MODES)}, with commas between them.")
    return modes


@click.command()
@click.option("--model", help="Folder or Hub name of a masked-diffusion model.  [default: a small random one]")
@click.option("--dtype", "dtypes", callback=parse_dtypes, default=",".join(DTYPES), show_default=True)
@click.option(
    "--mode", "modes", callback=_parse_modes, default=",".join(MODES), show_default=True, help="Of vLLM."
)
@click.option("--tensor-parallel", default=1, show_default=True, type=click.IntRange(min=1), help="GPUs of vLLM.")
@click.option("--rows", default=32, show_default=True, type=click.IntRange(min=1), help="Completions in a decode.")
@click.option("--prompt", default=128, show_default=True, type=click.IntRange(min=2), help="Mean prompt tokens.")
@click.option("--completion", default=256, show_default=True, type=click.IntRange(min=1), help="Tokens to write.")
@click.option("--steps", default=128, show_default=True, type=click.IntRange(min=1), help="Denoising steps.")
@click.option(
    "--repeats", default=3, show_default=True, type=click.IntRange(min=1), help="Timed decodes, updates."
)
@click.option("--small", is_flag=True, help="A tiny batch and random model: all this in a minute or so, on CPUs.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there.")
def main(
    model: str | None,
    dtypes: Sequence[str],
    modes: Sequence[str],
    tensor_parallel: int,
    rows: int,
    prompt: int,
    completion: int,
    steps: int,
    repeats: int,
    small: bool,
    file: Path | None,
) -> None:
    """Compare the vllm backend with the torch backend on GPUs, and print a table in Markdown.

    Shows, for every dtype and mode of vLLM: whether completions are the same after updates of the weights; how far
    log-probabilities are apart; tokens per second; the time of an update, by the object store and by broadcast;
    memory. Ends with status 1 where fp32 completions differ by more than near-ties, or an update changes nothing.

    The torch backend takes the first GPU, vLLM the first --tensor-parallel, the sender of weights the next one: a
    broadcast goes by NCCL where there is one, by gloo from a CPU otherwise. Both backends share the first GPU, so
    each may take under half of it. On CPUs everything runs too, and no time means anything.
    """
    settings = _SMALL if small else rollout.Settings(rows, prompt, completion, steps, repeats)
    device = vllm_device()
    if device.type == "cuda" and torch.cuda.device_count() < tensor_parallel:
        raise click.BadParameter(f"there are {torch.cuda.device_count()} GPUs.", param_hint="'--tensor-parallel'")
    results = []
    with TemporaryDirectory() as name:
        vocabulary = _SMALL_VOCABULARY if small else _VOCABULARY
        path = model_folder(model) if model else _random_model(Path(name), vocabulary, settings)
        size = sum(weights.stat().st_size for weights in path.glob("*.safetensors"))
        # Two versions at once, in fp32, whatever type the files are in.
        with local_ray(Path(name), dashboard=False, object_store_bytes=4 * size + (256 << 20)):
            for dtype in dtypes:
                comparison = Comparison(path, dtype, tensor_parallel, settings)
                for mode in modes:
                    labels = {"dtype": dtype, "mode": mode, "tensor_parallel": tensor_parallel}
                    results.append(labels | comparison.measure(mode))
                comparison.close()
    machine = describe(device)
    click.echo(f"{headline(machine)}\n{rollout.batch_line(settings)}\n\n{table(results)}")
    if file is not None:
        file.write_text(
            json.dumps({"machine": machine, "settings": asdict(settings), "results": results}, indent=2)
        )
    if any(map(wrong, results)):
        raise click.ClickException("fp32 completions are not the same, or an update has changed nothing")


if __name__ == "__main__":
    main()
