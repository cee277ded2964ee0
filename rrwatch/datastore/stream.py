"""Reads the lines of an HTTP answer that does not end, in a thread of its own.

    stream = Stream(Connection("http://127.0.0.1:2379", Tls()), "/v3/watch", headers, body, timeout=5.0)
    print(stream.line(timeout=20.0))

A read that timed out cannot be continued, neither with TLS nor in the middle of a chunk. So a thread waits for the next
line, and whoever needs it waits for the thread. What arrives faster than it is taken stays in the connection.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException

from rrwatch.http import Connection, Silence
from rrwatch.reasons import reason_of

_LINES_MAX = 16  # that are read before they are taken
_SLICE = 0.25  # seconds after which the thread notices that nobody takes lines any more


class Refused(OSError):
    """The server answered with another status than 200."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status, self.body = status, body


class Stream:
    """The lines of one answer.

    Attributes:
        heard_at: when the last line arrived, or when the request was sent, on the monotonic clock.
    """

    def __init__(
        self, connection: Connection, target: str, headers: Mapping[str, str], body: str, timeout: float
    ) -> None:
        """Sends a POST request, without waiting.

        Args:
            connection: a connection that nothing else uses.
            timeout: seconds for the headers of the answer, and for the rest of a line that has begun.
        """
        self.heard_at = time.monotonic()
        self._connection, self._closed = connection, threading.Event()
        self._lines: queue.Queue[bytearray | OSError] = queue.Queue(_LINES_MAX)
        arguments = (target, headers, body, timeout)
        threading.Thread(target=self._read, args=arguments, name="stream", daemon=True).start()

    def line(self, timeout: float) -> bytearray:
        """Returns the next line.

        Raises:
            Silence: none arrived before the timeout; a later call may get it.
            Refused: the status is not 200.
            OSError: the answer ended, or cannot be read.
        """
        try:
            got = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise Silence(f"nothing arrived for {timeout:g} s") from None
        try:
            if isinstance(got, OSError):
                raise got
            return got
        finally:
            del got  # an error would refer to this frame, and this frame to the error

    def close(self) -> None:
        """Ends the stream; a call that waits for a line fails. Any thread may call it."""
        self._closed.set()
        self._connection.cut()
        with contextlib.suppress(queue.Full):  # then nobody waits
            self._lines.put_nowait(OSError("the connection was closed"))

    def _read(self, target: str, headers: Mapping[str, str], body: str, timeout: float) -> None:
        # New errors, because one that was raised here would keep this frame alive.
        try:
            with self._connection.exchange("POST", target, timeout=timeout, headers=headers, body=body) as response:
                if response.status != HTTPStatus.OK:
                    self._put(Refused(response.status, bytes(response.read())))
                    return
                for line in response.lines():
                    self.heard_at = time.monotonic()
                    if not self._put(line):
                        return
            end = OSError("the server ended the answer")
        except (OSError, HTTPException) as error:
            end = OSError(reason_of(error))
        except ValueError as error:
            end = OSError(f"not an answer of HTTP: {error}")
        self._put(end)

    def _put(self, item: bytearray | OSError) -> bool:
        """Waits until there is room for it; returns whether it was put."""
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._lines.put(item, timeout=_SLICE)
                return True
        return False
