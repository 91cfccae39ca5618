"""The streams of a run as its main process opens them, on a server of their own if there is no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.config import Config
from common.streams import Patience, StatedTerms, Streams, check_access, connect
from learner.checkpoints import adopt
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from orchestrator.resume import rewind_streams
from orchestrator.run_folder import RunFolder
from reward_service.terms import reward_terms


@dataclass(frozen=True)
class RunStreams:
    """Hold a run's streams, the address of their server, and the place of its checkpoint in the run's folder.

    ``terms``: what its scorers must agree on, and have been told.
    """

    url: str
    streams: Streams
    terms: StatedTerms
    checkpoint: Path | None


@contextmanager
def run_streams(
    config: Config,
    folder: RunFolder,
    checkpoint: Path | None,
    note: Callable[[str], None],
    check_stop: Callable[[], None],
) -> Iterator[RunStreams]:
    """Open the run's streams as ``checkpoint`` needs them; ``check_stop`` is called while Redis is away.

    An embedded server that ends or hangs is started again. Raises StreamError where no server answers, or its user
    may not do what a run does.
    """
    with ExitStack() as stack:
        url, server = config.streams.address, None
        if url == "embedded":
            server = stack.enter_context(EmbeddedRedis(folder.path / "redis"))
            url = server.url
        if not config.streams.in_environment:
            folder.write_secret("redis-url", url)

        def meanwhile() -> None:
            check_stop()
            line = server.keep_running() if server is not None else None
            if line is not None:
                note(line)

        patience = Patience(config.deadlines.redis_seconds, note, meanwhile)
        client = connect(url)
        stack.callback(client.close)
        streams = Streams(client, folder.run_id, config.streams, patience)
        streams.make_while_waiting()
        if checkpoint is None and streams.counters():
            streams.empty()  # of an attempt that left none, whose settings may have been others
        if checkpoint is not None:
            checkpoint = adopt(folder.path.resolve() / "checkpoints", checkpoint)
            rewind_streams(streams, checkpoint)
        streams.create()
        check_access(streams)
        terms = StatedTerms(streams, reward_terms(config.reward), note, config.deadlines.start_seconds)
        terms.state()
        yield RunStreams(url, streams, terms, checkpoint)
