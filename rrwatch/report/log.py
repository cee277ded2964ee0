"""Log lines: events with fields, as text for people on a terminal and as JSON for machines.

A thread writes the lines from a queue with a limit, so that nothing in rrwatch waits for whoever reads its standard
error. If the queue is full, lines are dropped and counted.
"""

import logging
import os
import select
import sys
import threading
import time
from collections import deque
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from rrwatch.report.text import visible, visible_lines
from rrwatch.settings.values import LogFormat, LogLevel

CAPACITY = 4 * 1024 * 1024
"""Bytes that wait in the queue at most, except for a single line that is longer."""

FULL_TIMEOUT = 1.0
"""Seconds that logging may wait for room while the queue does not become empty; after that, lines are dropped."""

FLUSH_TIMEOUT = 1.0
"""Seconds that the end of the process may wait until all lines are written."""


def configure(form: LogFormat | None, level: LogLevel, stream: TextIO) -> None:
    """Sends rrwatch's events, and what libraries log, to a stream.

    Args:
        form: the format; if None, console if the stream is a terminal, and JSON otherwise.
        level: the lowest level that is logged.
        stream: a stream with a file descriptor.
    """
    if form is None:
        form = LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render: list[Processor] = (
        [structlog.processors.JSONRenderer()]
        if form is LogFormat.JSON
        else [
            _make_visible,
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, _name_origin],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _put_first_things_first, *render],
    )
    handler = _QueueHandler(LineWriter(stream.fileno()))
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.name)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _log_uncaught


def lines_dropped() -> int:
    """Returns how many log lines were dropped since the start."""
    return sum(handler.writer.dropped for handler in _handlers())


def write(line: str) -> bool:
    """Writes a line that is not an event after what was logged before; returns False if logging is not configured."""
    handlers = _handlers()
    for handler in handlers:
        handler.writer.put(line)
    return bool(handlers)


class LineWriter:
    """Writes lines to a file descriptor in a thread, so that `put` and `flush` take a limited time."""

    def __init__(self, descriptor: int, capacity: int = CAPACITY) -> None:
        """Starts the thread.

        Args:
            descriptor: where the lines go. It may block or not, and may fail for a while.
            capacity: bytes that wait at most, except for a single line that is longer.
        """
        self._descriptor, self._capacity = descriptor, capacity
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._waiting = 0  # bytes in the queue
        self._writing = 0  # lines that the thread has taken
        self._may_wait = FULL_TIMEOUT
        self.dropped = 0
        self._reported = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, text: str) -> None:
        """Adds a line; drops it if there is no room for it soon."""
        line = text.encode(errors="backslashreplace") + b"\n"
        with self._changed:
            # The report of the thread itself must not wait for the thread.
            if threading.current_thread() is not self._thread and not self._wait_for_room(line):
                self.dropped += 1
                return
            self._lines.append(line)
            self._waiting += len(line)
            self._changed.notify_all()

    def flush(self, seconds: float = FLUSH_TIMEOUT) -> None:
        """Waits until all lines are written or dropped, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines and not self._writing, seconds)

    def _wait_for_room(self, line: bytes) -> bool:
        def has_room() -> bool:
            return not self._lines or self._waiting + len(line) <= self._capacity

        # A burst may be faster than the reader, which only a wait can tell from a reader that is stuck.
        if not has_room() and self._may_wait > 0:
            began = time.monotonic()
            self._changed.wait_for(has_room, self._may_wait)
            self._may_wait -= time.monotonic() - began
        return has_room()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._lines))
                # All at once: taking the interpreter's lock for each line would be slower than a burst of lines.
                lines = list(self._lines)
                self._lines.clear()
                self._waiting = 0
                self._writing = len(lines)
                self._changed.notify_all()
            written = self._write(lines)
            with self._changed:
                self._writing = 0
                self.dropped += len(lines) - written
                if not self._lines:
                    self._may_wait = FULL_TIMEOUT
                newly_dropped = self.dropped - self._reported if written else 0
                self._reported += newly_dropped
                self._changed.notify_all()
            if newly_dropped:
                structlog.get_logger("rrwatch").warning("log_lines_dropped", count=newly_dropped)

    def _write(self, lines: list[bytes]) -> int:
        """Writes lines, and returns how many of them were written as a whole: not all if the descriptor fails."""
        rest = memoryview(b"".join(lines))
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                _wait_until_writable(self._descriptor)
            except OSError:  # the pipe has no reader any more, the disk is full...
                break
        written, left = len(lines), len(rest)
        while left > 0:
            written -= 1
            left -= len(lines[written])
        return written


class _QueueHandler(logging.Handler):
    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self.writer = writer

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the handler's lock: the writer has its own, and the thread must not wait for a caller of `put`.
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.writer.put(self.format(record))
        except Exception:  # noqa: BLE001  # as in logging's own handlers
            self.handleError(record)

    def flush(self) -> None:
        """Called by logging at the end of the process."""
        self.writer.flush()


def _handlers() -> list[_QueueHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _QueueHandler)]


def _wait_until_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


def _name_origin(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:  # noqa: ARG001  # structlog's signature
    record = event.get("_record")
    if record is not None:
        event["logger"] = record.name
    return event


def _put_first_things_first(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:  # noqa: ARG001  # as above
    """Puts time, level and event before all other fields, where a reader of JSON lines looks for them."""
    return {**{key: event[key] for key in ("timestamp", "level", "event") if key in event}, **event}


def _make_visible(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:  # noqa: ARG001  # as above
    """Escapes control characters in texts; other values are shown with `repr`, which does so too."""
    return {key: visible_lines(value) if key == "exception" else _visible(value) for key, value in event.items()}


def _visible(value: object) -> object:
    return visible(value) if isinstance(value, str) else value


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: object) -> None:  # noqa: ARG001  # Python's
    logging.getLogger("rrwatch").critical("died", exc_info=error)
