"""A run of other data than the quick start's, from rollouts to weights."""

from __future__ import annotations

import json

from tests.system.conftest import REPOSITORY
from tests.system.in_process import make_run


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
