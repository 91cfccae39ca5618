"""``couplet bench sandbox`` of two checkouts, a round of each in turns: what a change costs or gains."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.sandbox import SandboxBenchSettings

_ENTRY = "couplet_rl.py"
_COUPLET = "from couplet_rl import main; main()"
_START_S = 300.0  # for the start and the end of a round, on a busy machine


class VersionFailedError(RuntimeError):
    """The benchmark of a checkout did not end well."""


@dataclass(frozen=True)
class Compared:
    """One backend and kind of program in both checkouts: programs/s and share of the bare forks, by round."""

    backend: str
    kind: str
    here: list[tuple[float, float]]
    there: list[tuple[float, float]]

    def ratio(self) -> float:
        """Return the median over the rounds of this version's share of the forks over the other's."""
        pairs = zip(self.here, self.there, strict=True)
        return statistics.median(here[1] / there[1] for here, there in pairs)


def compare(
    there: Path, backends: Sequence[str], settings: SandboxBenchSettings, said: Callable[[str], None]
) -> list[Compared]:
    """Measure the checkout that this module is of, and that ``there``, in turns.

    Kinds that only one of them has are left out. Raises VersionFailedError.
    """
    folders = Path(__file__).resolve().parents[1], there
    if not (there / _ENTRY).is_file():  # then what is installed here would be measured in its place
        raise VersionFailedError(
            f"{there} is no checkout of Couplet: it has no {_ENTRY}; name one, such as a git worktree"
        )
    found: dict[tuple[str, str], tuple[list[tuple[float, float]], list[tuple[float, float]]]] = {}
    for number in range(settings.rounds):
        # Which one is first changes, as what one leaves, such as a warm processor, may help the other.
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            said(f"round {number + 1}: {folders[index]}")
            for case in _round(folders[index], backends, settings):
                sides = found.setdefault((case["backend"], case["kind"]), ([], []))
                sides[index].append((case["programs_per_second"], case["share_of_forks"]))
    return [Compared(*key, *sides) for key, sides in found.items() if all(sides)]


def _round(folder: Path, backends: Sequence[str], settings: SandboxBenchSettings) -> list[dict[str, Any]]:
    options = {"--backend": ",".join(backends), "--slots": settings.slots, "--seconds": settings.seconds}
    given = [text for name, value in options.items() for text in (name, str(value))]
    command = [sys.executable, "-c", _COUPLET, "bench", "sandbox", *given, "--rounds", "1", "--json"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=_START_S + 20 * settings.seconds * len(backends),
        )
    except subprocess.TimeoutExpired as error:
        raise VersionFailedError(
            f"the benchmark of {folder} took over {error.timeout:.0f} s for a round"
        ) from error
    if done.returncode != 0:
        why = "".join(done.stderr.strip().splitlines()[-1:]) or f"exit code {done.returncode}"
        raise VersionFailedError(f"the benchmark of {folder} failed: {why}")
    cases: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])["cases"]
    return cases


def view(cases: Sequence[Compared], settings: SandboxBenchSettings, there: Path) -> Table:
    """Show the medians."""
    table = Table(
        title=f"{settings.slots} slots, {settings.rounds} rounds of each version in turns",
        caption=f"medians of programs/s and of their share of the forks in the same round; there: {there}",
    )
    for name in ("", "program", "here", "of forks", "there", "of forks", "here / there"):
        table.add_column(name, justify="left" if name == "program" else "right")
    for case in cases:
        sides = [
            f"{statistics.median(each[part] for each in side):{form}}"
            for side in (case.here, case.there)
            for part, form in ((0, ",.0f"), (1, ".3f"))
        ]
        table.add_row(case.backend, case.kind, *sides, f"{case.ratio():.2f}")
    return table


def as_json(cases: Sequence[Compared]) -> list[dict[str, Any]]:
    """Return what was measured, by round."""
    return [
        {"backend": case.backend, "kind": case.kind, "here": case.here, "there": case.there, "ratio": case.ratio()}
        for case in cases
    ]
