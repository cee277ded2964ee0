"""Makes debian/changelog from CHANGELOG.md.

    python3 -m scripts.debian_changelog VERSION TIME

VERSION is the one that is built, TIME that of its entry, in seconds since 1970.
"""

import re
import sys
import textwrap
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

_ROOT = Path(__file__).parent.parent


def debian_version(version: str) -> str:
    """The version in the form that dpkg orders right: 1.0rc1 comes before 1.0."""
    return re.sub(r"[.]?(a|b|rc|dev)(?=\d)", r"~\1", version)


def changelog(text: str, version: str, time: datetime, maintainer: str) -> str:
    """Writes one entry per release; what is unreleased belongs to the version that is built.

    Args:
        text: CHANGELOG.md, in the form of keepachangelog.com.
        version: the version that is built.
        time: the time of its entry.
        maintainer: name and address.
    """
    sections: dict[str, tuple[str, list[str]]] = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        name, _, day = (part.strip(" []") for part in title.partition(" - "))
        sections[name] = day, re.findall(r"^[-*] (.*(?:\n {2,}\S.*)*)", body, re.MULTILINE)
    _, unreleased = sections.pop("Unreleased", ("", []))
    if version not in sections:
        sections = {version: ("", unreleased)} | sections

    entries = []
    for name, (day, items) in sections.items():
        when = time if name == version else datetime.fromisoformat(day).replace(tzinfo=UTC)
        lines = [
            textwrap.fill(" ".join(item.split()), 80, initial_indent="  * ", subsequent_indent="    ") for item in items
        ]
        head = f"rrwatch ({debian_version(name)}) unstable; urgency=medium"
        entries.append("\n".join([head, "", *lines, "", f" -- {maintainer}  {format_datetime(when)}", ""]))
    return "\n".join(entries)


if __name__ == "__main__":
    control = (_ROOT / "debian" / "control").read_text()
    sys.stdout.write(
        changelog(
            (_ROOT / "CHANGELOG.md").read_text(),
            sys.argv[1],
            datetime.fromtimestamp(int(sys.argv[2]), UTC),
            re.findall(r"^Maintainer: (.+)$", control, re.MULTILINE)[0],
        )
    )
