"""A TCP proxy that can be closed, to simulate an outage of the server behind it."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.processes import free_port


class Gate:
    """Forwards a local port to `target` while it is open."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._pairs: set[socket.socket] = set()
        self.port = free_port()  # Not assigned to another process while the gate is closed.
        self._listener = self._listen(self.port)
        self._serve()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Refuse new connections and cut the existing ones."""
        self._listener.close()
        # A blocked `accept` holds the port until it returns.
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            pass
        self._thread.join()
        for end in list(self._pairs):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self._listener = self._listen(self.port)
        self._serve()

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        self.close()
        try:
            yield
        finally:
            self.open()

    def _listen(self, port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port), backlog=64)

    def _serve(self) -> None:
        self._thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return None  # The gate was closed.
            if listener.fileno() < 0:
                return near.close()
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._pairs |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._pairs.discard(source)
        source.close()
