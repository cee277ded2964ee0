"""Text for people."""

from datetime import UTC, datetime


def visible(text: str) -> str:
    """Escapes what is not printable, such as a terminal's escape sequences: a key in etcd can contain any character."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def visible_lines(text: str) -> str:
    """Escapes each line of a text that may have several."""
    return "\n".join(map(visible, text.split("\n")))


def iso(timestamp: float) -> str:
    """Returns a Unix time in ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
