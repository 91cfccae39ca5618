"""The comparison is a fair one: both sides give the same estimates and gradient. No assertion is about time."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence

import pytest
import torch
from click.testing import CliRunner, Result
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.update import Settings, gradient_difference, random_model
from benchmarks.update_sides import Learner, Naive, random_group, some_anchors
from common.flops import forward_flops
from orchestrator.commands.main import main

TINY = {
    "--prompt": "7",
    "--completion": "9",
    "--group": "5",
    "--micro-batch": "2",
    "--layers": "1",
    "--repeats": "1",
}
TELLS_PEAKS = os.access("/proc/self/clear_refs", os.W_OK)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", "update", "--device", "cpu", "--threads", "1", *arguments])


def tiny(**changed: str) -> list[str]:
    options = TINY | {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    return [word for option in options.items() for word in option]


@pytest.mark.parametrize(
    ("group", "micro_batch", "batch_tokens", "sizes"),
    [(5, 2, 5 * 16, [2, 2, 1]), (2, 5, 1000, [2]), (1, 1, 1, [1])],
)
def test_both_sides_give_one_gradient(group: int, micro_batch: int, batch_tokens: int, sizes: list[int]) -> None:
    settings = Settings(7, 9, group, micro_batch, 1, "float32")
    model, samples = random_model(300, settings), random_group(300, group, 7, 9)
    learner = Learner(model, samples, batch_tokens, torch.float32)
    naive = Naive(model, samples, micro_batch, torch.float32)
    assert [len(batch) for batch in learner.batches] == sizes
    estimates = learner.score()
    assert estimates.shape == (group, 9)
    torch.testing.assert_close(naive.score(), estimates)
    anchors = some_anchors(estimates)
    learner.train(anchors)
    naive.train(anchors)
    assert gradient_difference(model, naive.stock) < 1e-5
    # Ratios, clip and KL matter to it.
    naive.stock.zero_grad()
    naive.train((estimates, estimates))
    assert gradient_difference(model, naive.stock) > 1e-2


@pytest.mark.parametrize(("dtype", "within"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_a_run_ends_with_one_line_of_json(dtype: str, within: float) -> None:
    result = bench("--vocab", "300,400", "--dtype", dtype, "--json", *tiny())
    assert result.exit_code == 0, result.output
    assert "naive" in result.stdout
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["bench"] == "update"
    assert found["machine"]["threads"] == 1
    settings = found["settings"]
    assert (settings["dtype"], settings["group"], settings["micro_batch"], settings["views"]) == (dtype, 5, 2, 3)
    assert [case["vocabulary"] for case in found["cases"]] == [300, 400]
    for case in found["cases"]:
        assert 0 < case["gradient_difference"] < within
        assert [part["part"] for part in case["parts"]] == ["train", "score"]
        for part in case["parts"]:
            sides = part["naive"], part["learner"]
            peaks = [side["peak_bytes"] for side in sides]
            assert all(peak >= 0 for peak in peaks) if TELLS_PEAKS else peaks == [None, None]
            assert (part["memory_ratio"] is None) == (not TELLS_PEAKS or peaks[1] == 0)
            for number in (*(side["seconds"] for side in sides), part["ratio"]):
                assert math.isfinite(number)
                assert number > 0
            assert part["ratio_min"] <= part["ratio"] <= part["ratio_max"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"vocab": "3"}, "--vocab"),
        ({"vocab": "300,"}, "--vocab"),
        ({"dtype": "float16"}, "--dtype"),
        ({"prompt": "0"}, "--prompt"),
        ({"completion": "0"}, "--completion"),
        ({"group": "0"}, "--group"),
        ({"micro_batch": "0"}, "--micro-batch"),
        ({"batch_tokens": "0"}, "--batch-tokens"),
        ({"checkpointing": "learner"}, "--checkpointing"),
        ({"repeats": "0"}, "--repeats"),
        ({"threads": "0"}, "--threads"),
        ({"device": "tpu"}, "--device"),
    ],
)
def test_a_bad_value_is_named(changed: dict[str, str], told: str) -> None:
    result = bench(*tiny(**changed))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("Error: ") == 1
    assert told in result.stderr.splitlines()[-1]


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="the system does not tell its memory")
def test_a_naive_side_beyond_memory_is_refused() -> None:
    result = bench(*tiny(vocab="300,152064", completion="100000", group="100", micro_batch="90"))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("Error: ") == 1
    assert "smaller --micro-batch" in " ".join(result.stderr.split())
    assert "152,064" in result.stderr


@pytest.mark.parametrize("checkpointing", [False, True])
def test_operations_are_those_that_pytorch_counts_on_the_naive_side(checkpointing: bool) -> None:
    settings = Settings(7, 9, 3, 2, 1, "float32")
    model, samples = random_model(300, settings), random_group(300, 3, 7, 9)
    naive = Naive(model, samples, 2, torch.float32)
    if checkpointing:
        naive.stock.gradient_checkpointing_enable()
        naive.stock.train()
    estimates = naive.score()
    with FlopCounterMode(display=False) as score, sdpa_kernel(SDPBackend.MATH):
        naive.score()
    with FlopCounterMode(display=False) as train, sdpa_kernel(SDPBackend.MATH):
        naive.train((estimates, estimates))
    assert naive.operations().score == pytest.approx(score.get_total_flops(), rel=0.01)
    assert naive.operations().train == pytest.approx(train.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("layers", [1, 3])
def test_operations_are_those_that_pytorch_counts_on_the_learners_side(layers: int) -> None:
    settings = Settings(7, 9, 5, 2, 1, "float32", layers)
    model, samples = random_model(300, settings), random_group(300, 5, 7, 9)
    learner = Learner(model, samples, 1000, torch.float32)
    anchors = some_anchors(learner.score())

    def product(total: Sequence[int], one: Sequence[int], other: Sequence[int], **_: object) -> int:
        return 2 * one[0] * one[1] * other[1]

    in_place = {torch.ops.aten.addmm_: product}
    with FlopCounterMode(display=False) as score, sdpa_kernel(SDPBackend.MATH):
        learner.score()
    with FlopCounterMode(display=False, custom_mapping=in_place) as train, sdpa_kernel(SDPBackend.MATH):
        learner.train(anchors)
    assert learner.operations().score == pytest.approx(score.get_total_flops(), rel=0.01)
    assert learner.operations().train == pytest.approx(train.get_total_flops(), rel=0.01)


def test_the_learner_has_fewer_operations_by_what_its_samples_share() -> None:
    settings = Settings(7, 9, 5, 2, 1, "float32", 2)
    model, samples = random_model(300, settings), random_group(300, 5, 7, 9)
    learner = Learner(model, samples, 1000, torch.float32)
    found = learner.operations()
    rows = 9 + 5 * 9  # the masked completion once, and each token of each sample once
    words = {token for sample in samples for token in (*sample.prompt_ids, *sample.completion_ids)}
    # Of two views of a sample, one asks for what the other does not; all have one length, so who asks is all one.
    asked = [9, *[9, 0] * 5]
    assert found.score == forward_flops(model.config, [16] * 11, rows, different=len(words) + 1, asked=asked)
    assert found.train == 3 * found.score


def test_a_wider_model_has_more_heads_of_the_same_width() -> None:
    narrow, wide = (random_model(300, Settings(7, 9, 1, 1, 1, "float32", hidden=h)).config for h in (None, 512))
    assert wide.hidden_size == 512
    assert wide.head_dim == narrow.head_dim
    ratios = [
        (wide.num_attention_heads, narrow.num_attention_heads),
        (wide.intermediate_size, narrow.intermediate_size),
    ]
    assert all(more * narrow.hidden_size == fewer * wide.hidden_size for more, fewer in ratios)
    refused = bench(*tiny(vocab="300", hidden="100"))
    assert refused.exit_code == 2
    assert "--hidden" in refused.output
    assert "multiple of" in refused.output
