"""What people read of a failure: one line, and where the rest is."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from common.config import ConfigError
from orchestrator.fleet.failure_log import failure_log, why

NOISE = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
    "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) ..."
)


def died(text: str) -> ActorDiedError:
    context = ActorDiedErrorContext(actor_id=bytes(16), class_name="RewardWorker", pid=7, error_message=text)
    return ActorDiedError(context)


def raised(cause: Exception) -> RayTaskError:
    name = f"{type(cause).__module__}.{type(cause).__qualname__}"
    trace = f"\x1b[36mray::RewardWorker.run()\x1b[39m (pid=7)\n  File 'a.py', line 1\n{name}: {cause}"
    return RayTaskError("ray::RewardWorker.run()", trace, cause)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (died(NOISE), "its process was killed or crashed"),
        (died("Worker exit type: NODE_OUT_OF_MEMORY ..."), "Ray ended it, as the memory of its node ran out"),
        (raised(ValueError("first line\nsecond line")), "ValueError: first line"),
        (raised(ConfigError("reward.functions.0.path: mend it")), "reward.functions.0.path: mend it"),
        (ActorDiedError(raised(ConfigError("mend it"))), "ConfigError: mend it"),
    ],
    ids=["killed", "memory", "raised", "user", "creation"],
)
def test_a_failure_is_one_line_and_the_rest_is_in_a_file(tmp_path: Path, error: RayError, line: str) -> None:
    with failure_log(tmp_path):
        assert why(error) == f"{line}; more in failures.log"
    kept = (tmp_path / "failures.log").read_text()
    assert str(error).splitlines()[-1].strip() in kept
    assert "\x1b" not in kept


def test_without_failures_there_is_no_file_and_without_a_folder_none_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with failure_log(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
    assert why(died(NOISE)).startswith("its process was killed or crashed")
    assert capfd.readouterr() == ("", "")
