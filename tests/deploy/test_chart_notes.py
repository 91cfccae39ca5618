"""The notes of a release, as `helm install` prints them, and what its pods ask for on a laptop."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.chart_render import CHART, pod_templates, render, run_helm, values_arguments

_KIND = "ci/kind-values.yaml"
_UNITS = {"m": 1e-3, "Mi": 2.0**20, "Gi": 2.0**30}


def notes(case: str) -> str:
    done = run_helm("helm", "install", "demo", str(CHART), "--dry-run=client", *values_arguments(case))
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def asked(resource: str) -> float:
    """Of all pods that stay, in CPUs or bytes."""
    documents = render("helm", _KIND)
    pods = {name: pod for name, pod in pod_templates(documents).items() if not name.endswith("test-score")}
    texts = [c["resources"]["requests"][resource] for pod in pods.values() for c in pod["spec"]["containers"]]
    return sum(_amount(str(text)) for text in texts)


def _amount(text: str) -> float:
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * _UNITS[unit] if unit else float(text)


def test_defaults_that_are_too_big_for_a_laptop_are_said_to_be() -> None:
    assert "One pod of each kind takes 16 CPUs together" in notes("")
    assert Path(_KIND).name in notes("")
    assert "CPUs together" not in notes(_KIND)


def test_the_values_for_a_laptop_are_as_small_as_they_say() -> None:
    assert asked("cpu") <= 1.7 + 1e-9
    assert asked("memory") <= 5.5 * 2**30
