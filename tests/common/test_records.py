from __future__ import annotations

import msgpack
import pytest

from common.records import (
    PromptGroup,
    Purpose,
    Record,
    RecordError,
    Rollout,
    RolloutGroup,
    Sampler,
    Score,
    Task,
    TestCase,
    TrajectoryGroup,
    Verdict,
    as_plain,
)

SAMPLER = Sampler(temperature=1.2, top_p=0.95, denoising_steps=2, completion_length=3)
TESTS = (TestCase(call="f(1)", expected="2"), TestCase(kind="stdin", stdin="é\0\n", expected="☃"))
TASK = Task(id="t/1", prompt="def f(x):", completion="fenced", entry_point="f", tests=TESTS, reference="…")
PROMPT = PromptGroup(
    run_id="r",
    purpose=Purpose.EVALUATION,
    evaluation=4,
    index=2**40,
    seed=7,
    task=TASK,
    group_size=2,
    min_version=3,
    sampler=SAMPLER,
)
ROLLOUT = Rollout(
    sample=1, completion_ids=(5, 0, 0), text="x", end=1, step_map=(1, 0, -1), logprobs=(-0.1, -2e-9, 0.0)
)
ROLLOUTS = RolloutGroup(
    prompt=PROMPT,
    prompt_ids=(9, 8),
    tokenizer_hash="ab",
    version=3,
    worker="w-0",
    seconds=0.125,
    rollouts=(ROLLOUT, ROLLOUT),
)
SCORE = Score(reward=2.5, components={"tests": 2.0, "format": 0.5}, verdicts=(Verdict.PASSED, Verdict.INFRA))
TRAJECTORY = TrajectoryGroup(prompt=PROMPT, rollouts=ROLLOUTS, scores=(SCORE, SCORE), worker="s-0", seconds=1.0)
LOST = TrajectoryGroup.from_lost(PROMPT, "w-0", "because")
RECORDS = [*TESTS, TASK, SAMPLER, PROMPT, ROLLOUT, ROLLOUTS, SCORE, TRAJECTORY, LOST]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_encode_decode_round_trip(record: Record) -> None:
    decoded = type(record).decode(record.encode())
    assert decoded == record
    assert type(decoded) is type(record)
    assert decoded.encode() == record.encode()


def test_floats_keep_every_bit() -> None:
    logprobs = (-0.1 - 0.2, -1e-300, -(2**-1074))
    rollout = ROLLOUT.model_copy(update={"logprobs": logprobs})
    assert Rollout.decode(rollout.encode()).logprobs == logprobs


def test_enumerations_come_back_as_enumerations() -> None:
    assert PromptGroup.decode(PROMPT.encode()).purpose is Purpose.EVALUATION
    assert Score.decode(SCORE.encode()).verdicts[1] is Verdict.INFRA


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_every_truncation_is_refused(record: Record) -> None:
    data = record.encode()
    for length in range(0, len(data), max(1, len(data) // 40)):
        with pytest.raises(RecordError):
            type(record).decode(data[:length])


@pytest.mark.parametrize(
    "data",
    [b"\xc1", b"\x01", b"\x90", b"\x81\x90\x01", b"\xa1\xff", b"\x91" * 3000, TASK.encode() + b"\x00", b"{}"],
)
def test_bytes_that_are_no_record_are_refused(data: bytes) -> None:
    with pytest.raises(RecordError):
        Task.decode(data)


def test_wrong_kind_and_wrong_schema_are_named() -> None:
    with pytest.raises(RecordError, match="expected Task schema 1, got Sampler schema 1"):
        Task.decode(SAMPLER.encode())
    newer = msgpack.packb({"kind": "Sampler", "schema": 2, "body": SAMPLER.model_dump()})
    with pytest.raises(RecordError, match="expected Sampler schema 1, got Sampler schema 2"):
        Sampler.decode(newer)


@pytest.mark.parametrize(
    "change", [{"extra": 1}, {"temperature": "hot"}, {"top_p": None}, {"denoising_steps": 1.5}, {"decoder": "x"}]
)
def test_body_that_does_not_validate_is_refused(change: dict[str, object]) -> None:
    body = SAMPLER.model_dump() | change
    with pytest.raises(RecordError, match=next(iter(change))):
        Sampler.decode(msgpack.packb({"kind": "Sampler", "schema": 1, "body": body}))


def test_missing_field_and_missing_body_are_refused() -> None:
    with pytest.raises(RecordError, match="expected"):
        TestCase.decode(msgpack.packb({"kind": "TestCase", "schema": 1, "body": {}}))
    with pytest.raises(RecordError):
        TestCase.decode(msgpack.packb({"kind": "TestCase", "schema": 1}))


def test_extra_field_deep_inside_is_refused() -> None:
    body = TRAJECTORY.model_dump()
    body["rollouts"]["rollouts"][0]["extra"] = 1
    with pytest.raises(RecordError, match="extra"):
        TrajectoryGroup.decode(msgpack.packb({"kind": "TrajectoryGroup", "schema": 1, "body": body}))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_are_frozen(record: Record) -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(record, next(iter(type(record).model_fields)), "changed")


def test_passed_needs_tests_and_all_of_them_to_pass() -> None:
    def score(*verdicts: Verdict) -> Score:
        return Score(reward=0, components={}, verdicts=verdicts)

    assert score(Verdict.PASSED, Verdict.PASSED).passed
    assert not score().passed
    for verdict in set(Verdict) - {Verdict.PASSED}:
        assert not score(Verdict.PASSED, verdict).passed


def test_lost_group_keeps_its_prompt_and_reason() -> None:
    assert (LOST.prompt, LOST.rollouts, LOST.scores, LOST.lost) == (PROMPT, None, (), "because")


def test_as_plain_holds_json_data_only() -> None:
    assert as_plain(PROMPT)["purpose"] == "evaluation"
    assert as_plain(ROLLOUT)["completion_ids"] == [5, 0, 0]
