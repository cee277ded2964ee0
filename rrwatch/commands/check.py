"""`rrwatch check`: is everything that rrwatch needs there, and what to do where it is not."""

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Topology
from rrwatch.bird import templates
from rrwatch.bird.apply import State
from rrwatch.bird.capabilities import CapabilityProbe
from rrwatch.bird.config import Capabilities
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.control import Connection, connect
from rrwatch.bird.render import Rendered
from rrwatch.bird.target import Target
from rrwatch.calico.store import RecordStore
from rrwatch.commands import privileges, show
from rrwatch.daemon.reconciler import render_all
from rrwatch.datastore.access import Access
from rrwatch.datastore.etcd_v2 import EtcdV2
from rrwatch.deadline import Deadline
from rrwatch.errors import (
    BirdAbsent,
    BirdElsewhere,
    BirdRefused,
    MissingRecord,
    RrwatchError,
    TransportError,
    WrongApi,
)
from rrwatch.guard.baseline import StateFolder
from rrwatch.settings.model import Settings
from rrwatch.settings.table import Unknown

_BIRD_TIMEOUT = 10.0  # seconds
_SYSLOG = Path("/dev/log")
_LOG_STATEMENT = re.compile(r"^\s*log\s", re.MULTILINE)

Document = Mapping[str, Any]
"""The status of the running rrwatch, as `/status` gives it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what: a setting, an endpoint, a BIRD.
        text: how it is.
        hint: what to do, empty where nothing needs to be done.
    """

    subject: str
    good: bool
    text: str
    hint: str = ""

    def document(self) -> dict[str, Any]:
        """The finding as JSON has it."""
        return {"subject": self.subject, "good": self.good, "text": self.text, "hint": self.hint or None}


def check(settings: Settings, unknown: Sequence[Unknown] = (), file: Path | None = None) -> list[Finding]:
    """Looks at everything that rrwatch needs, with the rights of this process.

    It writes nothing that stays, and changes nothing that BIRD runs. What the running rrwatch says comes first, then
    what everything else depends on.

    Args:
        unknown: what is set and is no setting.
        file: the settings file, where there is one.
    """
    return list(_check(settings, unknown, file))


def _check(settings: Settings, unknown: Sequence[Unknown], file: Path | None) -> Iterator[Finding]:
    finding, status = _check_daemon(settings)
    yield finding
    probe = CapabilityProbe(settings.bird_paths, settings.grammar, threading.Event())
    grammar = show.grammar_of(settings)
    targets = settings.bird_paths.targets(grammar)
    daemons = ", ".join(f"{target.name} with {target.config}" for target in targets)
    yield Finding("settings", True, f"{settings.role.summary()}; BIRD {grammar.value}: {daemons}")
    for one in unknown:
        yield Finding("settings", False, f"{one.name} in {one.place} is no setting and has no effect", one.hint)
    yield from _check_user([*([file] if file else []), *settings.files])
    yield _check_state(settings.state_dir)
    items: dict[str, str] | None = None
    for endpoint in settings.etcd.endpoints:
        finding, listed = _check_etcd(settings.etcd, endpoint, settings.role.all_prefixes)
        items = listed if items is None else items
        yield finding
    topology = RecordStore.of(items or {}, settings.role.model).topology()
    learned = probe.learn(topology, filters=settings.role.takes_filters) or Capabilities(grammar)
    derived = settings.role.derive(topology, learned)
    if items is not None:
        yield _check_sessions(settings, derived)
    findings, rendered = _check_templates(settings, topology, derived, learned, known=items is not None)
    yield from findings
    active = settings.role.families(topology)
    for target in (target for target in targets if set(target.families) & set(active)):
        yield _check_folder(target)
        yield from _check_bird(target, rendered.get(target) if items is not None else None, status)
        yield from _check_log(settings, target)


def _check_daemon(settings: Settings) -> tuple[Finding, Document | None]:
    """What the running rrwatch says; -> with its whole status, None where there is none."""
    listen = settings.status_listen
    if listen is None or not listen.port:
        return Finding("rrwatch", True, "status_listen names no port: the running rrwatch cannot be asked"), None
    subject = f"rrwatch {listen.host}:{listen.port}"
    try:
        show.running_health(settings)
        status = show.running_status(settings)
    except RrwatchError as error:
        hint = "`systemctl enable --now rrwatch`, or `rrwatch run`; all that follows is what it would find"
        return Finding(subject, False, str(error), hint), None
    if status["viewer"] != settings.role.summary():
        text = f"runs as {status['viewer']}, and these settings are those of {settings.role.summary()}"
        return Finding(subject, False, text, "give `rrwatch check` the settings that the service has"), status
    if not status["ready"]:
        text = f"not ready since {status['not_ready_since']}: {status['reason']}"
        return Finding(subject, False, text, _remedy(status)), status
    sessions = sum(daemon["sessions"] for daemon in status["daemons"].values())
    return Finding(subject, True, f"ready, {sessions} sessions"), status


def _remedy(status: Document) -> str:
    """What helps a running rrwatch that is not ready."""
    if status["held"]:
        return "`rrwatch release` if those sessions are to end, else bring their records back"
    states = {daemon["state"] for daemon in status["daemons"].values()}
    if State.REFUSED.value in states or status["template_error"]:
        return "correct the line that is named; the last configuration stays in force until then"
    if State.WAITING.value in states:
        return "start BIRD; rrwatch configures it as soon as it runs"
    return "see the first failure below"


def _check_user(files: Iterable[Path]) -> Iterator[Finding]:
    who = privileges.name()
    unreadable = [path for path in files if not os.access(path, os.R_OK)]
    for path in unreadable:
        yield Finding("user", False, f"{who} cannot read {path}", f"let the user or one of its groups read {path}")
    if not unreadable:
        yield Finding("user", True, f"all that is said here holds for {who}")


def _check_state(folder: Path) -> Finding:
    subject = f"state {folder}"
    try:
        StateFolder(folder).require_writable()
    except RrwatchError as error:
        hint = "without it a restart forgets which nodes there were, and what is held"
        return Finding(subject, False, str(error), hint)
    return Finding(subject, True, "can be written")


def _check_etcd(access: Access, endpoint: str, prefixes: Iterable[str]) -> tuple[Finding, dict[str, str] | None]:
    subject = f"etcd {endpoint}"
    try:
        client = EtcdV2(replace(access, endpoints=(endpoint,)))
        snapshots = [client.list(prefix) for prefix in prefixes]
    except WrongApi as error:
        fact, _, remedy = str(error).removeprefix(f"{endpoint}: ").partition(": ")
        return Finding(subject, False, fact, remedy), None
    except TransportError as error:
        hint = "is etcd running there, with --enable-v2=true, and do address, TLS files and password fit?"
        return Finding(subject, False, str(error).removeprefix(f"{endpoint}: "), hint), None
    counts = ", ".join(f"{len(snapshot.items)} keys below {snapshot.prefix}" for snapshot in snapshots)
    items = {key: value for snapshot in snapshots for key, value in snapshot.items.items()}
    return Finding(subject, True, f"{counts} at index {snapshots[-1].index}"), items


def _check_sessions(settings: Settings, derived: Derived) -> Finding:
    remarks = f"records: {len(derived.rejected)} rejected, {len(derived.warnings)} with a warning"
    text = f"{len(derived.sessions)} derived; {remarks}"
    hint = "" if derived.sessions else settings.role.advice()
    if derived.rejected or derived.warnings:
        hint = "`rrwatch sessions` tells which and why"
    return Finding("sessions", True, text, hint)


def _check_templates(
    settings: Settings, topology: Topology, derived: Derived, capabilities: Capabilities, *, known: bool
) -> tuple[list[Finding], Mapping[Target, Rendered]]:
    """What the templates give; -> with the configurations, as far as there are any.

    Args:
        known: etcd has answered; where it has not, a missing record says nothing.
    """
    try:
        loaded = templates.load(settings.templates)
        rendered = render_all(settings.role, loaded, settings.bird_paths, topology, derived, capabilities)
    except MissingRecord as error:
        hint = "the node's own Calico writes it: does it run, under this name?"
        return [Finding("sessions", False, str(error), hint)] if known else [], {}
    except RrwatchError as error:
        return [Finding("templates", False, str(error), "correct the template, or take it out of the folder")], {}
    return [Finding("templates", True, f"{settings.templates or 'the shipped ones'}")], rendered


def _check_folder(target: Target) -> Finding:
    subject, file = f"file {target.config}", ConfigFile(target.config)
    trial = file.staged.with_suffix(".check")
    try:
        file.require_replaceable()
        trial.write_text("", encoding="utf-8")
        trial.unlink()
    except RrwatchError as error:
        return Finding(subject, False, str(error))
    except OSError as error:
        hint = f"let {privileges.name()} write in {target.config.parent}"
        return Finding(subject, False, f"cannot be replaced: {error.strerror}", hint)
    return Finding(subject, True, "can be replaced")


def _check_bird(target: Target, wanted: Rendered | None, status: Document | None) -> Iterator[Finding]:
    subject = f"{target.name} {target.socket}"
    try:
        with connect(target.socket, Deadline(_BIRD_TIMEOUT, threading.Event())) as bird:
            yield Finding(subject, True, bird.greeting)
            bird.wait_until_idle()
            target.require_own(bird.own_file())
            if target.config.exists():
                bird.check(target.config)
                yield Finding(subject, True, f"reads {target.config}")
            else:
                hint = "a BIRD that is restarted now does not start: `rrwatch run` writes the file"
                yield Finding(subject, False, f"reads {target.config}, which is not there", hint)
            yield from _check_generation(subject, target, bird, wanted, status)
    except BirdAbsent as error:
        yield Finding(subject, False, str(error), f"start {target.name} with -c {target.config} -s {target.socket}")
    except BirdElsewhere as error:
        yield Finding(subject, False, error.fact, error.remedy)
    except BirdRefused as error:
        hint = f"BIRD must see the file under the same path, and be allowed to read it: {target.config}"
        yield Finding(subject, False, f"does not accept {target.config}: {error}", hint)
    except RrwatchError as error:
        yield Finding(subject, False, str(error))


def _check_generation(
    subject: str, target: Target, bird: Connection, wanted: Rendered | None, status: Document | None
) -> Iterator[Finding]:
    running = bird.generation()
    daemon = (status or {}).get("daemons", {}).get(target.name, {})
    # A change between the list above and this question is known to the running rrwatch alone.
    newest = daemon.get("wanted_generation") if status and status["ready"] else None
    expected = wanted.generation if wanted else daemon.get("wanted_generation")
    if expected is None:
        return
    if running is not None and running in (expected, newest):
        yield Finding(subject, True, f"runs generation {running}, as wanted")
        return
    if status is None:
        hint = "start rrwatch: it makes BIRD run what is wanted"
    elif status["held"]:
        hint = "the change is held, see the first line"
    elif daemon.get("state") == State.REFUSED.value:
        hint = "BIRD refuses it, see the first line"
    else:
        hint = "rrwatch is at it: `rrwatch status`"
    runs = "a configuration that is not rrwatch's" if running is None else f"generation {running}"
    yield Finding(subject, False, f"runs {runs}, wanted is generation {expected}", hint)


def _check_log(settings: Settings, target: Target) -> Iterator[Finding]:
    if settings.bird_paths.log:
        return
    try:
        says = _LOG_STATEMENT.search(ConfigFile(target.config).read() or "")
    except RrwatchError:
        return  # told by what looks at the file
    if not says and not _SYSLOG.exists():
        text = "its configuration has no `log`, and here is no syslog: BIRD may write each line to its console"
        hint = "set bird_log: with a slow console a line costs BIRD 0.5 ms, seconds for thousands of sessions"
        yield Finding(f"{target.name} log", True, text, hint)
