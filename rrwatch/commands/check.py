"""The command `check`: checks everything that rrwatch needs, with a hint on what to do about each problem."""

import contextlib
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rrwatch.archive.freeze import FreezeFiles
from rrwatch.bgp.sessions import Derived
from rrwatch.bird import templates
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.control import Connection, connect
from rrwatch.bird.detect import BirdDetector
from rrwatch.bird.render import Rendered
from rrwatch.bird.syntax import has_passwords
from rrwatch.bird.target import Target
from rrwatch.bird.version import Grammar
from rrwatch.calico.models import MODELS
from rrwatch.commands import privileges
from rrwatch.commands.derivation import Derivation, derive
from rrwatch.commands.running import Document, RunningDaemon
from rrwatch.daemon.birds import is_ours
from rrwatch.daemon.desired import Desired, render
from rrwatch.datastore.factory import ADAPTERS, open_datastore
from rrwatch.deadline import Deadline
from rrwatch.errors import (
    BirdAbsent,
    BirdElsewhere,
    BirdRefused,
    DatastoreError,
    HookFailed,
    MissingRecord,
    NoDaemon,
    RrwatchError,
    TransportError,
    UsageError,
    WrongApi,
)
from rrwatch.guard.baseline import StateFolder
from rrwatch.report import hook_command
from rrwatch.report.headline import SEE_CHECK, Note, headline, is_away
from rrwatch.report.text import iso
from rrwatch.settings.model import MODEL_OF, Settings
from rrwatch.settings.table import Unknown
from rrwatch.settings.values import DatastoreName

_BIRD_TIMEOUT = 10.0  # seconds
_SYSLOG = Path("/dev/log")
_HIDDEN_FROM_SERVICE = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108  # by its unit
_LOG_STATEMENT = re.compile(r"^\s*log\s", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: what was checked: a setting, an endpoint, a BIRD.
        good: whether it is as rrwatch needs it.
        text: what was found.
        hint: what to do, empty if there is nothing to do.
    """

    subject: str
    good: bool
    text: str
    hint: str = ""

    def document(self) -> dict[str, Any]:
        """Returns the finding as a JSON object."""
        return {"subject": self.subject, "good": self.good, "text": self.text, "hint": self.hint or None}


def check(settings: Settings, unknown: Sequence[Unknown] = (), file: Path | None = None) -> list[Finding]:
    """Checks everything that rrwatch needs, with the rights of this process.

    It leaves no file behind and changes nothing that BIRD runs. The state of the running daemon comes first, then what
    everything else depends on.

    Args:
        settings: the settings that the daemon should have.
        unknown: unknown settings that were found.
        file: the settings file, if there is one.
    """
    return list(_check(settings, unknown, file))


def _check(settings: Settings, unknown: Sequence[Unknown], file: Path | None) -> Iterator[Finding]:
    finding, status = _check_daemon(settings)
    yield finding
    yield from _check_freeze(settings)
    detector = BirdDetector(settings.bird_paths, settings.grammar, threading.Event())
    grammar = detector.grammar() or Grammar.BIRD2
    targets = settings.bird_paths.targets(grammar)
    daemons = ", ".join(f"{target.name} with {target.config}" for target in targets)
    yield Finding("settings", True, f"{settings.role.summary()}; BIRD {grammar.value}: {daemons}")
    refusals = list(_refusals(settings))
    for reason in refusals:
        yield Finding("settings", False, reason)
    for one in unknown:
        yield Finding("settings", False, one.fact, one.hint)
    yield from _check_user([*([file] if file else []), *settings.files])
    yield _check_state(settings)
    if settings.hooks.command:
        yield _check_hook(settings.hooks.command[0])
    items: dict[str, str] | None = None
    for endpoint in settings.etcd.endpoints:
        finding, listed = _check_etcd(settings, endpoint)
        items = listed if items is None else items
        yield finding
    derivation = derive(settings, items or {})
    if items is not None:
        yield _check_sessions(settings, derivation.derived)
    if refusals:
        return  # there is no configuration that BIRD could have
    if settings.passwords:
        yield from _check_passwords(settings.passwords, derivation.passwords)
    findings, rendered = _check_templates(settings, derivation, known=items is not None)
    yield from findings
    active = settings.role.families(derivation.topology)
    for target in (target for target in targets if set(target.families) & set(active)):
        yield _check_folder(target)
        yield from _check_bird(target, rendered.get(target) if items is not None else None, status)
        yield from _check_log(settings, target)


def _refusals(settings: Settings) -> Iterator[str]:
    """Yields why `rrwatch run` refuses to start with these settings."""
    for require in settings.require_datastore, settings.require_configuration:
        try:
            require()
        except UsageError as error:
            yield str(error)


def _check_daemon(settings: Settings) -> tuple[Finding, Document | None]:
    """Returns the state of the running daemon, with its whole status, or None if there is none."""
    try:
        daemon = RunningDaemon(settings)
    except UsageError:
        return Finding("rrwatch", True, "status_listen names no port: the running rrwatch cannot be asked"), None
    subject = f"rrwatch {settings.status_listen}"
    try:
        daemon.health()
        status = daemon.status()
    except NoDaemon as error:
        hint = "`systemctl start rrwatch`, or `rrwatch run`; the findings below are what it would find"
        return Finding(subject, False, str(error), hint), None
    except RrwatchError as error:
        hint = "`systemctl restart rrwatch` if it stays so; BIRD keeps its sessions"
        return Finding(subject, False, str(error), hint), None
    return _daemon_finding(settings, subject, status), status


def _daemon_finding(settings: Settings, subject: str, status: Document) -> Finding:
    if status["viewer"] != settings.role.summary():
        text = f"runs as {status['viewer']}, but these settings are those of {settings.role.summary()}"
        return Finding(subject, False, text, "give `rrwatch check` the settings of the service")
    answer = headline(status)
    if status["ready"]:
        text = f"ready, {sum(daemon['sessions'] for daemon in status['daemons'].values())} sessions"
    else:
        text = f"not ready since {answer.since}: {answer.reason}"
    good = bool(status["ready"]) and not is_away(status)
    hint = "see the first failure below" if answer.advice == SEE_CHECK else answer.advice
    return Finding(subject, good, "; ".join((text, *map(_told, answer.notes))), hint)


def _told(note: Note) -> str:
    since = f" since {note.since}" if note.since else ""
    return f"{note.what}{since}{f': {note.reason}' if note.reason else ''}"


def _check_freeze(settings: Settings) -> Iterator[Finding]:
    try:
        standing = FreezeFiles(settings.state_dir, settings.role.baseline()).load()
    except RrwatchError as error:
        hint = "let rrwatch read it; until then BIRD keeps what it has, and `rrwatch thaw` ends that"
        yield Finding("frozen", False, str(error), hint)
        return
    if standing.pending:
        number, until = standing.pending.trial.number, iso(standing.pending.until)
        hint = "`rrwatch confirm` keeps what BIRD runs"
        yield Finding("frozen", True, f"rollback to {number} is undone at {until}, unless confirmed", hint)
    elif standing.frozen:
        until = f" until {iso(standing.frozen.until)}" if standing.frozen.until else ""
        text = f"since {iso(standing.frozen.since)}{until}: {standing.frozen.reason}"
        yield Finding("frozen", True, text, "`rrwatch thaw` lets etcd decide again what BIRD runs")


def _check_user(files: Iterable[Path]) -> Iterator[Finding]:
    who = privileges.name()
    unreadable = [path for path in files if not os.access(path, os.R_OK)]
    for path in unreadable:
        yield Finding("user", False, f"{who} cannot read {path}", f"let the user or one of its groups read {path}")
    if not unreadable:
        yield Finding("user", True, f"checked with the rights of {who}")


def _check_state(settings: Settings) -> Finding:
    subject, folder = f"state {settings.state_dir}", StateFolder(settings.state_dir)
    try:
        folder.require_writable()
    except RrwatchError as error:
        hint = "without it a restart forgets the records in force, and what is held"
        return Finding(subject, False, str(error), hint)
    try:
        folder.load(settings.role.baseline())
    except RrwatchError as error:
        hint = "let rrwatch read it; until then no session ends by itself after a restart"
        return Finding(subject, False, str(error), hint)
    return Finding(subject, True, "can be read and written")


def _check_hook(program: str) -> Finding:
    subject = f"hook_command {program}"
    try:
        path = Path(hook_command.find(program))
    except HookFailed as error:
        hint = f"name a program that {privileges.name()} may execute"
        return Finding(subject, False, str(error).removeprefix(f"{program}: "), hint)
    hidden = next((folder for folder in _HIDDEN_FROM_SERVICE if path.resolve().is_relative_to(folder)), None)
    if hidden and privileges.service_user():
        text = f"is below {hidden}, which the service does not see"
        return Finding(subject, False, text, "move it to a directory such as /usr/local/lib/rrwatch")
    return Finding(subject, True, f"{path} can be executed")


def _check_etcd(settings: Settings, endpoint: str) -> tuple[Finding, dict[str, str] | None]:
    subject, access, model = f"etcd {endpoint}", settings.etcd, settings.role.model
    try:
        client = open_datastore(replace(access, endpoints=(endpoint,)))
        snapshots = [client.list(prefix) for prefix in settings.role.all_prefixes]
    except WrongApi as error:
        fact, _, remedy = str(error).removeprefix(f"{endpoint}: ").partition(": ")
        return Finding(subject, False, fact, remedy), None
    except TransportError as error:
        with_api = " with --enable-v2=true" if access.datastore == "etcdv2" else ""
        hint = f"check that etcd runs there{with_api}, and check address, TLS files and password"
        return Finding(subject, False, str(error).removeprefix(f"{endpoint}: "), hint), None
    items = {key: value for snapshot in snapshots for key, value in snapshot.items.items()}
    if not any(map(model.names.host_of, items)) and (other := _where_keys_are(settings, endpoint)):
        datastore, name = other
        if datastore == access.datastore:
            return Finding(
                subject, False, f"no keys of the model that is set, but of {name}", f"set model to {name}"
            ), None
        text = f"no keys of Calico in {access.datastore}, but in {datastore}, which the same etcd serves"
        then = model if settings.has_own_model else MODELS[MODEL_OF[DatastoreName(datastore)].value]
        hint = f"set datastore to {datastore}{'' if then is MODELS[name] else f' and model to {name}'}"
        return Finding(subject, False, text, hint), None
    counts = ", ".join(f"{len(snapshot.items)} keys below {snapshot.prefix}" for snapshot in snapshots)
    return Finding(subject, True, f"{counts} at index {snapshots[-1].index}"), items


def _where_keys_are(settings: Settings, endpoint: str) -> tuple[str, str] | None:
    """Returns the datastore and the data model, other than those that are set, of which an endpoint has keys."""
    for datastore in sorted(ADAPTERS, key=lambda name: name != settings.etcd.datastore):
        for name, model in MODELS.items():
            with contextlib.suppress(DatastoreError):
                other = open_datastore(replace(settings.etcd, endpoints=(endpoint,), datastore=datastore))
                # The first folder has the nodes, and there is no cluster without nodes.
                if any(map(model.names.host_of, other.list(model.reflector_folders()[0]).items)):
                    return datastore, name
    return None


def _check_sessions(settings: Settings, derived: Derived) -> Finding:
    remarks = f"records: {len(derived.rejected)} rejected, {len(derived.warnings)} with a warning"
    text = f"{len(derived.sessions)} derived; {remarks}"
    hint = "" if derived.sessions else settings.role.advice()
    if derived.rejected or derived.warnings:
        hint = "`rrwatch sessions` shows which, and why"
    return Finding("sessions", True, text, hint)


def _check_passwords(folder: Path, files: Mapping[Path, str]) -> Iterator[Finding]:
    """Checks the directory of passwords.

    Args:
        folder: the directory.
        files: the files of the passwords that sessions ask for, and why each cannot be used; empty if it can.
    """
    subject = f"passwords {folder}"
    if not folder.is_dir():
        yield Finding(subject, False, "is not a directory", "create or mount it, or do not set bgp_passwords")
        return
    if not os.access(folder, os.X_OK):
        yield Finding(
            subject, False, f"{privileges.name()} cannot read it", "let the user or one of its groups read it"
        )
        return
    faults = [fault for fault in files.values() if fault]
    exposed = [path for path in files if _is_exposed(folder, path)]
    if faults:
        text = f"{len(faults)} of {len(files)} passwords cannot be used: {faults[0]}"
        yield Finding(subject, False, text, "`rrwatch sessions` shows which records ask for them")
    if exposed:
        yield Finding(subject, False, f"every user of this host can read {exposed[0]}", f"chmod -R o= {folder}")
    if not faults and not exposed:
        yield Finding(subject, True, f"has the {len(files)} passwords that sessions ask for")


def _is_exposed(folder: Path, path: Path) -> bool:
    """Whether a file can be read by every user who can get into the directory, and everybody can."""
    try:
        modes = [one.stat().st_mode for one in (folder, path.parent, path)]
    except OSError:
        return False
    return all(mode & bit for mode, bit in zip(modes, (0o001, 0o001, 0o004), strict=True))


def _check_templates(
    settings: Settings, found: Derivation, *, known: bool
) -> tuple[list[Finding], Mapping[Target, Rendered]]:
    """Renders the templates, and returns the findings and the configurations, if there are any.

    Args:
        settings: the settings.
        found: what follows from the keys.
        known: whether etcd answered; if it did not, a missing record is no finding.
    """
    try:
        loaded = templates.load(settings.templates)
        desired = Desired(found.topology, found.derived, found.capabilities)
        rendered = render(settings.role, loaded, settings.bird_paths, desired, is_ours)
    except MissingRecord as error:
        hint = "Calico on this node writes it: check that it runs, and that nodename is right"
        return [Finding("sessions", False, str(error), hint)] if known else [], {}
    except RrwatchError as error:
        return [Finding("templates", False, str(error), "correct the template, or remove it from the directory")], {}
    return [Finding("templates", True, f"{settings.templates or 'those that rrwatch comes with'}")], rendered


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
    if _has_exposed_passwords(target.config):
        hint = f"chmod o= {target.config}; BIRD reads the file as its owner or its group"
        return Finding(subject, False, "has passwords, and every user of this host can read it", hint)
    return Finding(subject, True, "can be replaced")


def _has_exposed_passwords(config: Path) -> bool:
    try:
        return bool(config.stat().st_mode & 0o004) and has_passwords(ConfigFile(config).read() or "")
    except (OSError, RrwatchError):
        return False


def _check_bird(target: Target, wanted: Rendered | None, status: Document | None) -> Iterator[Finding]:
    subject = f"{target.name} {target.socket}"
    try:
        with connect(target.socket, Deadline(_BIRD_TIMEOUT, threading.Event())) as bird:
            yield Finding(subject, True, bird.greeting)
            target.require_own(bird.own_file())
            if target.config.exists():
                bird.check(target.config)
                yield Finding(subject, True, f"reads {target.config}")
            else:
                hint = "BIRD would not start without it: `rrwatch run` writes the file"
                yield Finding(subject, False, f"reads {target.config}, which does not exist", hint)
            yield from _check_generation(subject, target, bird, wanted, status)
    except BirdAbsent as error:
        yield Finding(subject, False, str(error), f"start {target.name} with -c {target.config} -s {target.socket}")
    except BirdElsewhere as error:
        yield Finding(subject, False, error.fact, error.remedy)
    except BirdRefused as error:
        hint = f"BIRD must see the file under the same path, and must be allowed to read it: {target.config}"
        yield Finding(subject, False, f"does not accept {target.config}: {error}", hint)
    except RrwatchError as error:
        yield Finding(subject, False, str(error))


def _check_generation(
    subject: str, target: Target, bird: Connection, wanted: Rendered | None, status: Document | None
) -> Iterator[Finding]:
    running = bird.generation()
    daemon = (status or {}).get("daemons", {}).get(target.name, {})
    # Only the running daemon knows of a change between the list above and this question.
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
        hint = "the change is held; see the first line"
    elif daemon.get("refused"):
        hint = "BIRD refuses it; see the first line"
    else:
        hint = "rrwatch is working on it; see `rrwatch status`"
    runs = "a configuration that rrwatch did not write" if running is None else f"generation {running}"
    yield Finding(subject, False, f"runs {runs}, not generation {expected} as wanted", hint)


def _check_log(settings: Settings, target: Target) -> Iterator[Finding]:
    if settings.bird_paths.log:
        return
    try:
        statement = _LOG_STATEMENT.search(ConfigFile(target.config).read() or "")
    except RrwatchError:
        return  # the check of the file reports it
    if not statement and not _SYSLOG.exists():
        text = "its configuration has no `log` statement and there is no syslog: BIRD may log to its console"
        hint = "set bird_log: each line on a slow console takes BIRD 0.5 ms, which is seconds for thousands of sessions"
        yield Finding(f"{target.name} log", True, text, hint)
