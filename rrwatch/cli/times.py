"""Times and durations as people read them on a terminal. Pure."""

from datetime import UTC, datetime


def parsed(time: str) -> datetime:
    """Returns a time in ISO 8601 as UTC.

    Raises:
        ValueError: it is none.
    """
    return datetime.fromisoformat(time).astimezone(UTC)


def clock(time: str, now: datetime) -> str:
    """Returns a time without the day if that is today, else without the seconds; a text that is no time as it is."""
    try:
        moment = parsed(time)
    except ValueError:  # another program may have written an entry of the history
        return time
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%m-%d %H:%M}"


def duration(seconds: float) -> str:
    """Returns a duration in its largest unit, such as `3 d`."""
    for unit, size in ("d", 86400), ("h", 3600), ("min", 60):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
