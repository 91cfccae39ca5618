"""Wrong values are refused before anything is made, with a message that names them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploy.generate.chart_values import ChartValues
from tests.deploy.chart_render import CHART, HELMS, KUBERNETES, refusal, run_helm

#: Setting, and what each Helm's message must have.
_WRONG = [
    ("redsi.enabled=true", ("redsi",)),
    ("ray.rollout.maxReplicas=two", ("maxReplicas", "integer")),
    ("ray.rollout.nodeSelectors.a=b", ("rollout", "nodeSelectors")),
    ("mode=service", ("mode",)),
    ("run.id=Not_A_Name", ("run", "id")),
    ("recipe=../secret.yaml", ("recipe",)),
    ("recipe.rollout.temprature=1", ("temprature",)),
    ("recipe.learner.ranks=none", ("ranks",)),
    ("recipe.rollout.backend.kind=vllm,recipe.rollout.backend.tensor_parallel=2", ("tensor_parallel",)),
    ("overrides={no-section}", ("overrides",)),
    ("rewards.isolation=none", ("isolation",)),
    ("monitoring.operator.interval=15 seconds", ("interval",)),
    ("ray.extraWorkerGroups.rerank.gpus=1", ("gpus",)),
]


_GPU = "ray.rollout.gpusPerPod=1"
_VLLM_OF_4 = (
    "recipe.model.path=m",
    "recipe.data.source=synthetic",
    "recipe.rollout.backend.kind=vllm",
    "recipe.rollout.backend.tensor_parallel_size=4",
)


@pytest.mark.parametrize(("setting", "words"), _WRONG)
def test_the_schema_refuses_what_it_does_not_know(setting: str, words: tuple[str, ...]) -> None:
    for helm in HELMS:
        message = refusal(setting, helm=helm)
        assert "values don't meet the specifications of the schema" in message
        assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("overrides={rollout.workers=3}",), "overrides: rollout.workers is set by the chart"),
        (("redis.enabled=false",), "redis.external.url: redis.enabled is false"),
        (("ray.rollout.minReplicas=4",), "worker group rollout has minReplicas 4 above maxReplicas 2"),
        (("ray.learner.gpusPerPod=3", "ray.learner.ranksPerPod=2"), "3 GPUs cannot be shared out to 2"),
        (
            ("overrides={rollout.backend=vllm,rollout.backend.tensor_parallel_size=2}", _GPU),
            "tensor_parallel_size 2 takes as many GPUs a worker, and each has 1; set it to 2, or to 0",
        ),
        (
            (*_VLLM_OF_4, _GPU, "ray.rollout.workersPerPod=2"),
            "tensor_parallel_size 4 takes as many GPUs a worker, and each has 0.5; set it to 8, or to 0",
        ),
        (("rewards.autoscaling.minReplicas=9",), "rewards.autoscaling: minReplicas is above maxReplicas"),
        (("ray.gcsFaultTolerance.enabled=true",), "ray.gcsFaultTolerance.redisAddress: name the Redis"),
        (("ray.extraWorkerGroups.learner.maxReplicas=2",), "learner is a name of the chart's own"),
    ],
)
def test_values_that_contradict_each_other_are_refused(settings: tuple[str, ...], message: str) -> None:
    assert message in refusal(*settings)


def test_values_that_other_charts_hand_down_are_taken() -> None:
    done = run_helm(
        "helm", "template", "demo", str(CHART), "--kube-version", KUBERNETES, "--set", "global.registry=example"
    )
    assert done.returncode == 0, done.stderr


def test_the_file_of_values_is_what_the_model_says() -> None:
    written = yaml.safe_load((CHART / "values.yaml").read_text())
    assert ChartValues.model_validate(written) == ChartValues()
    assert written == ChartValues().model_dump(mode="json")


def test_every_value_is_read_by_a_template() -> None:
    templates = "".join(path.read_text() for path in _files("templates", "files"))
    values = ChartValues().model_dump(mode="json")
    values["monitoring"]["dashboards"]["labels"] = {}  # of the user's choice
    unread = [name for name in _leaves(values) if f".{name}" not in templates]
    assert not unread


def _files(*folders: str) -> list[Path]:
    return [
        path
        for folder in folders
        for path in (CHART / folder).rglob("*")
        if path.suffix in (".yaml", ".tpl", ".txt")
    ]


def _leaves(node: object) -> set[str]:
    """Last names of all values."""
    if not isinstance(node, dict):
        return set()
    inner = set().union(*(_leaves(value) for value in node.values()))
    return inner | {name for name, value in node.items() if not isinstance(value, dict)}
