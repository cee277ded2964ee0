"""Texts of other programs in rrwatch's messages."""

_MAX = 1000  # characters


def quoted(text: str) -> str:
    """Returns a text as a message can have it: on one line, printable, and not too long."""
    text = text.strip()
    printable = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:_MAX])
    return f"{printable}..." if len(text) > _MAX else printable
