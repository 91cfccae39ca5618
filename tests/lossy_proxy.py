"""A proxy in front of a server that loses replies: what was asked is done, and the client does not learn it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class LossyProxy:
    """Passes connections on to a port of this machine. While ``losing``, a connection ends at its next reply."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._losing = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def losing(self, replies: int = 1) -> Iterator[None]:
        """Lose so many of the replies that come within the context."""
        self._left = replies
        self._losing.set()
        yield
        assert not self._losing.is_set(), "no reply was lost"

    def close(self) -> None:
        for each in (self._listener, *self._open):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open += [client, server]
            threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, replies: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if replies and self._losing.is_set():
                    self._left -= 1
                    if not self._left:
                        self._losing.clear()
                    break
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
