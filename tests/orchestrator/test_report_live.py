"""The report of a run that is going: fresh, and cheap however long the run is."""

from __future__ import annotations

from pathlib import Path

from orchestrator.report.live import LiveReport


class Desk:
    """A clock that moves when it is told to, and a report that takes ``cost`` seconds to write."""

    def __init__(self, cost: float = 0.0, fails: bool = False) -> None:
        self.now, self.cost, self.fails = 1000.0, cost, fails
        self.written: list[float] = []
        self.report = LiveReport(Path("run"), lambda: self.now, self.write)

    def write(self, folder: Path) -> Path:
        self.written.append(self.now)
        self.now += self.cost
        if self.fails:
            raise OSError("no space left")
        return folder / "report.html"

    def at(self, second: float) -> None:
        self.now = 1000.0 + second
        self.report.poll()

    @property
    def seconds(self) -> list[float]:
        return [when - 1000.0 for when in self.written]


def test_the_first_step_is_written_at_once_and_later_ones_once_a_minute() -> None:
    desk = Desk()
    desk.at(0)
    for second in range(1, 200):
        desk.report.step_ended()
        desk.at(second)
    assert desk.seconds == [1, 61, 121, 181]


def test_nothing_new_is_not_written() -> None:
    desk = Desk()
    desk.report.step_ended()
    for second in range(0, 600, 10):
        desk.at(second)
    assert desk.seconds == [0]


def test_an_evaluation_does_not_wait() -> None:
    desk = Desk()
    desk.report.step_ended()
    desk.at(0)
    desk.report.evaluation_ended()
    desk.at(5)
    assert desk.seconds == [0, 5]


def test_a_report_that_takes_long_is_written_less_often() -> None:
    desk = Desk(cost=3.0)
    for second in range(0, 700, 10):
        desk.report.step_ended()
        desk.at(second)
    assert desk.seconds == [0, 310, 620]


def test_a_full_disk_does_not_end_the_run() -> None:
    desk = Desk(fails=True)
    desk.report.step_ended()
    desk.at(0)
    desk.report.step_ended()
    desk.at(100)
    assert desk.seconds == [0, 100]
