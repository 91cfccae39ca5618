from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.best_model import BestModel


class Crash(BaseException):
    """A process that ends here."""


def exporter(text: str) -> Callable[[Path], None]:
    def export(folder: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_text(text)

    return export


def unwanted(folder: Path) -> None:
    raise AssertionError("what is not better is not exported")


def crash(*_: object, **__: object) -> None:
    raise Crash


def kept(folder: Path) -> tuple[str, object]:
    return (folder / "weights").read_text(), json.loads((folder / "best.json").read_text())


@pytest.mark.parametrize(("higher", "values"), [(True, (0.2, 0.5, 0.4, 0.6)), (False, (2.0, 1.5, 1.6, 1.0))])
def test_only_what_is_better_is_kept_also_by_a_resumed_run(
    tmp_path: Path, higher: bool, values: tuple[float, ...]
) -> None:
    folder = tmp_path / "best"
    first, better, worse, best = values
    assert BestModel(folder, higher).offer(0, first, exporter("first"))
    assert BestModel(folder, higher).offer(5, better, exporter("better"))
    for value in (worse, better, float("nan")):
        assert not BestModel(folder, higher).offer(10, value, unwanted)
    assert kept(folder) == ("better", {"step": 5, "value": better})
    assert BestModel(folder, higher).offer(15, best, exporter("best"))
    assert kept(folder) == ("best", {"step": 15, "value": best})
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_nan_is_not_the_best_of_nothing(tmp_path: Path) -> None:
    assert not BestModel(tmp_path / "best", True).offer(0, float("nan"), unwanted)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("renames", [0, 1, None])
def test_a_kill_leaves_the_best_before_or_the_new_one_and_the_next_offer_tidies_up(
    tmp_path: Path, renames: int | None
) -> None:
    """Killed in the export (None), or at the rename of that number."""
    folder = tmp_path / "best"
    BestModel(folder, True).offer(0, 0.2, exporter("first"))
    done = 0
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            raise Crash
        done += 1
        return rename(path, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(Crash):
            BestModel(folder, True).offer(5, 0.5, crash if renames is None else exporter("second"))
    assert not BestModel(folder, True).offer(6, 0.1, unwanted)
    assert kept(folder) == ("first", {"step": 0, "value": 0.2})
    assert BestModel(folder, True).offer(7, 0.4, exporter("third"))
    assert kept(folder) == ("third", {"step": 7, "value": 0.4})
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
