"""The commands that only show something: configurations, sessions and the state of the running daemon."""

import difflib
import http.client
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrwatch.bgp.sessions import Derived, session_document
from rrwatch.bird import templates
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.syntax import hide_passwords
from rrwatch.commands.derivation import derive
from rrwatch.daemon.birds import is_ours
from rrwatch.daemon.desired import Desired, render
from rrwatch.errors import RrwatchError, UsageError
from rrwatch.settings.model import Settings
from rrwatch.settings.values import Listen

_STATUS_TIMEOUT = 5.0  # seconds
_SESSIONS_TIMEOUT = 1.0  # seconds; how sessions are is good to know, and no reason to wait
_SESSIONS_PAGE = 10_000
_ACTUAL = ("state", "since", "last_error")


def configurations(settings: Settings, items: Mapping[str, str]) -> dict[Path, str]:
    """Returns the configurations that follow from keys and values, with passwords, by the paths of their files.

    Raises:
        MissingRecord: a record is missing without which there is no configuration.
        TemplateError: a template cannot be used.
    """
    found = derive(settings, items)
    desired = Desired(found.topology, found.derived, found.likely_capabilities(settings.bird_paths))
    rendered = render(settings.role, templates.load(settings.templates), settings.bird_paths, desired, is_ours)
    return {target.config: result.text for target, result in rendered.items()}


def difference(path: Path, wanted: str, *, passwords: bool = False) -> str:
    """Returns what would change in an installed file as a unified diff, which is empty if nothing would.

    Args:
        path: the installed file.
        wanted: the text that it should have.
        passwords: whether to show them; if not, a line whose password changes is shown twice, with the same text.

    Raises:
        InstallError: the file exists and cannot be read.
    """
    installed = ConfigFile(path).read() or ""
    # A file that someone else wrote may not be UTF-8.
    installed = installed.encode(errors="surrogateescape").decode(errors="backslashreplace")
    if not passwords:
        numbers: dict[str, int] = {}
        installed, wanted = (
            hide_passwords(text, lambda password: f"(hidden\0{numbers.setdefault(password, len(numbers))}\0)")
            for text in (installed, wanted)
        )
    names = f"{path} (installed)", f"{path} (wanted)"
    lines = difflib.unified_diff(installed.splitlines(), wanted.splitlines(), *names, lineterm="")
    return "".join(f"{line}\n" if passwords else re.sub(r"\0[0-9]+\0", "", f"{line}\n") for line in lines)


def document(result: Derived, actual: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Returns derived sessions and remarks as a JSON object.

    Args:
        actual: how the sessions are, by their names, see `actual_sessions`; null in the object for those that it lacks.
    """
    actual = actual or {}
    return {
        "sessions": [
            session_document(session) | {name: actual.get(session.name, {}).get(name) for name in _ACTUAL}
            for session in result.sessions
        ],
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


def actual_sessions(settings: Settings) -> dict[str, dict[str, Any]]:
    """Returns the rows of the page `/sessions` of the daemon that runs with these settings, by the names of sessions.

    Returns:
        Nothing where no daemon answers within a second.
    """
    listen, found, page = settings.status_listen, dict[str, dict[str, Any]](), 1
    end = time.monotonic() + _SESSIONS_TIMEOUT
    try:
        while (left := end - time.monotonic()) > 0:
            answer = json.loads(_ask(listen, f"/sessions?limit={_SESSIONS_PAGE}&page={page}", left))
            found |= {row["name"]: row for row in answer["sessions"]}
            if page >= answer["pages"]:
                return found
            page += 1
    except (RrwatchError, ValueError, LookupError, TypeError):
        pass
    return {}


def running_health(settings: Settings) -> str:
    """Returns the answer of the health page of the daemon that runs with these settings.

    Raises:
        UsageError: the settings turn the status pages off.
        RrwatchError: no daemon answers, or it is not alive.
    """
    return _ask(settings.status_listen, "/healthz").strip()


def _ask(listen: Listen | None, page: str, timeout: float = _STATUS_TIMEOUT) -> str:
    if listen is None or not listen.port:
        raise UsageError("status_listen names no port: rrwatch cannot be asked")
    connection = http.client.HTTPConnection(listen.host, listen.port, timeout=timeout)
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
