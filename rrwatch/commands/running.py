"""Asks the running daemon, by the pages that it serves on `status_listen`."""

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from rrwatch.errors import NoDaemon, RrwatchError, UsageError
from rrwatch.reasons import reason_of
from rrwatch.settings.model import Settings

Document = Mapping[str, Any]
"""A JSON document of the daemon; `docs/schema/` describes them."""

_CONNECT_TIMEOUT = 1.0  # seconds; a host that drops packets must not make a command look dead
_TIMEOUT = 5.0  # seconds for a whole answer
_CHUNK = 1 << 16  # bytes


class RunningDaemon:
    """The daemon that serves its pages on the address that is set.

    Every method raises `NoDaemon` if nothing answers there, or something else than rrwatch, and `RrwatchError` if the
    daemon has no answer yet, or is of another version.
    """

    def __init__(self, settings: Settings) -> None:
        """Asks nothing yet.

        Raises:
            UsageError: the settings turn the pages off.
        """
        if settings.status_listen is None or not settings.status_listen.port:
            raise UsageError("status_listen names no port: rrwatch cannot be asked")
        self._listen = settings.status_listen

    def health(self) -> str:
        """Returns the answer of the health page.

        Raises:
            RrwatchError: the daemon is not alive.
        """
        return self._ask("/healthz").strip()

    def status(self) -> Document:
        """Returns how rrwatch stands."""
        return self._document("status")

    def records(self) -> Document:
        """Returns all records that are left out or have a warning."""
        return self._document("records")

    def sessions(self, query: Mapping[str, str | int]) -> Document:
        """Returns one page of the sessions.

        Args:
            query: the members of `rrwatch.report.sessions.Query` that are not the default.

        Raises:
            UsageError: the daemon cannot use the query; the message says what would be right.
        """
        return self._document("sessions", urlencode(query))

    def _document(self, name: str, query: str = "") -> Document:
        answer: Document = json.loads(self._ask(f"/{name}?{query}"))
        if answer.get("schema") != f"rrwatch.{name}/1":
            raise RrwatchError(f"rrwatch on {self._listen} is of another version than this command: restart it")
        return answer

    def _ask(self, page: str) -> str:
        end = time.monotonic() + _TIMEOUT
        connection = http.client.HTTPConnection(self._listen.host, self._listen.port, timeout=_CONNECT_TIMEOUT)
        try:
            connection.connect()
            connection.sock.settimeout(_TIMEOUT)
            connection.request("GET", page)
            response = connection.getresponse()
            body = b""
            while chunk := response.read(_CHUNK):
                body += chunk
                if time.monotonic() > end:
                    raise TimeoutError(f"no whole answer within {_TIMEOUT:.0f} s")
        except (OSError, http.client.HTTPException) as error:
            raise NoDaemon(f"no rrwatch answers on {self._listen}: {reason_of(error)}") from error
        finally:
            connection.close()
        if not response.headers.get("Server", "").startswith("rrwatch"):
            raise NoDaemon(f"what answers on {self._listen} is not rrwatch: want the status_listen of the daemon")
        text = body.decode(errors="backslashreplace")
        if response.status == http.client.BAD_REQUEST:
            raise UsageError(text.strip())
        if response.status != http.client.OK:
            raise RrwatchError(f"rrwatch on {self._listen} says: {text.strip()}")
        return text
