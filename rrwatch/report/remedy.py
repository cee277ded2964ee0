"""What to do about a daemon that is not ready, as its status says it. Pure."""

from collections.abc import Mapping
from typing import Any

_REFUSED, _WAITING = "refused", "waiting"  # states of BIRDs; a command that asks the daemon need not import `apply`


def remedy(status: Mapping[str, Any]) -> str:
    """Returns what to do, in one line for people; empty if the status does not tell.

    Args:
        status: the document of `/status`.
    """
    if status["stalled"]:
        return "`systemctl restart rrwatch`; BIRD keeps its sessions"
    daemons = status["daemons"]
    states = {daemon["state"] for daemon in daemons.values()}
    if status["held"]:
        first = "start BIRD; then " if _WAITING in states else ""
        return f"{first}`rrwatch release` if those sessions should end, else restore their records"
    if is_refused(status) or status["template_error"]:
        places = (_place(found) for daemon in daemons.values() if (found := daemon["refused"]))
        keeps = "BIRD keeps the last configuration"
        if status["template_error"] and states and _REFUSED not in states:
            keeps = "the templates before it stay in use"
        return f"correct {next(places, 'the line that is named')}; {keeps} until then"
    if _WAITING in states:
        return "start BIRD; rrwatch configures it as soon as it runs"
    if not status["ready"] and status["etcd"]["trouble"] and not status["etcd"]["last_answer_at"]:
        return "start etcd, or correct etcd_endpoints; BIRD keeps its last configuration until then"
    return ""


def is_refused(status: Mapping[str, Any]) -> bool:
    """Whether a BIRD refused what it should run now, or the newest templates."""
    return any(daemon["state"] == _REFUSED or daemon["refused"] for daemon in status["daemons"].values())


def _place(refused: Mapping[str, Any]) -> str:
    if refused["line"] is None or refused["file"] is None:
        return refused["template"] or "the line that is named"
    line = f"line {refused['line']} of {refused['file']}"
    return f"{refused['template']} ({line})" if refused["template"] else line
