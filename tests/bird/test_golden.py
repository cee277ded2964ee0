"""Keys and the exact configurations that follow from them, each checked by the real program."""

import json
import re
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, RELEASES
from rrwatch.commands import render
from rrwatch.settings.model import settings_of
from rrwatch.settings.table import SETTINGS

GOLDEN = Path(__file__).parent.parent / "golden"
SCENARIOS = sorted(path.parent for path in GOLDEN.glob("*/keys.json"))


BIRDS = {"1.6": [BIRD1], "2": [release for release in RELEASES if release is not BIRD1]}
EACH = [pytest.param(path, version, id=f"{path.name}-{version}") for path in SCENARIOS for version in BIRDS]


def rendered(scenario: Path, version: str) -> dict[str, str]:
    """Returns the text of each file, by its name."""
    given = json.loads((scenario / "settings.json").read_text()) | {"bird_version": version}
    settings = settings_of(
        {setting.name: setting.parse(given[setting.name]) for setting in SETTINGS if setting.name in given}
    )
    items = json.loads((scenario / "keys.json").read_text())
    return {path.name: text for path, text in render.configurations(settings, items).items()}


def statements(text: str) -> list[str]:
    """Returns the statements of a configuration with the blocks that contain them, sorted."""
    text = re.sub(r"#[^\n]*", "", text)
    found, around = [], []
    for statement, end in re.findall(r"([^;{}]*)([;{}])", text):
        words = " ".join(statement.split())
        if end == "{":
            around.append(words)
        elif end == "}":
            around.pop()
        elif words:
            found.append(" / ".join([*around, words]))
    return sorted(found)


@pytest.mark.parametrize(("scenario", "version"), EACH)
def test_to_the_letter(scenario: Path, version: str, request: pytest.FixtureRequest) -> None:
    texts = rendered(scenario, version)
    folder = scenario / version
    if request.config.getoption("--write-golden"):
        folder.mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)

    assert texts == {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize(("scenario", "version"), EACH)
def test_bird_takes_it(scenario: Path, version: str) -> None:
    for release in BIRDS[version]:
        for config in (scenario / version).iterdir():
            text = config.read_text()
            if "onlink" not in text or release is BIRD2:  # not every BIRD 3 has it
                assert release.refuses(config) == ""


def test_same_statements_as_the_original_reflector() -> None:
    original = statements((GOLDEN / "walkthrough-reflector" / "document.cfg").read_text())
    ours = statements(rendered(GOLDEN / "walkthrough-reflector", "1.6")["bird.cfg"])

    # The original logged everything; rrwatch does so if global/loglevel says so.
    original[original.index("template bgp bgp_template / debug all")] = "template bgp bgp_template / debug off"
    (marker,) = (statement for statement in ours if statement.startswith("define "))
    assert ours == sorted([*original, marker])


def test_same_statements_as_the_original_node() -> None:
    original = statements((GOLDEN / "walkthrough-node" / "document.cfg").read_text())
    ours = statements(rendered(GOLDEN / "walkthrough-node", "1.6")["bird.cfg"])

    # The original included two other files, whose content is part of the one file.
    included = [
        "filter calico_ipip / accept",
        "filter calico_pools / calico_aggr()",
        "filter calico_pools / if ( net ~ 192.168.0.0/16 ) then / accept",
        "filter calico_pools / reject",
        "function calico_aggr () / if ( net = 192.168.0.0/26 ) then / accept",
        "function calico_aggr () / if ( net ~ 192.168.0.0/26 ) then / reject",
        "protocol static / route 192.168.0.0/26 blackhole",
    ]
    for include in 'include "bird_aggr.cfg"', 'include "bird_ipam.cfg"':
        original.remove(include)
    (marker,) = (statement for statement in ours if statement.startswith("define "))
    assert ours == sorted([*original, *included, marker])


def test_everything_is_there_to_be_compared() -> None:
    assert statements("a { b 1; c { d; } } # x;\ne;") == ["a / b 1", "a / c / d", "e"]
    assert len(SCENARIOS) == 7
    assert all(BIRDS.values())
