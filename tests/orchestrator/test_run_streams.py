"""The streams as a run's main process opens them."""

from __future__ import annotations

from pathlib import Path

from common.config import Config
from common.streams import EVALUATIONS, Consumer
from orchestrator.run_folder import RunFolder
from orchestrator.run_streams import run_streams


def test_the_main_process_does_not_wait_for_streams_that_it_makes_itself(tmp_path: Path) -> None:
    """Data may be lost in the moment before it reads: nobody else would make its streams anew."""
    config = Config.model_validate(
        {
            "run": {"steps": 1, "folder": tmp_path / "run"},
            "model": {"path": "builtin:quickstart"},
            "data": {"source": "synthetic"},
            "deadlines": {"redis_seconds": 20},
        }
    )
    notes: list[str] = []
    folder = RunFolder.open(config, resume=False)
    with run_streams(config, folder, None, notes.append, lambda: None) as opened:
        streams = opened.streams
        streams.vouch()
        streams.client.flushall()
        assert Consumer(streams, EVALUATIONS, "orchestrator").read(1, 0.01) == []
        assert not streams.whole(), "what was lost is to be completed"
    folder.close()
    assert notes == []
