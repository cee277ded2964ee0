"""Hooks: a command and a URL that are told of some log events, without the daemon ever waiting for them.

Each has a queue with a limit and a thread of its own, so that one that hangs delays only its own later events.
"""

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

import rrwatch
from rrwatch.errors import HookFailed
from rrwatch.report.hook_command import CommandSink
from rrwatch.report.hook_url import UrlSink
from rrwatch.report.text import visible
from rrwatch.settings.values import HookSettings

SCHEMA = "rrwatch.event/1"
"""Names the form of an event's JSON object."""

CAPACITY = 100
"""Events that wait for a hook at most. If another one comes, the oldest is dropped."""

STOP_TIMEOUT = 5.0
"""Seconds that the end of rrwatch waits for events that hooks have not taken yet."""

DONE, FAILED, DROPPED = "done", "failed", "dropped"
_CANCEL_TIMEOUT = 1.0  # seconds for a hook that is cancelled
_REASON_MAX = 500  # characters

Event = Mapping[str, Any]
"""A log event: its name as `event`, and its fields."""

Counts = Mapping[tuple[str, str], int]
"""Numbers of events, by the name of the sink and DONE, FAILED or DROPPED."""


class Sink(Protocol):
    """Something that takes events, one at a time."""

    name: str

    def deliver(self, event: str, document: str) -> None:
        """Hands over one event, within a time that the sink has.

        Args:
            event: the name of the event.
            document: the event as one JSON object, ASCII without line ends.

        Raises:
            HookFailed: it was not taken.
        """

    def cancel(self) -> None:
        """Makes a delivery in another thread fail soon; there will be no other one."""


class Hooks:
    """Tells sinks of events."""

    def __init__(self, sinks: Sequence[Sink] = (), events: frozenset[str] = frozenset(), viewer: str = "") -> None:
        """Prepares a queue for each sink.

        Args:
            sinks: have names that differ.
            events: names of the events that they are told of.
            viewer: the role of this host, for people.
        """
        self._queues = [_Queue(sink) for sink in sinks]
        self._events = events
        self._origin = {"version": rrwatch.__version__, "viewer": viewer, "host": socket.gethostname()}

    @classmethod
    def of(cls, settings: HookSettings, viewer: str) -> "Hooks":
        """Creates the hooks that are set."""
        sinks: list[Sink] = []
        if settings.command:
            sinks.append(CommandSink(settings.command, settings.timeout))
        if settings.url:
            sinks.append(UrlSink(settings.url, settings.timeout))
        return cls(sinks, frozenset(event.value for event in settings.events), viewer)

    def start(self) -> None:
        """Starts a thread for each sink. Events that come earlier wait for it."""
        for one in self._queues:
            one.start()

    def tell(self, event: Event) -> None:
        """Queues an event if the sinks are told of such. It does not wait, and does not raise."""
        name = event.get("event")
        if name not in self._events or not self._queues:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"schema": SCHEMA, "event": name, "time": now, **self._origin}
        document = head | {field: value for field, value in event.items() if field not in head}
        for one in self._queues:
            one.put(document)

    def stop(self, seconds: float = STOP_TIMEOUT) -> None:
        """Waits so long for the events that are left, drops the others, and ends the threads."""
        end = time.monotonic() + seconds
        for one in self._queues:
            one.close()
        for one in self._queues:
            one.wait(end - time.monotonic())
        for one in self._queues:
            one.cancel()
        for one in self._queues:
            one.join(_CANCEL_TIMEOUT)

    def counts(self) -> Counts:
        """Returns what has become of events since the start."""
        return {(one.name, result): number for one in self._queues for result, number in one.counts().items()}


class _Queue:
    """The events that wait for one sink, and the thread that hands them over."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self.name = sink, sink.name
        self._changed = threading.Condition()
        self._waiting: deque[Event] = deque()
        self._is_busy = self._is_closed = self._is_cancelled = False
        self._counts = dict.fromkeys((DONE, FAILED, DROPPED), 0)
        self._reported = 0  # of those that were dropped
        self._thread = threading.Thread(target=self._run, name=f"hook {sink.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, document: Event) -> None:
        with self._changed:
            if self._is_closed:
                self._counts[DROPPED] += 1
                return
            if len(self._waiting) >= CAPACITY:
                self._waiting.popleft()
                self._counts[DROPPED] += 1
            self._waiting.append(document)
            self._changed.notify_all()

    def counts(self) -> Mapping[str, int]:
        with self._changed:
            return dict(self._counts)

    def close(self) -> None:
        """Takes no more events."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Waits until all events are handed over, at most so long."""
        if self._thread.is_alive():
            with self._changed:
                self._changed.wait_for(lambda: not self._waiting and not self._is_busy, max(0.0, seconds))

    def cancel(self) -> None:
        """Drops what is left, the event that is being handed over included."""
        with self._changed:
            self._counts[DROPPED] += len(self._waiting)
            self._waiting.clear()
            self._is_cancelled = True
        self._sink.cancel()

    def join(self, seconds: float) -> None:
        """Waits for the end of the thread, at most so long, and reports what was dropped."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        with self._changed:
            if self._is_busy:  # the thread is stuck, and ends with the process
                self._counts[DROPPED] += 1
        self._report_dropped()

    def _run(self) -> None:
        while document := self._next():
            self._report_dropped()
            result = self._deliver(document)
            with self._changed:
                self._counts[result] += 1
                self._is_busy = False
                self._changed.notify_all()

    def _next(self) -> Event | None:
        """Waits for the next event, and returns it; None if there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            self._is_busy = bool(self._waiting)
            return self._waiting.popleft() if self._waiting else None

    def _deliver(self, document: Event) -> str:
        event = str(document["event"])
        try:
            self._sink.deliver(event, json.dumps(document, default=str))
        except Exception as error:  # noqa: BLE001  # a defect must not end the thread; it is logged
            if self._is_cancelled:
                return DROPPED
            reason = str(error) if isinstance(error, HookFailed) else repr(error)
            structlog.get_logger("rrwatch").warning(
                "hook_failed", hook_event=event, sink=self.name, reason=visible(reason)[:_REASON_MAX]
            )
            return FAILED
        return DONE

    def _report_dropped(self) -> None:
        with self._changed:
            new = self._counts[DROPPED] - self._reported
            self._reported += new
        if new:
            structlog.get_logger("rrwatch").warning("hooks_dropped", sink=self.name, count=new)
