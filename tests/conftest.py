from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from common.models.transformer import MaskedDiffusionModel


# Two processes of tests share two cores: threads of one that wait for each other would spin on those of the other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What is imported and collected stays: to look through it for garbage, again and again, takes a fifth of the time.
gc.disable()

TESTS = Path(__file__).parent
#: Files and folders that take minutes: they get the marker ``slow``, and ``make test-fast`` leaves them out.
SLOW = (
    "system",
    "benchmarks/test_bench_backends.py",
    "common/test_broadcast.py",
    "deploy/test_end_to_end.py",
    "deploy/test_images.py",
    "docs/test_docs_commands.py",
    "docs/test_docs_site.py",
    "evaluation/test_causal_models.py",
    "evaluation/test_workers.py",
    "learner/test_engine.py",
    "learner/test_export.py",
    "learner/test_collectives.py",
    "learner/test_memory.py",
    "learner/test_reference.py",
    "learner/stages/test_stage_engine.py",
    "learner/stages/test_stage_rank.py",
    "orchestrator/test_analyze_evaluation_command.py",
    "orchestrator/test_weight_updates.py",
    "packaging/test_wheel.py",
    "reward_service/test_connections.py",
    "reward_service/test_hangs.py",
    "rollout_workers/test_vllm_backend.py",
    "sandbox/test_differential.py",
    "sandbox/test_docker.py",
    "sandbox/test_forgeries.py",
    "sandbox/test_isolation.py",
)
#: What is handed out first: the file that takes longest, and to run beside it those whose tests mostly wait; then
#: what keeps all cores busy. Of the rest, slow files come first, so that no half of the tests ends long before the
#: other.
_FIRST = (
    "system/test_same_weights.py",
    "orchestrator/test_weight_updates.py",
    "sandbox/test_isolation.py",
    "sandbox/test_forgeries.py",
    "common/test_broadcast.py",
    "reward_service",
    "system",
    "deploy",
    "learner",
    "orchestrator",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests, and sort: ``--dist loadfile --no-loadscope-reorder`` hands out files in this order."""
    slow = [TESTS / name for name in SLOW]
    first = [TESTS / name for name in _FIRST]

    @cache  # a file has many tests
    def is_slow(file: Path) -> bool:
        return any(file.is_relative_to(path) for path in slow)

    @cache
    def place(file: Path) -> tuple[int, bool]:
        early = next((n for n, path in enumerate(first) if file.is_relative_to(path)), len(first))
        return early, early == len(first) and not is_slow(file)

    for item in items:
        if is_slow(item.path):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: place(item.path))


def pytest_collection_finish() -> None:
    """Collect garbage again, but not among what was there before the first test."""
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what ``-m "not slow"`` left out."""
    if "not slow" in terminalreporter.config.option.markexpr:
        terminalreporter.write_line(f"left out as slow (make test runs them): {', '.join(SLOW)}", yellow=True)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server for the whole session; tests keep apart by their run ids."""
    from orchestrator.fleet.embedded_redis import EmbeddedRedis

    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def run_id() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def make_model() -> Iterator[Callable[..., MaskedDiffusionModel]]:
    """Builds tiny random models whose logits are far from uniform; arguments override the configuration."""
    import torch

    from common.models.config import ModelConfig
    from common.models.transformer import MaskedDiffusionModel, initialize

    def build(seed: int = 0, std: float = 0.2, **overrides: Any) -> MaskedDiffusionModel:
        fields: dict[str, Any] = {
            "vocab_size": 40,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_theta": 10000.0,
            "mask_token_id": 1,
            "eos_token_id": 0,
            "pad_token_id": 0,
        }
        model = MaskedDiffusionModel(ModelConfig(**fields | overrides))
        generator = torch.Generator().manual_seed(seed)
        initialize(model, generator, std)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:  # unit norms and zero biases would hide mistakes
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        return model.eval().requires_grad_(False)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would only wait for each other
    yield build
    torch.set_num_threads(threads)
