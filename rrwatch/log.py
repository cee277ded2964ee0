"""How log lines look: events with fields, for people on a terminal, JSON for machines."""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from rrwatch.settings import LogFormat, LogLevel


def configure(form: LogFormat | None, level: LogLevel, stream: TextIO) -> None:
    """Sends rrwatch's events, and what libraries log, to a stream.

    Args:
        form: None: console where the stream is a terminal, JSON elsewhere.
    """
    if form is None:
        form = LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if form is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, _name_origin],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _first_things_first, renderer],
    )
    handler = logging.StreamHandler(stream)
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


def _name_origin(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:  # noqa: ARG001  # structlog's signature
    record = event.get("_record")
    if record is not None:
        event["logger"] = record.name
    return event


def _first_things_first(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:  # noqa: ARG001  # as above
    """Puts time, level and event before all other fields: that is what a reader of JSON lines looks for."""
    return {**{key: event[key] for key in ("timestamp", "level", "event") if key in event}, **event}


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: object) -> None:  # noqa: ARG001  # Python's
    logging.getLogger("rrwatch").critical("died", exc_info=error)
