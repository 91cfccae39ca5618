"""What a run that was struck by faults has to show at its end: nothing lost, nothing done twice."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from common.config import Config
from common.streams import DEAD_LETTERS, Streams, connect
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from orchestrator.run_folder import read_records

_OUTCOMES = ("trained", "filtered", "dropped")


def audit(folder: Path, config: Config) -> list[str]:
    """Check the records of a run that has finished; return what is wrong with them, nothing where all is well."""
    metrics = read_records(folder, "metrics")
    steps, groups = config.run.total_steps, config.learner.groups_per_step
    if [line["step"] for line in metrics] != list(range(1, steps + 1)):
        return [f"metrics.jsonl: not the steps 1 to {steps}, each once, in order"]
    wrong = [
        f"step {line['step']}: the ledger does not balance: {_ledger(line)}"
        for line in metrics
        if line["ledger/admitted"] != sum(line[f"ledger/{name}"] for name in (*_OUTCOMES, "in_flight"))
    ]
    last = {name: int(metrics[-1][f"ledger/{name}"]) for name in ("admitted", *_OUTCOMES, "in_flight")}
    if last["trained"] != steps * groups or last["in_flight"]:
        wrong.append(f"at the end not {steps * groups} groups trained and none in flight: {_ledger(metrics[-1])}")
    if last["dropped"] and config.admission.max_staleness == 0:
        wrong.append(f"{last['dropped']} groups were lost")
    return wrong + _check_groups(folder, steps, groups, last)


def _check_groups(folder: Path, steps: int, groups: int, last: dict[str, int]) -> list[str]:
    """Check which groups each step has trained, by their numbers."""
    trained = {line["step"]: line["trained"] for line in read_records(folder, "groups")}
    wrong = [
        f"step {step}: {len(found)} groups trained" for step, found in trained.items() if len(found) != groups
    ]
    if sorted(trained) != list(range(1, steps + 1)):
        wrong.append(f"groups.jsonl: not the steps 1 to {steps}")
    counts = Counter(index for found in trained.values() for index in found)
    twice = sorted(index for index, count in counts.items() if count > 1)
    if twice:
        wrong.append(f"groups trained twice: {', '.join(map(str, twice))}")
    missing = set(range(last["admitted"])) - counts.keys()
    if len(missing) != last["filtered"] + last["dropped"]:
        wrong.append(f"{len(missing)} groups were not trained, but the ledger has other counts of them: {last}")
    return wrong


def dead_letters(config: Config) -> list[str]:
    """Return the beginning of each dead letter of a run that has ended; its own Redis is started for that."""
    run_id = json.loads((config.folder / "run.json").read_text())["run_id"]
    with ExitStack() as stack:
        url = config.streams.address
        if url == "embedded":
            url = stack.enter_context(EmbeddedRedis(config.folder / "redis")).url
        client = stack.enter_context(connect(url))
        return [repr(letter[:80]) for letter in Streams(client, run_id, config.streams).messages(DEAD_LETTERS)]


def _ledger(line: dict[str, float]) -> str:
    return ", ".join(f"{name} {line[f'ledger/{name}']:.0f}" for name in ("admitted", *_OUTCOMES, "in_flight"))
