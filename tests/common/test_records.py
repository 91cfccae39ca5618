from __future__ import annotations

import math
from typing import Any

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
from common.sampler import DREAM_DECODERS

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
    sample=1,
    completion_ids=(5, 0, 0),
    text="x",
    end=1,
    step_map=(1, 0, -1),
    logprobs=(-0.1, -2e-9, 0.0),
    model_logprobs=(-0.3, -1e-9, 0.0),
    forwards=2,
    versions=(3, 5),
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
    rollout = ROLLOUT.model_copy(update={"logprobs": logprobs, "model_logprobs": logprobs[::-1]})
    decoded = Rollout.decode(rollout.encode())
    assert (decoded.logprobs, decoded.model_logprobs) == (logprobs, logprobs[::-1])


def test_versions_and_forwards_come_back() -> None:
    decoded = RolloutGroup.decode(ROLLOUTS.encode()).rollouts[0]
    assert (decoded.versions, decoded.forwards, decoded.model_logprobs) == ((3, 5), 2, (-0.3, -1e-9, 0.0))


@pytest.mark.parametrize("change", [{"versions": (3,)}, {"versions": (3, 4, 5)}, {"forwards": None}])
def test_versions_that_are_no_pair_and_uncounted_forwards_are_refused(change: dict[str, object]) -> None:
    body = ROLLOUT.model_dump() | change
    with pytest.raises(RecordError, match=next(iter(change))):
        Rollout.decode(msgpack.packb({"kind": "Rollout", "schema": Record.SCHEMA, "body": body}))


@pytest.mark.parametrize(("end", "tokens"), [(0, 1), (1, 2), (2, 3), (3, 3)])
def test_text_tokens_hold_the_end_where_there_is_one(end: int, tokens: int) -> None:
    assert ROLLOUT.model_copy(update={"end": end}).text_tokens == tokens


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
    schema = Record.SCHEMA
    with pytest.raises(RecordError, match=f"expected Task schema {schema}, got Sampler schema {schema}"):
        Task.decode(SAMPLER.encode())
    for other in (schema - 1, schema + 1):
        message = msgpack.packb({"kind": "Sampler", "schema": other, "body": SAMPLER.model_dump()})
        with pytest.raises(RecordError, match=f"expected Sampler schema {schema}, got Sampler schema {other}"):
            Sampler.decode(message)


@pytest.mark.parametrize(
    "change",
    [{"extra": 1}, {"temperature": "hot"}, {"top_p": None}, {"top_k": 1.5}, {"decoder": "no name"}],
)
def test_body_that_does_not_validate_is_refused(change: dict[str, object]) -> None:
    body = SAMPLER.model_dump() | change
    with pytest.raises(RecordError, match=next(iter(change))):
        Sampler.decode(msgpack.packb({"kind": "Sampler", "schema": Record.SCHEMA, "body": body}))


def test_missing_field_and_missing_body_are_refused() -> None:
    with pytest.raises(RecordError, match="tests"):
        Task.decode(msgpack.packb({"kind": "Task", "schema": Record.SCHEMA, "body": {"id": "1", "prompt": "p"}}))
    with pytest.raises(RecordError):
        TestCase.decode(msgpack.packb({"kind": "TestCase", "schema": Record.SCHEMA}))


def test_extra_field_deep_inside_is_refused() -> None:
    body = TRAJECTORY.model_dump()
    body["rollouts"]["rollouts"][0]["extra"] = 1
    with pytest.raises(RecordError, match="extra"):
        TrajectoryGroup.decode(msgpack.packb({"kind": "TrajectoryGroup", "schema": Record.SCHEMA, "body": body}))


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


def sampler_body(**settings: object) -> dict[str, Any]:
    """The fields of a sampler of 12 tokens, by default denoised one at a time."""
    return {"temperature": 1.0, "top_p": 1.0, "denoising_steps": 12, "completion_length": 12, **settings}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"denoising_steps": 13}, "denoising_steps: more steps than tokens"),
        ({"block_length": 5}, "block_length: must divide completion_length"),
        ({"block_length": 24}, "block_length: must divide completion_length"),
        ({"block_length": 4, "denoising_steps": 8}, "denoising_steps: must be a multiple .* 3 here"),
        ({"decoder": "origin", "decoder_temperature": 0.5}, "decoder_temperature: the origin decoder"),
        ({"decoder": "random", "decoder_temperature": 0.5}, "decoder_temperature: the random decoder"),
        ({"decoder": "threshold", "decoder_temperature": 0.5}, "decoder_temperature: the threshold decoder"),
        ({"decoder": "threshold", "upstream": True}, "upstream: the threshold decoder"),
        *(
            ({"decoder": name, "upstream": True, "block_length": 4}, f"upstream: the published {name} decoder")
            for name in DREAM_DECODERS
        ),
        ({"approximate_cache": "prefix"}, "approximate_cache: is renewed at every block"),
        ({"approximate_cache": "dual"}, "approximate_cache: is renewed at every block"),
        (
            {"approximate_cache": "dual", "block_length": 4, "approximate_locking": 0.1},
            "approximate_locking: does not go with approximate_cache",
        ),
        ({"approximate_measured_share": 0.5}, "approximate_measured_share: every pass is exact"),
        (
            {"decoder": "threshold", "approximate_measured_share": 0.5},
            "approximate_measured_share: every pass is exact",
        ),
    ],
)
def test_a_sampler_that_contradicts_itself_is_refused(settings: dict[str, object], message: str) -> None:
    body = sampler_body(**settings)
    with pytest.raises(RecordError, match=message):
        Sampler.decode(msgpack.packb({"kind": "Sampler", "schema": Record.SCHEMA, "body": body}))


@pytest.mark.parametrize(
    "settings",
    [
        {"denoising_steps": 1},
        {"block_length": 12, "denoising_steps": 5},
        {"block_length": 4, "denoising_steps": 3},
        {"block_length": 1},
        {"decoder": "origin", "upstream": True},
        {"decoder": "entropy", "upstream": True, "block_length": 12},
        {"decoder": "low_confidence", "upstream": True, "block_length": 4, "decoder_temperature": 0.5},
        {"decoder": "threshold", "block_length": 4},
        {"decoder": "threshold", "block_length": 4, "approximate_cache": "dual"},
        {"approximate_cache": "prefix", "block_length": 12},
        {"approximate_locking": 0.001, "block_length": 4, "approximate_measured_share": 1.0},
    ],
)
def test_a_consistent_sampler_survives_the_wire(settings: dict[str, object]) -> None:
    sampler = Sampler(**sampler_body(**settings))
    assert Sampler.decode(sampler.encode()) == sampler


@pytest.mark.parametrize(
    ("settings", "approximate"),
    [
        ({}, False),
        ({"decoder": "low_confidence", "block_length": 4, "upstream": True}, False),
        ({"denoising_steps": 1}, False),
        ({"decoder": "threshold"}, True),
        ({"approximate_cache": "prefix", "block_length": 4}, True),
        ({"approximate_cache": "dual", "block_length": 4}, True),
        ({"approximate_locking": 1e-6}, True),
        ({"decoder": "threshold", "approximate_cache": "dual", "block_length": 4}, True),
    ],
)
def test_what_makes_a_sampler_approximate(settings: dict[str, object], approximate: bool) -> None:
    assert Sampler(**sampler_body(**settings)).approximate is approximate


def test_noise_keys_differ_in_sample_group_purpose_round_and_seed() -> None:
    fields = [{"seed": (0, 1)}, {"index": (0, 1, 10)}, {"evaluation": (0, 1, 10)}, {"purpose": tuple(Purpose)}]
    groups = [PROMPT]
    for field in fields:
        ((name, values),) = field.items()
        groups = [group.model_copy(update={name: value}) for group in groups for value in values]
    keys = {group.noise_key(sample) for group in groups for sample in (0, 1, 10)}
    assert len(groups) == math.prod(len(values) for field in fields for values in field.values())
    assert len(keys) == 3 * len(groups)


def test_noise_keys_are_the_same_in_every_process_and_whatever_else_a_group_says() -> None:
    key = PromptGroup.decode(PROMPT.encode()).noise_key(1)
    assert key == (7, "noise-evaluation", (4, 2**40, 1))
    other = {"run_id": "s", "min_version": 9, "group_size": 5, "task": TASK.model_copy(update={"id": "t/2"})}
    assert PROMPT.model_copy(update=other).noise_key(1) == key
