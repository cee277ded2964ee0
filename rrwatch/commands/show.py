"""The commands that only look: what would be, and what is."""

import difflib
import http.client
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrwatch.bgp.sessions import Derived, session_document
from rrwatch.bgp.topology import Topology
from rrwatch.bird import templates
from rrwatch.bird.config import Capabilities
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.detect import BirdDetector
from rrwatch.bird.render import Rendered
from rrwatch.bird.target import Target
from rrwatch.bird.version import Grammar
from rrwatch.calico.store import RecordStore
from rrwatch.daemon.desired import Desired, render
from rrwatch.daemon.reconciler import is_ours
from rrwatch.errors import RrwatchError, UsageError
from rrwatch.settings.model import Settings
from rrwatch.settings.values import Listen

_STATUS_TIMEOUT = 5.0  # seconds


def derived(settings: Settings, items: Mapping[str, str]) -> Derived:
    """The sessions that follow from those keys and values."""
    return settings.role.derive(RecordStore.of(items, settings.role.model).topology())


def configurations(settings: Settings, items: Mapping[str, str]) -> dict[Path, str]:
    """The configurations that follow from those keys and values, by the files that they are for.

    Raises:
        MissingRecord: nothing can be said yet.
        TemplateError: a template fails.
    """
    topology = RecordStore.of(items, settings.role.model).topology()
    rendered = would_run(settings, topology, settings.role.derive(topology))
    return {target.config: result.text for target, result in rendered.items()}


def would_run(settings: Settings, topology: Topology, derived: Derived) -> dict[Target, Rendered]:
    """The configurations that the BIRDs of this host would run, found out without writing a file.

    Raises:
        MissingRecord: nothing can be said yet.
        TemplateError: a template fails.
    """
    grammar = grammar_of(settings)
    # Only BIRD itself knows whether it has tunnels, and a command that looks does not write files to ask: every BIRD 2
    # of these years has them, and of 1.6 Calico's fork, whose file tells.
    told = any(ConfigFile(target.config).mentions("krt_tunnel") for target in settings.bird_paths.targets(grammar))
    capabilities = Capabilities(grammar, tunnels=grammar is Grammar.BIRD2 or told)
    desired = Desired(topology, derived, capabilities)
    return render(settings.role, templates.load(settings.templates), settings.bird_paths, desired, is_ours)


def grammar_of(settings: Settings) -> Grammar:
    """For which BIRD to write: for the one that runs here, or would; for BIRD 2 where there is none."""
    return BirdDetector(settings.bird_paths, settings.grammar, threading.Event()).grammar() or Grammar.BIRD2


def difference(path: Path, wanted: str) -> str:
    """What would change in an installed file: a unified diff, empty where nothing would.

    Raises:
        InstallError: the file is there and cannot be read.
    """
    installed = ConfigFile(path).read() or ""
    # What another hand wrote may be no UTF-8.
    old = installed.encode(errors="surrogateescape").decode(errors="backslashreplace").splitlines()
    lines = difflib.unified_diff(old, wanted.splitlines(), f"{path} (installed)", f"{path} (wanted)", lineterm="")
    return "".join(f"{line}\n" for line in lines)


def document(result: Derived) -> dict[str, Any]:
    """Derived sessions as JSON has them."""
    return {
        "sessions": [session_document(session) for session in result.sessions],
        "rejected": [{"key": remark.key, "reason": remark.reason} for remark in result.rejected],
        "warnings": [{"key": remark.key, "reason": remark.reason} for remark in result.warnings],
    }


def running_status(settings: Settings) -> dict[str, Any]:
    """What the rrwatch that runs with these settings says of itself.

    Raises:
        UsageError: it serves no status, by the settings.
        RrwatchError: none answers.
    """
    try:
        answer = json.loads(_ask(settings.status_listen, "/status"))
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or "ready" not in answer:
        raise RrwatchError("what answers on status_listen is no rrwatch")
    return answer


def running_health(settings: Settings) -> str:
    """Is the rrwatch that runs with these settings alive?; -> its own word for it.

    Raises:
        UsageError: it serves no status, by the settings.
        RrwatchError: none answers, or it says that it is not.
    """
    return _ask(settings.status_listen, "/healthz").strip()


def _ask(listen: Listen | None, page: str) -> str:
    if listen is None or not listen.port:
        raise UsageError("status_listen names no port: rrwatch cannot be asked")
    where = f"{listen.host}:{listen.port}"
    connection = http.client.HTTPConnection(listen.host, listen.port, timeout=_STATUS_TIMEOUT)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        body = response.read().decode(errors="backslashreplace")
    except (OSError, http.client.HTTPException) as error:
        raise RrwatchError(f"no rrwatch answers on {where}: {error}") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise RrwatchError(f"rrwatch on {where} says: {body.strip()}")
    return body
