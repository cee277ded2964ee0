"""`rrwatch check`: is everything that rrwatch needs there, and what to do where it is not."""

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.store import RecordStore
from rrwatch.bird.control import connect
from rrwatch.bird.install import ConfigFile
from rrwatch.bird.render import Rendered
from rrwatch.bird.target import Target
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdAbsent, BirdRefused, MissingRecord, RrwatchError, TransportError
from rrwatch.etcd.access import Access
from rrwatch.inspection import grammar_of, would_run
from rrwatch.settings import Settings
from rrwatch.state import StateFolder

_BIRD_TIMEOUT = 10.0  # seconds


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


def check(settings: Settings) -> list[Finding]:
    """Looks at everything; writes nothing that stays, and changes nothing that BIRD runs."""
    return list(_check(settings))


def _check(settings: Settings) -> Iterator[Finding]:
    grammar = grammar_of(settings)
    targets = settings.places.targets(grammar)
    daemons = ", ".join(f"{target.name} with {target.config}" for target in targets)
    yield Finding("settings", True, f"{settings.view.summary()}; BIRD {grammar.value}: {daemons}")
    yield _check_state(settings.state_dir)
    items: dict[str, str] | None = None
    for endpoint in settings.etcd.endpoints:
        finding, listed = _check_etcd(settings.etcd, endpoint, settings.view.all_prefixes)
        items = listed if items is None else items
        yield finding
    topology = RecordStore.of(items or {}).topology()
    derived = settings.view.derive(topology)
    if items is not None:
        yield from _check_sessions(settings, derived)
    rendered: dict[Target, Rendered] = {}
    try:
        rendered = would_run(settings, topology, derived)
        yield Finding("templates", True, f"{settings.templates or 'the shipped ones'}")
    except MissingRecord as error:
        if items is not None:
            yield Finding(
                "sessions", False, str(error), "the node's own Calico writes it: does it run, under this name?"
            )
    except RrwatchError as error:
        yield Finding("templates", False, str(error), "correct the template, or take it out of the folder")
    active = settings.view.families(topology)
    for target in (target for target in targets if set(target.families) & set(active)):
        yield _check_folder(target)
        yield from _check_bird(target, rendered.get(target) if items is not None else None)


def _check_etcd(access: Access, endpoint: str, prefixes: Iterable[str]) -> tuple[Finding, dict[str, str] | None]:
    from rrwatch.etcd.v2 import EtcdV2  # noqa: PLC0415  # slow to import; most commands do without

    subject = f"etcd {endpoint}"
    try:
        client = EtcdV2(replace(access, endpoints=(endpoint,)))
        snapshots = [client.list(prefix) for prefix in prefixes]
    except TransportError as error:
        hint = "is etcd running there, with --enable-v2=true, and do address, TLS files and password fit?"
        return Finding(subject, False, str(error).removeprefix(f"{endpoint}: "), hint), None
    counts = ", ".join(f"{len(snapshot.items)} keys below {snapshot.prefix}" for snapshot in snapshots)
    items = {key: value for snapshot in snapshots for key, value in snapshot.items.items()}
    return Finding(subject, True, f"{counts} at index {snapshots[-1].index}"), items


def _check_sessions(settings: Settings, derived: Derived) -> Iterator[Finding]:
    remarks = f"records: {len(derived.rejected)} rejected, {len(derived.warnings)} with a warning"
    text = f"{len(derived.sessions)} derived; {remarks}"
    hint = "" if derived.sessions else settings.view.advice()
    if derived.rejected or derived.warnings:
        hint = "`rrwatch sessions` tells which and why"
    yield Finding("sessions", True, text, hint)


def _check_state(folder: Path) -> Finding:
    subject = f"state {folder}"
    try:
        StateFolder(folder).require_writable()
    except RrwatchError as error:
        hint = "without it a restart forgets which nodes there were, and what is held"
        return Finding(subject, False, str(error), hint)
    return Finding(subject, True, "can be written")


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
        hint = f"let the user {os.geteuid()} or one of its groups write in {target.config.parent}"
        return Finding(subject, False, f"cannot be replaced: {error.strerror}", hint)
    return Finding(subject, True, "can be replaced")


def _check_bird(target: Target, wanted: Rendered | None) -> Iterator[Finding]:
    subject = f"{target.name} {target.socket}"
    try:
        with connect(target.socket, Deadline(_BIRD_TIMEOUT, threading.Event())) as bird:
            yield Finding(subject, True, bird.greeting)
            if target.config.exists():
                bird.check(target.config)
                yield Finding(subject, True, f"reads {target.config}")
            if wanted:
                running = bird.generation()
                text = f"runs generation {running}, wanted is {wanted.generation}"
                hint = "`rrwatch run` or `rrwatch once` will change that" if running != wanted.generation else ""
                yield Finding(subject, True, text, hint)
    except BirdAbsent as error:
        yield Finding(subject, False, str(error), f"start {target.name} with -c {target.config} -s {target.socket}")
    except BirdRefused as error:
        hint = f"BIRD must see the file under the same path, and be allowed to read it: {target.config}"
        yield Finding(subject, False, f"does not accept {target.config}: {error}", hint)
    except RrwatchError as error:
        yield Finding(subject, False, str(error))
