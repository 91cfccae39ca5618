"""Runs of other algorithms, samplers and data than the quick start's, from rollouts to weights."""

from __future__ import annotations

import json

import pytest

from tests.system.conftest import REPOSITORY
from tests.system.in_process import make_run


def test_adapters_learn_by_a_preset_from_stale_rollouts_and_recorded_steps(start_run):
    """Adapters are published whole to a decoder of blocks, with an approximate cache that the metrics admit to."""
    run = start_run(
        "run.steps=4",
        "admission.max_staleness=1",
        "admission.max_in_flight=6",
        "rollout.update_between=steps",
        "rollout.decoder=low_confidence",
        "rollout.block_length=14",
        "rollout.denoising_steps=14",
        "rollout.approximate_cache=dual",
        "learner.preset=tracerl",
        "learner.estimator.merged_steps=2",
        "learner.off_policy_cap=2.0",
        "learner.lora={rank: 4}",
        "learner.gradient_checkpointing=true",
        "learner.optimizer.learning_rate=0.003",
    )
    assert run.finish()["updates"] == 4
    metrics = run.metrics()
    assert max(line["staleness/max"] for line in metrics) == 1
    for line in metrics:
        assert line["diffusion/approximate"] == 1
        assert 1 <= line["diffusion/steps"] <= 14
        assert line["diffusion/tokens_per_forward"] >= 1
        # Later minibatches of a step are compared with the weights at its start, which need no reference.
        assert line["policy/kl"] > 0
        assert 0.5 < line["policy/ratio_mean"] < 2.0
        assert line["optim/grad_norm"] > 0
        ended = line["ledger/trained"] + line["ledger/filtered"] + line["ledger/dropped"]
        assert line["ledger/admitted"] == ended + line["ledger/in_flight"]
        # Fresh rollouts weigh exactly what they are; stale ones differ a little, and less than the cap.
        if line["staleness/max"] == 0:
            assert line["policy/importance_mean"] == pytest.approx(1.0, abs=1e-4)
        assert 0.5 < line["policy/importance_mean"] < 2.0
    stale = [line["policy/importance_mean"] for line in metrics if line["staleness/max"] > 0]
    assert any(abs(weight - 1.0) > 1e-6 for weight in stale)
    run.assert_nothing_left()


def test_mbpp_and_humaneval_in_a_chat_go_through_the_same_path(tmp_path):
    """Answers begin with a program that solves two of the held-out tasks, one of each benchmark."""
    mbpp = [
        {
            "task_id": number,
            "text": f"Write a function to add {number} to a number.",
            "test_list": [f"assert add({i}) == {i + number}" for i in range(3)],
        }
        for number in range(12)
    ]
    humaneval = [
        {
            "task_id": f"HumanEval/{number}",
            "prompt": f'def add(x):\n    """Add {number}."""\n',
            "entry_point": "add",
            "canonical_solution": f"    return x + {number}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {number + 1}\n",
        }
        for number in range(12)
    ]
    train, held_out, template = tmp_path / "train.jsonl", tmp_path / "held_out.jsonl", tmp_path / "chat.jinja"
    train.write_text("".join(json.dumps(record) + "\n" for record in [*mbpp[:4], *humaneval[:4]]))
    held_out.write_text("".join(json.dumps(record) + "\n" for record in [*mbpp[8:], *humaneval[8:]]))
    template.write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    answer = "```python\ndef add(x):\n    return x + 8\n```\n"
    overrides = (
        f"data.train={train}",
        f"data.held_out={held_out}",
        "data.chat_template=true",
        "data.system_prompt=null",
        f"data.chat_template_file={template}",
        f"data.answer_prefix={json.dumps(answer)}",
        "run.steps=1",
        "learner.groups_per_step=2",
        "admission.max_in_flight=2",
        "rollout.denoising_steps=8",
        "model.threads=1",
    )
    make_run(REPOSITORY / "recipes/mbpp_cpu.yaml", overrides, tmp_path)
    evaluations, metrics = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("evaluations", "metrics")
    )
    assert [one["pass_rate"] for one in evaluations] == [2 / 8, 2 / 8]
    assert [line["reward/excluded"] for line in metrics] == [0]
