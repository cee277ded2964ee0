"""One HTTP connection: every exchange has limits in time and size, and another thread can end it.

    connection = Connection("http://127.0.0.1:2379", Tls())
    with connection.exchange("GET", "/version", timeout=10.0) as response:
        if response.status == 200:
            print(response.read())

A server that is broken or hostile can hold an answer back, send it a byte at a time, or never end it. A timeout of the
socket covers only the first of these, so a timer ends an exchange that is too slow as a whole. What a server sends
encoded is refused: a small answer could become a huge one.
"""

import contextlib
import http.client
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

CONNECT_TIMEOUT = 5.0
"""Seconds for a connection to an address, and the same again for the TLS handshake."""

RATE_MIN = 8 * 1024
"""Bytes a second. An answer that takes longer than its timeout must arrive this fast, on average."""

DURATION_MAX = 600.0
"""Seconds that an exchange takes at most, however fast its answer arrives."""

SIZE_MAX = 64 * 1024 * 1024
"""Bytes of an answer's body. A list of 20,000 nodes has 8 MiB."""

_PORTS = {"http": 80, "https": 443}
_PIECE = 64 * 1024  # bytes that are read at once

# A peer that disappeared is noticed below HTTP too (tcp(7)).
_SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


@dataclass(frozen=True, slots=True)
class Tls:
    """The files for connections with TLS, in PEM.

    Attributes:
        ca_cert: the authorities to trust; None for those of the system.
        cert, key: the certificate to present, and its key; both or none.
    """

    ca_cert: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class Silence(TimeoutError):
    """Nothing of what is waited for arrived before the timeout."""


class Response:
    """An answer whose headers have arrived.

    Attributes:
        headers: their names are not case-sensitive.
    """

    def __init__(
        self, response: http.client.HTTPResponse, timeout: float, limit: "_Limit", connected: socket.socket
    ) -> None:
        self._response, self._timeout, self._limit, self._socket = response, timeout, limit, connected
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers  # type: ignore[assignment]  # a mapping, but not by its type

    @property
    def is_complete(self) -> bool:
        """Whether the body has been read to its end."""
        return self._response.isclosed()

    def close(self) -> None:
        """Discards what has not been read; the connection cannot be used again."""
        self._response.close()

    def read(self) -> bytearray:
        """Reads the body.

        Raises:
            Silence: nothing of the body arrived before the timeout.
            OSError, HTTPException: the body is incomplete, encoded, too large or too slow.
        """
        encoding = self.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise OSError(f"the answer is encoded as {encoding:.20}, which was not asked for")
        body = bytearray()
        try:
            while piece := self._response.read1(_PIECE):
                body += piece
                if len(body) > SIZE_MAX:
                    raise OSError(f"the answer has more than {SIZE_MAX // 2**20} MiB")
                self._limit.extend(len(piece))
        except TimeoutError as error:
            if body:
                raise OSError(f"the answer stopped after {len(body)} bytes") from error
            raise Silence(f"nothing arrived for {self._timeout:g} s") from error
        if self._response.length or self._limit.exceeded:
            raise OSError(f"the answer ended after {len(body)} bytes, too early")
        self._response.close()
        return body

    def lines(self) -> Iterator[bytearray]:
        """Yields the lines of a body that need not end, without their line ends. It may be silent between two lines.

        Raises:
            OSError, HTTPException: the body broke off, or a line is too large or arrives too slowly.
        """
        self._limit.lift()
        line, began = bytearray(), 0.0
        self._socket.settimeout(None)
        while piece := self._response.read1(_PIECE):
            *ends, rest = piece.split(b"\n")
            if line and time.monotonic() > began + self._timeout + len(line) / RATE_MIN:
                raise OSError(f"a line stopped after {len(line)} bytes, or arrives too slowly")
            for end in ends:
                yield line + end
                line = bytearray()
            began = began if line else time.monotonic()  # after the time that the reader took
            line += rest
            if len(line) > SIZE_MAX:
                raise OSError(f"a line has more than {SIZE_MAX // 2**20} MiB")
            self._socket.settimeout(self._timeout if line else None)
        if line:  # etcd 3.4 does not end the last one
            yield line


class Connection:
    """A connection to one endpoint, for one exchange at a time. It connects when it is needed."""

    def __init__(self, endpoint: str, tls: Tls) -> None:
        """Keeps what is needed to connect.

        Args:
            endpoint: a URL, of which scheme, host and port count; without a port, that of the scheme.
            tls: read again for each connection, if the scheme is https.
        """
        self._endpoint, self._tls = endpoint, tls
        self._client: _Client | None = None
        self._socket: socket.socket | None = None

    @contextlib.contextmanager
    def exchange(
        self,
        method: str,
        target: str,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        within: float | None = None,
    ) -> Iterator[Response]:
        """Sends a request and waits for the headers of the answer. What is not read in the context is discarded.

        Args:
            target: path and query, quoted.
            timeout: seconds of silence after which the exchange fails.
            body: ASCII text.
            within: seconds that the exchange takes at most, however fast its answer arrives.

        Raises:
            Silence: no headers arrived before the timeout.
            OSError, HTTPException: anything else went wrong.
        """
        response: Response | None = None
        limit = _Limit(self.cut, timeout + CONNECT_TIMEOUT, DURATION_MAX if within is None else within)
        try:
            with limit:
                client = self._connect(CONNECT_TIMEOUT if within is None else min(within, CONNECT_TIMEOUT))
                if limit.exceeded:
                    raise OSError("there was no connection to cut")
                connected = client.sock
                connected.settimeout(timeout)
                try:
                    client.request(method, target, body, dict(headers or {}))
                    client.flush()
                    response = Response(client.getresponse(), timeout, limit, connected)
                except TimeoutError as error:
                    raise Silence(f"nothing arrived for {timeout:g} s") from error
                if limit.exceeded:  # http.client takes headers that broke off for whole ones
                    raise OSError("the headers are incomplete")
                yield response
        except (OSError, http.client.HTTPException) as error:
            if limit.exceeded:
                raise OSError(f"given up after {limit.seconds:.0f} s: the answer arrives too slowly") from error
            raise
        finally:
            if not (response and response.is_complete):
                if response:
                    response.close()
                self.close()

    def cut(self) -> None:
        """Shuts the connection down while another thread uses it."""
        connected = self._socket
        if connected:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        client, connected, self._client, self._socket = self._client, self._socket, None, None
        if client:
            client.close()
        if connected:
            connected.close()

    def _connect(self, timeout: float) -> "_Client":
        """Returns the connection, or a new one if the server has ended it."""
        if self._client and (self._client.sock is None or _has_input(self._client.sock)):
            self.close()
        if self._client is None:
            url = urlsplit(self._endpoint)
            host, port = url.hostname or "", url.port or _PORTS[url.scheme]
            try:
                connected = self._socket = socket.create_connection((host, port), timeout)
                for level, option, value in _SOCKET_OPTIONS:
                    connected.setsockopt(level, option, value)
                if url.scheme == "https":
                    connected = self._socket = _context(self._tls).wrap_socket(connected, server_hostname=host)
            except TimeoutError as error:
                raise OSError(f"no connection within {timeout:g} s") from error
            self._client = _Client(host, port)
            self._client.default_port = _PORTS[url.scheme]  # which the header Host leaves out
            self._client.auto_open = 0  # it would not use TLS
            self._client.sock = connected
        return self._client


class _Client(http.client.HTTPConnection):
    """An HTTP client that sends headers and body at once.

    A server that refuses TLS says why and closes the connection. A second write would find it closed, and hide that.
    """

    _unsent = b""

    def send(self, data: Any) -> None:
        self._unsent += data

    def flush(self) -> None:
        """Sends the request."""
        unsent, self._unsent = self._unsent, b""
        super().send(unsent)


class _Limit:
    """Calls a function when an exchange has taken too long. What arrives extends the time."""

    def __init__(self, cut: Callable[[], None], seconds: float, longest: float) -> None:
        self._cut, self.seconds, self._longest = cut, min(seconds, longest), longest
        self._done = threading.Event()
        self._began = time.monotonic()
        self.exceeded = False

    def __enter__(self) -> None:
        threading.Thread(target=self._watch, name="limit", daemon=True).start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()

    def extend(self, received: int) -> None:
        """Allows the time that these bytes may take."""
        self.seconds = min(self.seconds + received / RATE_MIN, self._longest)

    def lift(self) -> None:
        """Ends the limit, for an answer that need not end."""
        self._done.set()

    def _watch(self) -> None:
        while (left := self._began + self.seconds - time.monotonic()) > 0:
            if self._done.wait(left):
                return
        self.exceeded = True
        self._cut()


def _context(tls: Tls) -> ssl.SSLContext:
    # Read for each connection: certificates are renewed while rrwatch runs.
    context = ssl.create_default_context(cafile=str(tls.ca_cert) if tls.ca_cert else None)
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def _has_input(idle: socket.socket) -> bool:
    """Whether an idle connection has something to read: the end of the connection, or what nobody asked for."""
    poll = select.poll()
    poll.register(idle, select.POLLIN)
    return bool(poll.poll(0))
