"""The HTTP API against a real service in a process of its own, with a real jail."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.metrics.metric import PROCESS_LABELS
from common.metrics.registry import BY_ROLE
from reward_service.http.bodies import SMALL_BODY
from tests.reward_service.conftest import TOKEN
from tests.service_process import PATIENCE_S, ServiceUnderTest, service

ADD = {
    "id": "add",
    "prompt": "",
    "prefix": "def add(a, b):\n",
    "tests": [{"call": "add(1, 2)", "expected": "3"}, {"call": "add(2, 2)", "expected": "4"}],
}
GOOD, HALF, BAD = "    return a + b\n", "    return 4\n", "    return None\n"


def group(name: str, *completions: str, **changes: Any) -> dict[str, Any]:
    return {"id": name, "task": ADD | changes, "completions": list(completions)}


def sleeper(number: int, seconds: float) -> str:
    """A right solution that takes its time, unlike any other."""
    return f"    import time\n    time.sleep({seconds} / 2)\n    {number}\n    return a + b\n"


def sleepers(name: str, count: int, seconds: float = 0.3, first: int = 0) -> dict[str, Any]:
    return group(name, *(sleeper(first + number, seconds) for number in range(count)))


def start_all_slots(under_test: ServiceUnderTest) -> None:
    """A slot is started when a program first needs it, and again after it was lost."""
    numbers = itertools.count(10_000, 4)

    def both_live() -> bool:
        under_test.score(sleepers("start", 4, seconds=0.1, first=next(numbers)))
        return under_test.metric("couplet_scoring_slots_live") == 2

    under_test.wait_until(both_live)


def test_a_batch_is_answered_by_group_and_a_malformed_task_harms_no_other(running: ServiceUnderTest) -> None:
    malformed = [{"call": "add(1, 2)", "expected": "three"}]
    *lines, last = running.score(
        group("mixed", GOOD, HALF, BAD, "return", GOOD),
        group("malformed", GOOD, HALF, tests=malformed),
        group("hack", "    import os; os._exit(0)\n"),
    )
    found = {line["id"]: line for line in lines}
    assert set(found) == {"mixed", "malformed", "hack"}
    scores = found["mixed"]["scores"]
    assert [score["reward"] for score in scores] == [2.5, 1.5, 0.5, 0.0, 2.5]
    assert scores[1]["verdicts"] == ["failed", "passed"]
    assert scores[1]["components"] == {"tests": 0.5, "format": 1.0}
    assert "IndentationError" in scores[3]["notes"][0]
    assert not any(score["excluded"] or score["forgeable"] for score in scores)
    assert "not a Python literal" in found["malformed"]["error"]
    assert "scores" not in found["malformed"]
    assert found["hack"]["scores"][0]["components"]["tests"] == 0.0
    summary = last["summary"]
    assert summary | {"seconds": 0, "deadline_s": 0} == {
        "groups": 3,
        "completions": 8,
        "excluded": 0,
        "errors": 1,
        "late": False,
        "deadline_s": 0,
        "seconds": 0,
    }


def test_a_large_batch_is_scored_as_a_small_one(running: ServiceUnderTest) -> None:
    texts = (GOOD + "# " + "x" * SMALL_BODY, HALF)
    line, _ = running.score(group("large", *texts))
    assert [score["reward"] for score in line["scores"]] == [2.5, 1.5]
    refused = running.client.post("/v1/score", json={"groups": [group("large", *texts, entrypoint="f")]})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "groups.0.task.entrypoint")


def test_an_answer_has_so_many_verdicts_at_most(running: ServiceUnderTest) -> None:
    """A small request of many tests and completions would have an answer of gigabytes."""
    tests = [{"call": "add(1, 2)", "expected": "3"}] * 1001
    answer = running.client.post("/v1/score", json={"groups": [group("vast", *[GOOD] * 1000, tests=tests)]})
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "batch_too_large")
    assert "1001000 verdicts" in answer.json()["error"]["message"]


def test_lines_come_as_groups_finish(running: ServiceUnderTest) -> None:
    body = {"groups": [sleepers("slow", 1, seconds=1.5, first=100), group("fast", GOOD)]}
    with running.client.stream("POST", "/v1/score", json=body) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = answer.iter_lines()
        assert json.loads(next(lines))["id"] == "fast"
        assert running.metric("couplet_reward_http_queue_depth") == 0
        assert json.loads(next(lines))["id"] == "slow"
        assert "summary" in json.loads(next(lines))


def test_what_is_late_is_excluded_and_what_is_there_counts(running: ServiceUnderTest) -> None:
    late_before = running.metric("couplet_reward_http_late_completions_total")
    forever = group("forever", GOOD, *(sleeper(200 + n, 1.2) for n in range(8)))
    first, last = running.score(forever, deadline_s=1.0)
    right, *late = first["scores"]
    assert (right["reward"], right["excluded"]) == (2.5, False)
    assert {(score["excluded"], tuple(score["verdicts"])) for score in late} == {(True, ("infra", "infra"))}
    assert (last["summary"]["excluded"], last["summary"]["late"], last["summary"]["deadline_s"]) == (8, True, 1.0)
    assert running.metric("couplet_reward_http_late_completions_total") == late_before + 8
    assert running.metric("couplet_reward_http_queue_depth") == 0


def test_a_full_queue_refuses_until_the_client_that_filled_it_leaves(running: ServiceUnderTest) -> None:
    batch = {"groups": [sleepers("big", 38, first=300)]}
    executions = running.metric("couplet_scoring_executions_total")
    with running.client.stream("POST", "/v1/score", json=batch):
        refused = running.client.post("/v1/score", json={"groups": [sleepers("too-much", 5)]})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "queue_full"
        program = {"code": "print(1)", "language": "python"}
        assert running.client.post("/run_code", json=program).json()["status"] == "Success"
    running.wait_until(lambda: running.metric("couplet_reward_http_queue_depth") == 0)
    assert running.score(group("after", GOOD))[0]["scores"][0]["reward"] == 2.5
    assert running.metric("couplet_scoring_executions_total") < executions + 38
    never = running.client.post("/v1/score", json={"groups": [sleepers("never", 41)]})
    assert (never.status_code, never.json()["error"]["type"]) == (413, "batch_too_large")


def test_a_killed_slot_in_the_middle_of_a_batch_changes_no_score(running: ServiceUnderTest) -> None:
    start_all_slots(running)
    restarts = running.metric("couplet_scoring_slot_restarts")
    body = {"groups": [sleepers("a", 3, first=400), sleepers("b", 3, first=500)]}
    with running.client.stream("POST", "/v1/score", json=body) as answer:
        children = psutil.Process(running.process.pid).children()
        slots = [child for child in children if "sandbox.inside.launcher" in " ".join(child.cmdline())]
        assert len(slots) == 2
        slots[0].send_signal(signal.SIGKILL)
        answer.read()
    *lines, _ = map(json.loads, answer.text.splitlines())
    assert [(score["reward"], score["excluded"]) for line in lines for score in line["scores"]] == [
        (2.5, False)
    ] * 6
    assert running.metric("couplet_scoring_slot_restarts") == restarts + 1
    assert running.client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ({"groups": [{"id": "a", "task": ADD}]}, "groups.0.completions", "Field required"),
        ({"groups": [group("a", GOOD), group("a", GOOD)]}, "groups", "two have the id 'a'"),
        ({"groups": [group("a", GOOD, entrypoint="f")]}, "groups.0.task.entrypoint", "unknown field"),
        ([], None, "not a JSON object"),
        ("text", None, "not a JSON object"),
    ],
)
def test_bad_requests_are_one_error_that_names_the_field(
    running: ServiceUnderTest, body: object, field: str | None, told: str
) -> None:
    answer = running.client.post("/v1/score", json=body)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["type"], error["field"]) == ("invalid_request", field)
    assert told in error["message"]


def test_what_is_not_json_is_refused(running: ServiceUnderTest) -> None:
    for content, kind in ((b"{", "application/json"), (b'"\\ud800"', "application/json"), (b"{}", "text/plain")):
        answer = running.client.post("/v1/score", content=content, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["error"]["type"]) == (422, "invalid_request")
    nested = running.client.post("/v1/score", content=b"[" * 500_000, headers={"content-type": "application/json"})
    assert (nested.status_code, nested.json()["error"]["type"]) == (400, "bad_request")


def test_a_request_has_a_size_limit_whether_or_not_it_says_its_size(running: ServiceUnderTest) -> None:
    large = json.dumps({"groups": [group("a", "#" * (1 << 20))]}).encode()
    headers = {"content-type": "application/json"}
    pieces = (large[start : start + 65536] for start in range(0, len(large), 65536))
    for content in (large, pieces):
        answer = running.client.post("/v1/score", content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]["type"]) == (413, "body_too_large")
        assert "1048576 bytes" in answer.json()["error"]["message"]


def test_work_needs_the_token_and_health_does_not(running: ServiceUnderTest) -> None:
    with httpx.Client(base_url=running.url, timeout=PATIENCE_S) as stranger:
        for header in (None, "Bearer wrong", "Basic correct-horse", "correct-horse", "Bearer é"):
            headers = {"authorization": header.encode()} if header else {}
            for method, path in (("POST", "/v1/score"), ("POST", "/run_code"), ("GET", "/openapi.json")):
                answer = stranger.request(method, path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.json()["error"]["type"] == "unauthorized"
            for path in ("/healthz", "/readyz", "/metrics"):
                assert stranger.get(path, headers=headers).status_code == 200


def test_unknown_paths_are_json_errors(running: ServiceUnderTest) -> None:
    for path, kind in (("/nothing", "not_found"), ("/v1/score", "method_not_allowed")):
        error = running.client.get(path).json()["error"]
        assert error["type"] == kind
        assert "/openapi.json" in error["message"], "it says where the right ones are listed"


def test_the_api_describes_itself(running: ServiceUnderTest) -> None:
    schema = running.client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/v1/score", "/run_code", "/healthz", "/readyz", "/metrics"}
    score = schema["paths"]["/v1/score"]["post"]
    body = score["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/ScoreRequest"}
    refused = score["responses"]["4XX"]["content"]["application/json"]["schema"]
    assert refused == {"$ref": "#/components/schemas/ErrorAnswer"}
    assert {"GroupLine", "SummaryLine", "Task", "RunCode", "RunAnswer"} <= set(schema["components"]["schemas"])


def test_metrics_tell_of_requests_programs_and_slots(running: ServiceUnderTest) -> None:
    running.score(group("a", GOOD))
    start_all_slots(running)
    text = running.client.get("/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    for sample in samples:
        assert (sample.labels["role"], sample.labels["run"]) == ("reward-service", "")
        assert sample.labels["worker"] == socket.gethostname()
    names = {sample.name for sample in samples}
    for metric in BY_ROLE["reward-service"]:
        assert names >= set(metric.series_names), metric
    found = {(s.name, *(v for k, v in s.labels.items() if k not in PROCESS_LABELS)): s.value for s in samples}
    assert found["couplet_reward_http_queue_capacity",] == 40
    assert found["couplet_scoring_slots_live",] == 2
    assert found["couplet_reward_http_requests_total", "/v1/score", "200"] > 0
    assert found["couplet_scoring_tests_total", "passed"] > 0
    assert 'path="/healthz"' not in text


def test_sigterm_in_the_middle_of_a_batch_lets_it_finish_and_takes_no_other() -> None:
    """Its metrics ask for the token, too."""
    with service("--metrics-token", token=TOKEN) as under_test:
        assert httpx.get(f"{under_test.url}/metrics", timeout=PATIENCE_S).status_code == 401
        answers: list[list[dict[str, Any]]] = []
        batch = threading.Thread(target=lambda: answers.append(under_test.score(sleepers("a", 8))))
        batch.start()
        under_test.wait_until(lambda: under_test.metric("couplet_reward_http_queue_depth") > 0)
        under_test.terminate()
        under_test.wait_until(lambda: under_test.client.get("/readyz").status_code == 503)
        assert "shutting down" in under_test.client.get("/readyz").json()["error"]["message"]
        assert under_test.client.get("/healthz").status_code == 200
        refused = under_test.client.post("/v1/score", json={"groups": [group("late", GOOD)]})
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "draining")
        batch.join(PATIENCE_S)
        scores, summary = answers[0]
        assert [score["reward"] for score in scores["scores"]] == [2.5] * 8
        assert (summary["summary"]["excluded"], summary["summary"]["late"]) == (0, False)
        slots = psutil.Process(under_test.process.pid).children(recursive=True)
        assert under_test.exit_code() == 0
        assert psutil.wait_procs(slots, timeout=PATIENCE_S)[1] == []


def test_a_batch_that_outlives_the_drain_is_excluded() -> None:
    with service("--drain-seconds", "0") as under_test:
        body = {"groups": [sleepers("a", 20)]}
        with under_test.client.stream("POST", "/v1/score", json=body) as answer:
            under_test.process.send_signal(signal.SIGINT)
            answer.read()
        scores, summary = map(json.loads, answer.text.splitlines())
        assert {(score["excluded"], score["reward"]) for score in scores["scores"]} <= {(True, 0.0), (False, 2.5)}
        assert summary["summary"]["late"]
        assert summary["summary"]["excluded"] > 0
        assert under_test.exit_code() == 0


def test_a_client_that_leaves_before_its_body_is_there_harms_nobody(running: ServiceUnderTest) -> None:
    address = urlsplit(running.url)
    head = f"POST /v1/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    with socket.create_connection((address.hostname, address.port or 0)) as client:
        client.sendall(head.encode())
    assert running.score(group("after", GOOD))[0]["scores"][0]["reward"] == 2.5
    assert not any("Traceback" in line for line in running.printed)
