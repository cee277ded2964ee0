"""The commands that only show something: sessions and the state of the running daemon."""

import http.client
import json
from typing import Any

from rrwatch.bgp.sessions import Derived, session_document
from rrwatch.errors import RrwatchError, UsageError
from rrwatch.settings.model import Settings
from rrwatch.settings.values import Listen

_STATUS_TIMEOUT = 5.0  # seconds


def document(result: Derived) -> dict[str, Any]:
    """Returns derived sessions and remarks as a JSON object."""
    return {
        "sessions": [session_document(session) for session in result.sessions],
        "rejected": [{"key": remark.key, "reason": remark.reason} for remark in result.rejected],
        "warnings": [{"key": remark.key, "reason": remark.reason} for remark in result.warnings],
    }


def running_status(settings: Settings) -> dict[str, Any]:
    """Returns the status of the daemon that runs with these settings.

    Raises:
        UsageError: the settings turn the status pages off.
        RrwatchError: no daemon answers.
    """
    try:
        answer = json.loads(_ask(settings.status_listen, "/status"))
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or "ready" not in answer:
        raise RrwatchError("what answers on status_listen is not rrwatch")
    return answer


def running_health(settings: Settings) -> str:
    """Returns the answer of the health page of the daemon that runs with these settings.

    Raises:
        UsageError: the settings turn the status pages off.
        RrwatchError: no daemon answers, or it is not alive.
    """
    return _ask(settings.status_listen, "/healthz").strip()


def _ask(listen: Listen | None, page: str) -> str:
    if listen is None or not listen.port:
        raise UsageError("status_listen names no port: rrwatch cannot be asked")
    connection = http.client.HTTPConnection(listen.host, listen.port, timeout=_STATUS_TIMEOUT)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        body = response.read().decode(errors="backslashreplace")
    except (OSError, http.client.HTTPException) as error:
        raise RrwatchError(f"no rrwatch answers on {listen}: {error}") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise RrwatchError(f"rrwatch on {listen} says: {body.strip()}")
    return body
