"""The hook that posts each event to a URL."""

import http.client
import ssl
import threading
from urllib.parse import urlsplit

import tenacity

import rrwatch
from rrwatch.deadline import Deadline
from rrwatch.errors import HookFailed
from rrwatch.http import Connection, Tls
from rrwatch.reasons import reason_of

ATTEMPTS = 3
"""How often one event is posted at most."""

_BUSY = (408, 425, 429)  # statuses below 500 after which a later attempt may succeed


class _Unavailable(HookFailed):
    """An attempt that failed and may be repeated."""


class UrlSink:
    """Posts events to a URL. Only the status of an answer counts: its body is not read."""

    name = "url"

    def __init__(self, url: str, timeout: float) -> None:
        """Keeps where to post.

        Args:
            url: may have a secret in its path or query, so that messages name only its host.
            timeout: seconds for all attempts to post one event.
        """
        parts = urlsplit(url)
        self._origin, self._host = f"{parts.scheme}://{parts.netloc}", parts.netloc
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout = timeout
        self._stop = threading.Event()
        self._connection: Connection | None = None

    def deliver(self, event: str, document: str) -> None:  # noqa: ARG002  # the port's signature
        """Posts the event, again after half a second and a second if the server is not available; see `Sink`."""
        deadline = Deadline(self._timeout, self._stop)
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Unavailable),
            stop=tenacity.stop_after_attempt(ATTEMPTS)
            | tenacity.stop_before_delay(self._timeout)
            | tenacity.stop_when_event_set(self._stop),
            wait=tenacity.wait_exponential(0.5),
            sleep=tenacity.sleep_using_event(self._stop),
            reraise=True,
        )
        attempts(self._post, document, deadline)

    def cancel(self) -> None:
        """Cuts the connection; see `Sink`."""
        self._stop.set()
        if connection := self._connection:
            connection.cut()

    def _post(self, document: str, deadline: Deadline) -> None:
        if self._stop.is_set():
            raise HookFailed("rrwatch is stopping")
        left = max(0.01, deadline.remaining())
        connection = self._connection = Connection(self._origin, Tls())
        headers = {"Content-Type": "application/json", "User-Agent": f"rrwatch/{rrwatch.__version__}"}
        try:
            with connection.exchange(
                "POST", self._target, timeout=left, within=left, headers=headers, body=document
            ) as response:
                status = response.status
        except ssl.SSLCertVerificationError as error:
            raise HookFailed(f"{self._host}: {reason_of(error)}") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Unavailable(f"{self._host}: {reason_of(error)}") from error
        finally:
            connection.close()
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            raise HookFailed(f"{self._host} answered {status}: redirects are not followed, set the URL where it leads")
        kind = _Unavailable if status >= 500 or status in _BUSY else HookFailed
        raise kind(f"{self._host} answered {status}")
