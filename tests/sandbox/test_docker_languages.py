"""An image without Node: its tasks in JavaScript are known before a run, not when their programs run."""

from __future__ import annotations

import os
import tempfile

import docker
import pytest

from common.config import RewardConfig
from common.records import Task
from reward_service.scorable import why_unscorable
from sandbox.docker import interpreter_image

PATH = f"ENV PATH={os.path.dirname(interpreter_image.interpreter())}"
PYTHON = Task.model_validate({"id": "a", "prompt": "", "tests": [{"call": "f()", "expected": "1"}]})
JAVASCRIPT = Task.model_validate(
    {"id": "b", "prompt": "", "language": "javascript", "tests": [{"kind": "stdin", "expected": "1"}]}
)


def test_an_image_without_node_cannot_score_javascript(docker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = docker.DockerClient(base_url=docker_url, version="auto")
    with tempfile.TemporaryFile() as archive:
        interpreter_image.write(archive)
        archive.seek(0)
        client.api.import_image_from_data(archive, repository="nodeless", tag="1", changes=[PATH])
    client.close()
    monkeypatch.setenv("DOCKER_HOST", docker_url)
    scoring = RewardConfig(backend="docker", docker_image="nodeless:1")
    why = why_unscorable(JAVASCRIPT, scoring)
    assert why.startswith("is in JavaScript, and the image nodeless:1 has no Node.js")
    assert why_unscorable(PYTHON, scoring) == ""
