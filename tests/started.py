"""What a test starts for a while: processes that are ended however the test ends, and where a start fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Started(ABC):
    """Started on entering a context, and closed on leaving it; closed as well where starting raises."""

    @abstractmethod
    def start(self) -> None:
        """Start all processes, and wait until they can be used."""

    @abstractmethod
    def close(self) -> None:
        """End what runs; what was not started is no matter."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
