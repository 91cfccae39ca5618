"""What decides scores: which settings count, and which files a reward function is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import RewardConfig
from reward_service.terms import reward_terms

FILES = {
    "team/__init__.py": "",
    "team/rewards.py": "import json, numpy, common\nfrom . import words\nfrom helpers.length import size\n",
    "team/words.py": "GOOD = 1\n",
    "helpers/length.py": "import broken\nsize = len\n",
    "broken.py": "def (\n",
    "unrelated.py": "raise SystemExit\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def code_of(path: str) -> dict[str, str]:
    return dict(reward_terms(RewardConfig.model_validate({"functions": [{"path": path}]})).code)


def test_the_code_is_the_functions_module_and_what_it_imports_from_beside_it(folder: Path) -> None:
    before = code_of("team.rewards:score")
    modules = ("team", "team.rewards", "team.words", "helpers.length", "broken")
    assert set(before) == {f"code of {name}" for name in modules}
    (folder / "team" / "words.py").write_text("GOOD = 2\n")
    (folder / "unrelated.py").write_text("\n")
    after = code_of("team.rewards:score")
    assert {name for name in before if before[name] != after[name]} == {"code of team.words"}


def test_code_that_is_not_here_and_functions_of_ours_have_no_digest() -> None:
    assert code_of("no_such_module:f") == code_of("not_installed") == code_of("static_check") == {}


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ({"tests": "all_or_nothing"}, {"reward.tests"}),
        ({"shuffle": True}, {"reward.shuffle"}),
        ({"functions": [{"path": "static_check", "weight": 2}]}, {"reward.functions.0.weight"}),
        ({"functions": [{"path": "static_check", "processes": 2, "memory_mb": 9}]}, set()),
        ({"workers": 0, "sandbox_slots": 3, "sandbox_level": "uid", "hacking_probe": 0.5}, set()),
    ],
)
def test_what_changes_no_score_may_differ(changed: dict[str, object], counts: set[str]) -> None:
    function = {"functions": [{"path": "static_check"}]}
    one, other = (reward_terms(RewardConfig.model_validate(function | more)).settings for more in ({}, changed))
    assert {name for name in one if one[name] != other.get(name)} == counts
