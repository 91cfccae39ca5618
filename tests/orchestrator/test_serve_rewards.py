"""``couplet serve-rewards``: what it refuses, what it prints, and its stream worker. The API has its own tests."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from common.config import RewardConfig, StreamsConfig
from common.records import PromptGroup, Rollout, RolloutGroup, Sampler, Task, TestCase, TrajectoryGroup
from common.streams import DEAD_LETTERS, ROLLOUTS, TRAJECTORIES, Patience, StatedTerms, Streams, connect
from orchestrator.commands.main import main
from orchestrator.commands.reward_settings import reward_settings
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from reward_service.terms import reward_terms
from tests.service_process import service


def refused(*arguments: str, **environment: str) -> Result:
    command = ["serve-rewards", *arguments]
    result = CliRunner().invoke(main, command, env={"COUPLET_REWARD_TOKEN": None, **environment})
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "needs a token; set $COUPLET_REWARD_TOKEN"),
        (["--host", "::"], "needs a token"),
        (["--host", "example.org"], "needs a token"),
        (["--token-file", "/no/such/file"], "--token-file /no/such/file: cannot be read"),
        (["--run-id", "r"], "--streams-url and --run-id"),
        (["--streams-url", "redis://127.0.0.1:1/0"], "--streams-url and --run-id"),
        (["--streams-url", "redis://127.0.0.1:1/0", "--run-id", "r"], "no Redis answers"),
        (["--streams-url", "env:NOT_SET", "--run-id", "r"], "--streams-url env:NOT_SET: the environment variable"),
        (["nothing.yaml"], "nothing.yaml: no such file, and no recipe of ours; those are diffucoder_10x8h100, "),
        (["run.steps=3"], "without a recipe, write reward.field=value"),
        (["reward.cpu_second=3"], "reward.cpu_second: unknown field; known are: preset, workers"),
        (["reward.cpu_seconds=fast"], "reward.cpu_seconds: Input should be a valid number"),
        (["reward.docker_image=x"], "docker_image: belongs to the docker backend"),
        (["quickstart.yaml", "reward.cpu_seconds=-1"], "reward.cpu_seconds"),
        (["reward.functions=[{path: 'no_such_module:f'}]", "reward.sandbox_level=uid"], "cannot import"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: list[str], told: str) -> None:
    result = refused("--port", "0", *arguments)
    assert result.stderr.startswith("error: ")
    assert told in result.stderr


def test_a_token_is_one_word(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for text in ("", "two words", "tokén"):
        file.write_text(text)
        assert "a token is one word" in refused("--token-file", str(file)).stderr
    assert "$COUPLET_REWARD_TOKEN: a token is one word" in refused(COUPLET_REWARD_TOKEN=" ").stderr


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert f"--host 127.0.0.1 --port {port}: cannot listen there" in refused("--port", port).stderr


def test_settings_are_the_recipes_or_the_defaults() -> None:
    assert reward_settings(["quickstart.yaml", "streams.deliveries=9"]).streams.deliveries == 9
    assert reward_settings(["quickstart.yaml"]).reward.tests == "all_or_nothing"
    assert reward_settings([]).reward.tests == "pass_rate"
    assert reward_settings(["reward.cpu_seconds=1e-1"]).reward.cpu_seconds == 0.1


def test_other_machines_may_reach_it_with_a_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret\n")
    with service("--host", "0.0.0.0", "--token-file", str(file)) as running:
        assert any(line.startswith("sandbox: jail, level ") for line in running.printed)
        assert "0.0.0.0" in running.url
        assert running.printed[-1].strip().endswith("(with the token)")
        assert "secret" not in "".join(running.printed)
        assert running.client.get("/openapi.json").status_code == 401
        answer = running.client.get("/openapi.json", headers={"Authorization": "Bearer secret"})
        assert answer.status_code == 200


SLEEPS = Task(
    id="sleeps",
    prompt="x",
    prefix="import time\ndef f():\n    time.sleep(0.2)\n",
    tests=(TestCase(call="f()", expected="1"),),
)


def rollouts(index: int, count: int) -> bytes:
    prompt = PromptGroup(
        run_id="r",
        index=index,
        seed=0,
        task=SLEEPS,
        group_size=count,
        min_version=0,
        sampler=Sampler(temperature=1.0, top_p=1.0, denoising_steps=1, completion_length=1),
    )
    samples = tuple(
        Rollout(
            sample=sample,
            completion_ids=(5,),
            text=f"    {index}, {sample}\n    return 1\n",
            end=1,
            step_map=(0,),
            logprobs=(0.0,),
            model_logprobs=(0.0,),
            forwards=1,
            versions=(0, 0),
        )
        for sample in range(count)
    )
    group = RolloutGroup(
        prompt=prompt, prompt_ids=(1,), tokenizer_hash="h", version=0, worker="w", seconds=0.0, rollouts=samples
    )
    return group.encode()


@pytest.fixture
def streams(redis_url: str, run_id: str) -> Iterator[Streams]:
    with connect(redis_url) as client:
        made = Streams(client, run_id, StreamsConfig())
        made.create()
        state_terms(made)
        yield made


def state_terms(streams: Streams, **settings: float) -> None:
    """State the terms of a run with these reward settings."""
    StatedTerms(streams, reward_terms(RewardConfig.model_validate(settings)), print, 60.0).state()


def scored(streams: Streams) -> dict[int, list[float]]:
    groups = [TrajectoryGroup.decode(message) for message in streams.messages(TRAJECTORIES)]
    return {group.prompt.index: [score.reward for score in group.scores] for group in groups}


def test_the_stream_worker_finishes_its_group_before_it_ends(
    streams: Streams, redis_url: str, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams.publish(ROLLOUTS, [rollouts(0, 1), rollouts(1, 12), rollouts(2, 12)], deadline=1)
    monkeypatch.setenv("COUPLET_TEST_REDIS", redis_url)
    with service("--streams-url", "env:COUPLET_TEST_REDIS", "--run-id", run_id) as running:
        assert any(line.startswith(f"streams: rollouts of run {run_id} on redis://") for line in running.printed)
        running.wait_until(lambda: 0 in scored(streams))
        running.terminate()
        assert running.exit_code() == 0
    found = scored(streams)
    assert found.pop(0) == [2.5]
    assert all(rewards == [2.5] * 12 for rewards in found.values())
    assert streams.depth(ROLLOUTS) == 2 - len(found)
    assert streams.depth(DEAD_LETTERS) == 0


def test_a_group_that_outlives_the_drain_is_left_to_another_worker(
    streams: Streams, redis_url: str, run_id: str
) -> None:
    streams.publish(ROLLOUTS, [rollouts(0, 1), rollouts(1, 6)], deadline=1)
    arguments = ("--streams-url", redis_url, "--run-id", run_id)
    with service(*arguments, "--drain-seconds", "0") as running:
        running.wait_until(lambda: 0 in scored(streams))
        running.wait_until(lambda: running.metric("couplet_scoring_executions_total") > 1)
        slots = psutil.Process(running.process.pid).children(recursive=True)
        running.terminate()
        assert running.exit_code() == 0
        assert psutil.wait_procs(slots, timeout=30)[1] == []
    assert list(scored(streams)) == [0]
    assert streams.depth(ROLLOUTS) == 1


def test_a_service_without_redis_is_not_ready_and_recovers(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as redis:
        client = connect(redis.url)
        streams = Streams(client, "r", StreamsConfig(), Patience(60.0))
        state_terms(streams)
        with service("--streams-url", redis.url, "--run-id", "r") as running:
            os.kill(redis.pid, signal.SIGKILL)
            running.wait_until(lambda: running.client.get("/readyz").status_code == 503)
            assert "Redis cannot be used now: it does not answer" in running.client.get("/readyz").text
            assert running.client.get("/healthz").status_code == 200
            running.wait_until(lambda: redis.keep_running() is not None)
            running.wait_until(lambda: running.client.get("/readyz").status_code == 200)
            streams.publish(ROLLOUTS, [rollouts(0, 1)], deadline=1)
            running.wait_until(lambda: 0 in scored(streams))
            os.kill(redis.pid, signal.SIGKILL)
            running.wait_until(lambda: running.client.get("/readyz").status_code == 503)
            running.terminate()
            assert running.exit_code() == 0


def test_a_service_whose_redis_refuses_it_ends_and_says_why(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as redis:
        state_terms(Streams(connect(redis.url), "r", StreamsConfig()))
        with service("--streams-url", redis.url, "--run-id", "r") as running:
            connect(redis.url).execute_command("ACL", "SETUSER", "default", "-xreadgroup")
            assert running.exit_code() == 1
    assert "error: the stream worker gave up: Redis refuses XREADGROUP couplet:r:rollouts" in "".join(
        running.printed
    )


def test_a_service_with_other_rewards_than_the_run_scores_nothing_and_names_what_differs(
    streams: Streams, redis_url: str, run_id: str
) -> None:
    streams.publish(ROLLOUTS, [rollouts(0, 1)], deadline=1)
    told = refused("reward.tests_weight=3", "--streams-url", redis_url, "--run-id", run_id).stderr
    assert told.startswith(f"error: the reward service {socket.gethostname()}-{os.getpid()} would score otherwise")
    assert "reward.tests_weight is 2.0 for the run and 3.0 here; start the reward service with the recipe" in told
    assert (streams.depth(ROLLOUTS), streams.depth(TRAJECTORIES)) == (1, 0)


def test_a_service_that_agreed_ends_when_the_run_begins_anew_with_other_rewards(
    streams: Streams, redis_url: str, run_id: str
) -> None:
    with service("--streams-url", redis_url, "--run-id", run_id) as running:
        streams.publish(ROLLOUTS, [rollouts(0, 1)], deadline=1)
        running.wait_until(lambda: 0 in scored(streams))
        state_terms(streams, format_weight=0.25)
        streams.publish(ROLLOUTS, [rollouts(1, 1)], deadline=1)
        assert running.exit_code() == 2
    assert "reward.format_weight is 0.25 for the run and 0.5 here" in "".join(running.printed)
    assert list(scored(streams)) == [0]
