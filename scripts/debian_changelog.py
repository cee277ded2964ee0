"""Prints debian/changelog, made from CHANGELOG.md: `debian_changelog.py VERSION TIME`, the time in seconds since 1970."""

import re
import sys
import textwrap
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAINTAINER = re.findall(r"^Maintainer: (.+)$", (ROOT / "debian/control").read_text(), re.MULTILINE)[0]


def debian_version(version: str) -> str:
    """A version as dpkg orders it: 1.0rc1 comes before 1.0."""
    return re.sub(r"[.]?(a|b|rc|dev)(?=\d)", r"~\1", version)


def main(version: str, seconds: int) -> None:
    """Prints an entry for each release; what is not released yet belongs to the version that is built."""
    sections = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    released = {found[0] for section in sections if (found := re.findall(r"^\[?(\d[^]\s]*)", section))}
    for section in sections:
        title, _, body = section.partition("\n")
        name, _, day = title.replace("[", "").replace("]", "").partition(" - ")
        items = re.findall(r"^[-*] (.*(?:\n {2,}.*)*)", body, re.MULTILINE)
        if name.strip() == "Unreleased":
            if version in released or not items:
                continue
            name = version
        when = datetime.fromtimestamp(seconds, UTC)
        if name != version:
            when = datetime.fromisoformat(day.strip()).replace(tzinfo=UTC)
        print(f"rrwatch ({debian_version(name.strip())}) unstable; urgency=medium\n")
        for item in items:
            print(textwrap.fill(" ".join(item.split()), 80, initial_indent="  * ", subsequent_indent="    "))
        print(f"\n -- {MAINTAINER}  {format_datetime(when)}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
