"""Terms of a run in a real Redis: who agrees, who refuses, and what becomes of them when data is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.config import StreamsConfig
from common.streams import DisagreementError, ScorersTerms, StatedTerms, Streams, Terms, agreement, connect
from orchestrator.fleet.embedded_redis import EmbeddedRedis

TERMS = Terms({"reward.tests": '"pass_rate"'}, {"code of rewards": "abc"})


@pytest.fixture
def streams(redis_url: str, run_id: str) -> Iterator[Streams]:
    with connect(redis_url) as client:
        yield Streams(client, run_id, StreamsConfig())


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "_LOOK_SECONDS", 0.0)


def scorer(streams: Streams, terms: Terms = TERMS, name: str = "w") -> ScorersTerms:
    return ScorersTerms(streams, name, terms, f"worker {name}")


def run(streams: Streams, notes: list[str], terms: Terms = TERMS, patience_s: float = 0.0) -> StatedTerms:
    stated = StatedTerms(streams, terms, notes.append, patience_s)
    stated.state()
    return stated


def test_nobody_agrees_before_the_run_has_stated_its_terms(streams: Streams) -> None:
    late = scorer(streams)
    assert not late.agreed()
    run(streams, [])
    assert late.agreed()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (Terms({"reward.tests": "1"}, TERMS.code), 'reward.tests is "pass_rate" for the run and 1 here'),
        (Terms(TERMS.settings, {"code of rewards": "xyz"}), "code of rewards is abc for the run and xyz here"),
        (Terms({}, TERMS.code), 'reward.tests is "pass_rate" for the run and missing here'),
        (Terms({**TERMS.settings, "reward.new": "1"}, {}), "reward.new is missing for the run and 1 here"),
    ],
)
def test_what_differs_is_refused_by_name_and_the_run_ends_if_nobody_agrees(
    streams: Streams, other: Terms, told: str
) -> None:
    notes: list[str] = []
    stated = run(streams, notes)
    with pytest.raises(DisagreementError, match="worker w would score otherwise") as refusal:
        scorer(streams, other).agreed()
    assert told in str(refusal.value)
    with pytest.raises(DisagreementError, match="no other came within"):
        stated.check()
    assert notes == [f"does not score this run: {refusal.value}"]


def test_a_run_that_somebody_scores_goes_on_beside_one_that_refuses(streams: Streams) -> None:
    notes: list[str] = []
    stated = run(streams, notes)
    assert scorer(streams, name="agrees").agreed()
    with pytest.raises(DisagreementError):
        scorer(streams, Terms({}, {})).agreed()
    stated.check()
    stated.check()
    assert len(notes) == 1


def test_code_that_the_runs_machine_has_not_must_be_the_same_on_all_scorers(streams: Streams) -> None:
    run(streams, [], Terms(TERMS.settings, {}))
    assert scorer(streams, name="first").agreed()
    with pytest.raises(DisagreementError, match="code of rewards is abc for the run and stale here"):
        scorer(streams, Terms(TERMS.settings, {"code of rewards": "stale"})).agreed()


def test_a_scorer_compares_anew_when_the_run_begins_anew_and_when_data_was_lost(streams: Streams) -> None:
    stated, long_lived = run(streams, []), scorer(streams)
    assert long_lived.agreed()
    streams.empty()
    assert not long_lived.agreed()
    stated.check()
    assert long_lived.agreed()
    run(streams, [], Terms({"reward.tests": "other"}, {}))
    with pytest.raises(DisagreementError):
        long_lived.agreed()


def test_a_full_redis_keeps_nobody_from_scoring(tmp_path: Path) -> None:
    """Only groups that are scored free its memory."""
    with EmbeddedRedis(tmp_path) as server:
        streams = Streams(connect(server.url), "r", StreamsConfig())
        run(streams, [], Terms(TERMS.settings, {}))
        streams.client.config_set("maxmemory", 1)
        assert scorer(streams).agreed()
