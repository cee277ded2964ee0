"""How the JSON documents of rrwatch begin."""

from datetime import UTC, datetime

import rrwatch


def heading(name: str) -> dict[str, str]:
    """Returns the first members of a document: which one it is, who wrote it, and when, in UTC.

    Args:
        name: of the document; `docs/schema/<name>.schema.json` describes it.
    """
    return {
        "schema": f"rrwatch.{name}/1",
        "version": rrwatch.__version__,
        "now": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
