"""Folders of runs, as runs write them, with numbers made up from a seed."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import yaml

HOSTILE = "    return x\n    # </script></pre><img src=http://evil.example/x onerror=alert(1)>{{7*7}}\x1b[2J"
FAMILIES = ("greater than", "last element", "sum of squares", "vowels")


def metric(step: int, steps: int) -> dict[str, Any]:
    noise, share = random.Random(step), step / steps
    solved = 0.42 + 0.4 * (1 - math.exp(-3 * share)) + noise.gauss(0, 0.035)
    return {
        "step": step,
        "time": 1.7e9 + 9 * step,
        "reward/mean": 2 * solved + 0.46,
        "reward/std": 0.7 - 0.3 * share + noise.gauss(0, 0.03),
        "reward/solved": solved,
        "reward/tests": 2 * solved,
        "reward/brevity": 0.2 + 0.1 * share,
        **{f"reward/{part}/p{p}": p / 50 + 0.1 * share for part in ("total", "tests") for p in (10, 50, 90)},
        **{f"diffusion/order/{i}": min(1.0, 0.1 * i * (0.5 + share)) for i in range(10)},
        "reward/format": min(0.5, 0.45 + noise.gauss(0, 0.01) + 0.04 * share),
        "reward/pass_rate": solved - 0.06,
        "groups/zero_variance": noise.randint(0, 2 + round(3 * share)) / 8,
        "groups/trained": 8,
        "policy/loss": noise.gauss(0, 0.02),
        "policy/kl": 0.0001 * math.exp(2.5 * share) + abs(noise.gauss(0, 0.0001)),
        "policy/ratio_mean": 1 + noise.gauss(0, 0.004),
        "policy/clip_fraction": abs(noise.gauss(0.01, 0.004)),
        "optim/grad_norm": 0.3 + abs(noise.gauss(0, 0.1)),
        "optim/learning_rate": 1e-4 * (0.55 + 0.45 * math.cos(math.pi * share)),
        "staleness/mean": noise.random(),
        "staleness/max": noise.randint(1, 2),
        "response/length_mean": 24 + noise.gauss(0, 1),
        "diffusion/ar_ness_local": 0.6 + 0.1 * share + noise.gauss(0, 0.01),
        "diffusion/ar_ness_global": 0.7 + 0.05 * share + noise.gauss(0, 0.01),
        "diffusion/ar_ness_local_at_4": 0.4 + 0.1 * share + noise.gauss(0, 0.01),
        "diffusion/ar_ness_global_at_4": 0.8 + 0.05 * share + noise.gauss(0, 0.01),
        "diffusion/executed_ar_ness_local": 0.3 + 0.1 * share + noise.gauss(0, 0.01),
        "diffusion/executed_ar_ness_global": 0.5 + 0.05 * share + noise.gauss(0, 0.01),
        "diffusion/executed_ar_ness_local_at_4": 0.1 + 0.1 * share + noise.gauss(0, 0.01),
        "diffusion/executed_ar_ness_global_at_4": 0.6 + 0.05 * share + noise.gauss(0, 0.01),
        "diffusion/steps": 14 - 2 * share + noise.gauss(0, 0.1),
        "diffusion/tokens_per_forward": 1.6 + 0.2 * share + noise.gauss(0, 0.02),
        "diffusion/surprisal": 0.5 - 0.2 * share + noise.gauss(0, 0.02),
        "diffusion/approximate": 0.0,
        "perf/samples_per_second": 14 + noise.gauss(0, 1),
        "seconds/step": 9.0,
        "seconds/rollout": 4 + noise.gauss(0, 0.3),
        "seconds/reward": 1 + noise.gauss(0, 0.1),
        "seconds/update": 3 + noise.gauss(0, 0.2),
        "seconds/weights": 0.2,
        "seconds/wait": abs(noise.gauss(0.4, 0.2)),
        "restarts": 0,
        "something/new": "text",
    }


def evaluation(step: int, solved: float) -> dict[str, Any]:
    programs, by_family = [], {}
    for number, family in enumerate(FAMILIES):
        passed = [random.Random(f"{number} {i}").random() < solved + 0.05 * number for i in range(50)]
        by_family[family] = [sum(passed), 50]
        for i, ok in enumerate(passed):
            right = "sum(x * x for x in xs if x > 3)"
            programs.append(
                {
                    "task_id": f"synthetic-{number}{i:03d}",
                    "family": family,
                    "prompt": "# Return the sum of the squares of the elements above 3.\ndef f(xs):\n",
                    "completion": f"    return {right if ok else 'sum(x for x in xs)'}\n",
                    "passed": ok,
                }
            )
    total = sum(passed for passed, _ in by_family.values())
    return {
        "step": step,
        "pass_rate": total / 200,
        "tasks": 200,
        "by_family": by_family,
        "programs": programs,
    }


def lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def make_run(folder: Path, steps: int = 40, name: str = "quickstart", gain: float = 0.28, **rollout: Any) -> Path:
    """The folder of a finished run whose reward rises; ``rollout`` is that section of its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "run": {"name": name, "steps": steps, "folder": str(folder)},
        "rollout": rollout,
        "streams": {"url": "redis://:hunter2@redis:6379/0"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    run = {
        "run_id": f"{name}-1",
        "name": name,
        "started": "2023-11-14T22:13:10+00:00",
        "versions": {"torch": "2.13"},
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metrics.jsonl").write_text(lines([metric(step, steps) for step in range(1, steps + 1)]))
    scores = ((0, 0.4), (steps // 2, 0.4 + gain / 2), (steps, 0.4 + gain))
    (folder / "evaluations.jsonl").write_text(lines([evaluation(step, solved) for step, solved in scores]))
    samples = [
        {
            "step": step,
            "task_id": f"synthetic-{step}",
            "family": "vowels",
            "prompt": "# Return x.\ndef f(x):\n",
            "completion": HOSTILE if step % 2 else "    return sorted(x)[-1]  # the 'largest'\n",
            "reward": 1.5,
            "components": {"tests": 1.0, "format": 0.5},
            "verdicts": ["passed", "failed", "timeout", "infra"],
        }
        for step in range(1, steps + 1)
        for _ in range(2)
    ]
    (folder / "samples.jsonl").write_text(lines(samples))
    seconds = {"total": 412.0, "start": 12.0, "evaluate": 40.0, "train": 360.0}
    summary = {"status": "finished", "updates": steps, "seconds": seconds, "samples": 2560}
    (folder / "summary.json").write_text(json.dumps({**summary, "samples_per_second": 14.2}))
    return folder


def stage_metric(step: int, steps: int, mfu: bool) -> dict[str, Any]:
    noise, share = random.Random(step), step / steps
    loss = 6 - 3 * share + noise.gauss(0, 0.1)
    return {
        "step": step,
        "time": 1.7e9 + 9 * step,
        "denoising/loss": loss,
        **{f"denoising/loss_at_t/{tenth}": loss * (0.4 + 0.06 * tenth) for tenth in range(10)},
        **{f"denoising/loss_at_position/{eighth}": loss * (1 - 0.03 * eighth) for eighth in range(8)},
        "denoising/masked_share": 0.5 + noise.gauss(0, 0.02),
        "denoising/visible_share": min(1.0, 2 * share),
        "optim/grad_norm": 1 + abs(noise.gauss(0, 0.2)),
        "optim/learning_rate": 1e-4 * (1 - share),
        "data/tokens": 4096 * step,
        "data/epochs": 0.03 * step,
        "data/targets": 2048 + noise.randint(-99, 99),
        "perf/tokens_per_second": 455 + noise.gauss(0, 9),
        **({"perf/mfu": 0.4 + noise.gauss(0, 0.01)} if mfu else {}),
        "seconds/step": 9 + noise.gauss(0, 0.2),
        "seconds/forward_backward": 7 + noise.gauss(0, 0.2),
        "seconds/optimizer": 1.5,
        "seconds/checkpoint": 0.4 * (step % 10 == 0),
        "restarts": 0,
    }


def held_out_losses(step: int, loss: float) -> dict[str, Any]:
    at = {ratio: loss * (0.6 + 0.8 * ratio) for ratio in (0.15, 0.5, 0.85)}
    return {
        "step": step,
        "held_out/loss": sum(at.values()) / 3,
        **{f"held_out/loss_at_t/{ratio:g}": value for ratio, value in at.items()},
    }


def make_stage_run(
    folder: Path, steps: int = 40, name: str = "smollm2-adapt", final: float = 3.0, mfu: bool = True
) -> Path:
    """The folder of a finished adaptation whose held-out loss falls from 6 to ``final`` or so."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"stage": "adapt", "run": {"name": name, "steps": steps, "folder": str(folder)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    run = {"run_id": f"{name}-1", "name": name, "started": "2023-11-14T22:13:10+00:00"}
    (folder / "run.json").write_text(json.dumps(run))
    records = [stage_metric(step, steps, mfu) for step in range(1, steps + 1)]
    (folder / "metrics.jsonl").write_text(lines(records))
    losses = ((0, 6.0), (steps // 2, (6.0 + final) / 2), (steps, final))
    (folder / "evaluations.jsonl").write_text(lines([held_out_losses(*each) for each in losses]))
    source = {"path": "builtin:stdlib<script>", "documents": 1671, "tokens": 9_412_345, "held_out_documents": 84}
    corpus = {"fingerprint": "a1b2", **{k: v for k, v in source.items() if k != "path"}}
    (folder / "corpus.json").write_text(json.dumps({**corpus, "sources": [{**source, "dropped": 3}]}))
    summary = {"status": "finished", "updates": steps, "tokens": 4096 * steps, "epochs": 0.03 * steps}
    seconds = {"total": 412.0, "train": 360.0}
    more = {"tokens_per_second": 455.1, "seconds": seconds, "model": str(folder / "model")}
    (folder / "summary.json").write_text(json.dumps({**summary, **more}))
    return folder
