"""What can be checked of the Debian package without building it; `make test-host` installs it."""

import re
from datetime import UTC, datetime
from importlib.metadata import Distribution, distribution
from pathlib import Path

from scripts.debian_changelog import changelog, debian_version

ROOT = Path(__file__).parent.parent
MODULES = "usr/lib/rrwatch/"


def included(name: str = "rrwatch") -> dict[str, Distribution]:
    """Returns all packages that rrwatch needs, directly or not."""
    found: dict[str, Distribution] = {}
    names = [name]
    while names:
        for line in distribution(names.pop()).requires or []:
            wanted = re.match(r"[\w.-]+", line)
            # Extras are not installed.
            if wanted and "extra ==" not in line and wanted[0].lower() not in found:
                found[wanted[0].lower()] = distribution(wanted[0])
                names.append(wanted[0])
    return found


def licenses(package: Distribution) -> str:
    """Returns the license that a package declares."""
    names = "License-Expression", "License", "Classifier"
    values = [str(value) for name in names for value in package.metadata.get_all(name) or []]
    return " ".join(value for value in values if not value.startswith(("Programming", "Topic", "Intended")))


def test_the_license_of_every_included_package_is_in_debian_copyright() -> None:
    text = (ROOT / "debian" / "copyright").read_text()
    told = dict(re.findall(rf"^Files: {MODULES}(\w+)/\*\nCopyright:(?:.*\n)+?License: (\S+)$", text, re.MULTILINE))
    needed: dict[str, str] = {}
    for package in included().values():
        parts = {file.parts[0] for file in package.files or [] if file.suffix == ".py" and len(file.parts) > 1}
        needed |= dict.fromkeys(parts - {".."}, licenses(package))
    assert "jinja2" in needed
    assert told.keys() == needed.keys()
    for module, name in told.items():
        assert name.split("-")[0] in needed[module], module
        assert f"\nLicense: {name}\n " in text


def test_versions_are_in_the_order_of_dpkg() -> None:
    assert [debian_version(name) for name in ("1.0", "1.0rc1", "1.0b2", "1.1.dev3")] == [
        "1.0",
        "1.0~rc1",
        "1.0~b2",
        "1.1~dev3",
    ]


def test_the_changelog_in_the_form_of_debian() -> None:
    unreleased = "## [Unreleased]\n\n### Added\n\n- One thing\n  and more.\n"
    text = f"# Changelog\n\n{unreleased}\n## [0.9.0] - 2026-01-02\n\n- Another.\n"
    written = changelog(text, "1.0.0", datetime(2026, 3, 4, tzinfo=UTC), "A <a@example.org>")
    assert written == (
        "rrwatch (1.0.0) unstable; urgency=medium\n\n  * One thing and more.\n\n"
        " -- A <a@example.org>  Wed, 04 Mar 2026 00:00:00 +0000\n\n"
        "rrwatch (0.9.0) unstable; urgency=medium\n\n  * Another.\n\n"
        " -- A <a@example.org>  Fri, 02 Jan 2026 00:00:00 +0000\n"
    )
    assert changelog(text, "0.9.0", datetime(2026, 3, 4, tzinfo=UTC), "A").count("urgency") == 1


def test_both_daemons_of_bird_1_are_started_alike() -> None:
    one, other = (
        (ROOT / "systemd" / f"{name}.service.d" / "10-rrwatch.conf").read_text() for name in ("bird", "bird6")
    )

    def settings(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith("#")]

    for name in ".cfg", ".conf", ".ctl":
        one = one.replace(f"bird{name}", f"bird6{name}")
    assert settings(one.replace("sbin/bird ", "sbin/bird6 ")) == settings(other)
