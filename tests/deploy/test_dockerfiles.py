"""What can be checked of the Dockerfiles without building them; `make test-host` builds and runs the images."""

import json
import re
from pathlib import Path

import pytest

import rrwatch
from tests.deploy.manifests import ROOT, instructions, require_command

DOCKERFILES = [ROOT / "Dockerfile", *sorted((ROOT / "deploy").glob("*/Dockerfile"))]
IDS = [str(file.relative_to(ROOT)) for file in DOCKERFILES]


def test_the_image_says_its_version() -> None:
    labels = next(rest for name, rest in instructions(ROOT / "Dockerfile") if name == "LABEL")
    found = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', labels))
    assert found["version"] == rrwatch.__version__
    assert found.keys() >= {"title", "description", "licenses", "revision"}


def test_it_is_asked_for_its_health_by_a_command_that_it_has() -> None:
    check = dict(instructions(ROOT / "Dockerfile"))["HEALTHCHECK"]
    program, *words = json.loads(check.split("CMD ")[1])
    assert program == "rrwatch"
    require_command(words)


@pytest.mark.parametrize("file", DOCKERFILES, ids=IDS)
def test_base_and_authority_are_the_builders_choice(file: Path) -> None:
    steps = instructions(file)
    assert steps[0] == ("ARG", "BASE=debian:bookworm-slim")
    stages = {rest.split(" AS ")[1] for name, rest in steps if name == "FROM" and " AS " in rest}
    for name, rest in steps:
        if name == "FROM":
            assert rest.split()[0] in {"${BASE}", *stages}
        if name == "RUN" and "$apt" in rest:
            # It is mounted for this step only; the image does not keep it.
            assert rest.startswith("--mount=type=secret,id=ca,target=/run/ca.pem,required=false ")
            assert rest.count("/var/lib/apt/lists/*") == 1 or "python3-venv" in rest


def test_every_index_is_the_builders_choice() -> None:
    steps = instructions(ROOT / "Dockerfile")
    assert ("ARG", "INDEX_URL") in steps
    for name, rest in steps:
        if name == "RUN" and re.search(r"\bpip install\b", rest):
            assert rest.count("pip install") == rest.count('"$INDEX_URL"')


@pytest.mark.parametrize("file", DOCKERFILES, ids=IDS)
def test_what_is_copied_is_there(file: Path) -> None:
    allowed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    for name, rest in instructions(file):
        if name == "COPY" and "--from=" not in rest:
            for source in rest.split()[:-1]:
                assert (file.parent / source).exists()
                assert file.parent != ROOT or source in {*allowed, "."}


def test_the_entry_point_of_bird_can_be_executed() -> None:
    assert (ROOT / "deploy" / "bird" / "start-bird").stat().st_mode & 0o111 == 0o111


def test_all_images_give_the_shared_folders_the_same_rights() -> None:
    made = "install -d -m 2770 -o 10179 -g 10179 /etc/bird /run/bird"
    for file in ROOT / "Dockerfile", ROOT / "deploy" / "bird" / "Dockerfile":
        assert any(made in rest for name, rest in instructions(file) if name == "RUN")
