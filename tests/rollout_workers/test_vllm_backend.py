"""The vllm backend writes what the torch backend writes, token by token, with the weights it was given last.

Its processes start once a case, which takes them ten seconds or more: a case is asked everything.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from common.config import Config, load_config
from common.errors import UserError
from common.likelihood.registry import make_estimator
from common.likelihood.views import SampleKey, Text
from common.models.config import ModelConfig
from common.models.folder import model_folder
from common.models.loading import load_model, save_model
from common.models.transformer import MaskedDiffusionModel, initialize
from common.records import Completion, NoiseKey, Sampler
from common.sampler import DECODERS
from rollout_workers.backends.interface import Backend
from rollout_workers.backends.registry import build_backend
from rollout_workers.backends.vllm_backend.errors import VllmError
from rollout_workers.requests import Request
from tests.needs_vllm import need_vllm

pytestmark = pytest.mark.timeout(600)

RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
BUILTIN = "builtin:quickstart"
#: A model of Llama's shape: no shift, no biases, fewer key heads than processes, a head of its own, and 449
#: tokens, so that the parts of the vocabulary are padded.
LLAMA = ModelConfig(
    family="llama",
    vocab_size=449,
    hidden_size=128,
    intermediate_size=160,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=1,
    max_position_embeddings=256,
    rope_theta=10000.0,
    tie_word_embeddings=False,
    shift=False,
    mask_token_id=1,
    eos_token_id=0,
    pad_token_id=0,
)
CASES = {
    "compiled": (BUILTIN, ("rollout.backend.kind=vllm", "rollout.backend.enforce_eager=false")),
    "two processes, llama": ("llama", ("rollout.backend.kind=vllm", "rollout.backend.tensor_parallel_size=2")),
}


class Pair:
    """Both backends on one model, and vLLM's ``processes``."""

    processes: set[int]

    def __init__(self, path: str, options: Sequence[str]) -> None:
        self.path = path
        self.config = self._config(*options)
        self.vllm = build_backend(self.config)
        self.torch = build_backend(self._config())

    def _config(self, *options: str) -> Config:
        return load_config(RECIPE, [f"model.path={self.path}", "model.threads=1", *options])

    def sampler(self, **fields: object) -> Sampler:
        settings = ("completion_length", "denoising_steps")
        base = self.config.rollout.sampler().model_dump()
        return Sampler.model_validate(base | dict(zip(settings, (20, 12), strict=True)) | fields)

    def weights(self, seed: int) -> list[tuple[str, Tensor]]:
        """Weights near those of the model, as a learner that goes on publishes them."""
        generator = torch.Generator().manual_seed(seed)
        model = load_model(self.path)
        return [
            (name, p.detach() + 0.02 * seed * torch.randn(p.shape, generator=generator))
            for name, p in model.named_parameters()
        ]


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    need_vllm()
    path, options = request.param
    if path == "llama":
        path = str(tmp_path_factory.mktemp("models") / "llama")
        model = MaskedDiffusionModel(LLAMA)
        initialize(model, torch.Generator().manual_seed(0), std=0.2)
        save_model(LLAMA, model.named_parameters(), Path(path), model_folder(BUILTIN))
    with started(path, *options) as pair:
        yield pair


@contextmanager
def started(path: str, *options: str) -> Iterator[Pair]:
    """Start both backends, and see that the end of vLLM's leaves nothing behind."""
    processes, files = children(), temporary_files()
    pair = Pair(path, options)
    pair.processes = children() - processes
    assert pair.processes, "vLLM runs in processes of its own"
    yield pair
    pair.vllm.close()
    pair.vllm.close()
    assert not pair.processes & children()
    assert temporary_files() <= files


def temporary_files() -> set[Path]:
    """What vLLM's starts keep in the folder of temporary files, those of others on this machine included."""
    return {file for file in Path(tempfile.gettempdir()).iterdir() if "vllm" in file.name}


def children() -> set[int]:
    """The live processes started from here, apart from the one of multiprocessing that tidies up after them."""
    found = psutil.Process().children(recursive=True)
    alive = [child for child in found if child.status() != psutil.STATUS_ZOMBIE]
    return {child.pid for child in alive if "resource_tracker" not in " ".join(child.cmdline())}


def requests(seed: int = 0) -> list[Request]:
    """Prompts of mixed lengths, more of them than a batch has room for at a time."""
    lengths = (3, 11, 4, 7, 11, 5, 30, 8)
    draw = np.random.default_rng(seed)
    prompts = [tuple(draw.integers(2, 440, length).tolist()) for length in lengths]
    return [Request(prompt, NoiseKey(seed, "train", (i, 0))) for i, prompt in enumerate(prompts)]


def denoise(backend: Backend, batch: Sequence[Request], sampler: Sampler) -> list[Completion]:
    backend.engine.add(batch, sampler)
    found: dict[NoiseKey, Completion] = {}
    while backend.engine.has_unfinished:
        found |= {done.request.key: done.completion for done in backend.engine.step(3)}
    return [found[request.key] for request in batch]


@pytest.mark.parametrize("temperature", [0.0, 1.2])
@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_completions_are_those_of_torch(pair: Pair, decoder: str, temperature: float) -> None:
    sampler = pair.sampler(decoder=decoder, temperature=temperature, top_p=0.95 if temperature else 1.0)
    ours, theirs = (denoise(backend, requests(), sampler) for backend in (pair.vllm, pair.torch))
    for one, other in zip(ours, theirs, strict=True):
        assert one.completion_ids == other.completion_ids
        assert one.step_map == other.step_map
        assert (one.versions, one.forwards, one.end) == (other.versions, other.forwards, other.end)
        np.testing.assert_allclose(one.model_logprobs, other.model_logprobs, atol=1e-4)


def test_estimates_of_a_likelihood_are_those_of_torch(pair: Pair) -> None:
    (request, *_), sampler = requests(5), pair.sampler()
    (done,) = denoise(pair.torch, [request], sampler)
    text = Text.of(request.prompt_ids, done)
    estimator = make_estimator(pair.config.learner.estimator, 1)
    views = estimator.views(SampleKey(0, 0, 0, iteration=0), text)
    np.testing.assert_allclose(pair.vllm.estimate(text, views), pair.torch.estimate(text, views), atol=1e-4)


def test_weights_are_those_of_the_last_update(pair: Pair) -> None:
    old, new = pair.weights(0), pair.weights(1)
    names = [name for name, _ in old]
    assert pair.vllm.differing(old) == []
    assert pair.vllm.differing(new) == names
    sampler = pair.sampler()
    pair.torch.load(new)
    fresh = denoise(pair.torch, requests(2), sampler)
    assert denoise(pair.vllm, requests(2), sampler) != fresh, "stale weights cannot be told from new ones"

    pair.vllm.corrupt()
    assert set(pair.vllm.differing(new)) == set(names)
    pair.vllm.load(iter(new))
    assert pair.vllm.differing(new) == []
    again = denoise(pair.vllm, requests(2), sampler)
    assert [done.completion_ids for done in again] == [done.completion_ids for done in fresh]

    for backend in (pair.torch, pair.vllm):
        backend.load(iter(old))


def test_one_element_of_one_tensor_is_found(pair: Pair) -> None:
    weights = pair.weights(0)
    for place in (0, 3, 5, 7, len(weights) - 1):
        name, tensor = weights[place]
        changed = tensor.clone()
        changed.view(-1)[-1] += 1e-3
        other = [*weights[:place], (name, changed), *weights[place + 1 :]]
        assert pair.vllm.differing(other) == [name]


def test_weights_of_another_model_are_refused_and_the_next_update_heals(pair: Pair) -> None:
    weights = pair.weights(0)
    for wrong in ([], weights[:-1], [(n, t[..., :-1]) for n, t in weights], [*weights, ("extra", torch.zeros(1))]):
        with pytest.raises(RuntimeError, match="weights do not fit the model"):
            pair.vllm.load(iter(wrong))
    with pytest.raises(ZeroDivisionError):
        pair.vllm.load((name, tensor) for name, tensor in weights if 1 // (name != weights[3][0]))
    pair.vllm.load(iter(weights))
    assert pair.vllm.differing(weights) == []


def test_nothing_with_a_name_lies_in_shared_memory(pair: Pair) -> None:
    mapped = [Path(f"/proc/{pid}/maps").read_text() for pid in (*pair.processes, os.getpid())]
    named = {word for line in "".join(mapped).splitlines() for word in line.split() if "/dev/shm/" in word}
    assert [name for name in named if Path(name).exists()] == []


def test_ctrl_c_is_not_for_the_processes(pair: Pair) -> None:
    for process in pair.processes:
        os.kill(process, signal.SIGINT)
    assert len(denoise(pair.vllm, requests(3), pair.sampler())) == len(requests(3))


def test_a_process_that_dies_is_an_error_and_not_a_wait(pair: Pair) -> None:
    """The last test of a case: the backend is of no use after it."""
    psutil.Process(max(pair.processes)).kill()
    began = time.monotonic()
    with pytest.raises(VllmError):
        denoise(pair.vllm, requests(), pair.sampler())
    assert time.monotonic() - began < pair.config.deadlines.step_seconds / 2
    with pytest.raises(VllmError, match="did not answer"):
        pair.vllm.load(iter(pair.weights(0)))


def test_in_bf16_updates_are_exact_and_log_probabilities_near() -> None:
    need_vllm()
    with started(BUILTIN, "rollout.backend=vllm", "model.dtype=bfloat16") as pair:
        old, new = pair.weights(0), pair.weights(1)
        assert pair.vllm.differing(old) == []
        pair.vllm.corrupt()
        pair.vllm.load(iter(new))
        assert pair.vllm.differing(new) == []
        assert pair.vllm.differing(old) == [name for name, _ in old]
        pair.torch.load(new)
        greedy = pair.sampler(temperature=0.0)
        ours, theirs = (denoise(backend, requests(), greedy) for backend in (pair.vllm, pair.torch))
        same = [
            (one, other)
            for one, other in zip(ours, theirs, strict=True)
            if (one.completion_ids, one.step_map) == (other.completion_ids, other.step_map)
        ]
        assert len(same) >= len(ours) / 2
        gaps = [np.abs(np.subtract(one.model_logprobs, other.model_logprobs)).mean() for one, other in same]
        assert 0 < np.mean(gaps) < 0.1


def test_a_folder_of_temporary_files_that_is_too_deep_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_vllm()
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(UserError, match="too long for vLLM's sockets; set TMPDIR to a shorter one"):
        build_backend(load_config(RECIPE, ["rollout.backend=vllm"]))
    assert list(deep.iterdir()) == []


class StopError(Exception):
    """Somebody does not want to wait for the start."""


def stop() -> None:
    raise StopError


@pytest.mark.parametrize(
    ("settings", "check", "error", "message"),
    [
        (
            ("deadlines.start_seconds=0.5",),
            lambda: None,
            VllmError,
            r"not ready within 0.5 s \(deadlines.start_seconds\)",
        ),
        ((), stop, StopError, None),
    ],
)
def test_a_start_that_is_too_long_or_not_wanted_leaves_nothing(
    settings: tuple[str, ...],
    check: Callable[[], None],
    error: type[Exception],
    message: str | None,
) -> None:
    need_vllm()
    processes, files = children(), temporary_files()
    config = load_config(
        RECIPE, ["rollout.backend.kind=vllm", "rollout.backend.tensor_parallel_size=2", *settings]
    )
    with pytest.raises(error, match=message):
        build_backend(config, check)
    assert children() <= processes
    assert temporary_files() <= files
