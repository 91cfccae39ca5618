from __future__ import annotations

import sys
from pathlib import Path

import pytest

from common.plugins import Plugin, PluginError, installed_plugins, load_plugin


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path, into which packages can be installed."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(site: Path, package: str, entry_points: str, source: str = "") -> None:
    module = package.replace("-", "_")
    (site / f"{module}.py").write_text(source)
    metadata = site / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[couplet.plugins]\n{entry_points}\n")
    sys.modules.pop(module, None)


def test_an_installed_package_offers_a_part_under_its_name(site: Path) -> None:
    install(site, "steep-losses", "objective.steep = steep_losses:Steep", "class Steep: ...")
    assert Plugin("objective", "steep", "steep_losses:Steep", "steep-losses") in installed_plugins()
    assert load_plugin("objective", "steep").__name__ == "Steep"


def test_a_path_needs_no_entry_point(site: Path) -> None:
    (site / "my_parts.py").write_text("def brevity(task, completion): return 1.0")
    assert load_plugin("reward", "my_parts:brevity")(None, None) == 1.0


def test_an_unknown_name_lists_those_there_are(site: Path) -> None:
    install(site, "steep-losses2", "objective.steep = steep_losses2:Steep")
    with pytest.raises(PluginError, match=r"'stepe' is no objective known here; choose one of grpo, steep, or"):
        load_plugin("objective", "stepe", known=("grpo",))
    with pytest.raises(PluginError, match="'steep' is no estimator"):
        load_plugin("estimator", "steep")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module_here:f", "cannot import 'no_such_module_here' .* add its folder to PYTHONPATH"),
        ("broken_module_here:f", "importing 'broken_module_here' raised ZeroDivisionError"),
        ("json:no_such_name", "'json' has no 'no_such_name'"),
    ],
)
def test_a_part_that_cannot_be_imported_says_why(site: Path, path: str, message: str) -> None:
    (site / "broken_module_here.py").write_text("1 / 0")
    with pytest.raises(PluginError, match=message):
        load_plugin("reward", path)


def test_mistakes_of_packages_are_named(site: Path) -> None:
    install(site, "nameless-kind", "steep = nameless_kind:Steep")
    with pytest.raises(PluginError, match=r"nameless-kind: the entry point 'steep' .* KIND.NAME"):
        installed_plugins()


def test_two_packages_cannot_offer_one_name(site: Path) -> None:
    install(site, "one-decoder", "decoder.mine = one_decoder:choose")
    install(site, "other-decoder", "decoder.mine = other_decoder:choose")
    with pytest.raises(PluginError, match="two packages offer the decoder 'mine'"):
        load_plugin("decoder", "mine")
