"""The images, built once for all tests."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.containers.images import ROOT, Builder, Image

Images = dict[str, Image]

# The CA of a proxy that intercepts TLS, if there is one.
CA = Path("/etc/ssl/certs/ca-certificates.crt")


@pytest.fixture(scope="session")
def builder() -> Iterator[Builder]:
    # Workers of pytest-xdist that get tests of this folder each have images of their own.
    folder = ROOT / ".tools" / "images" / os.environ.get("PYTEST_XDIST_WORKER", "alone")
    folder.mkdir(parents=True, exist_ok=True)
    made = Builder(folder)
    made.remove()  # left by a run that was interrupted
    yield made
    made.remove()


@pytest.fixture(scope="session")
def base(builder: Builder) -> str:
    done = subprocess.run(
        [str(ROOT / "scripts" / "host-tree")], capture_output=True, text=True, timeout=600, check=True
    )
    return builder.base(Path(done.stdout.strip()))


@pytest.fixture(scope="session")
def rrwatch_image(builder: Builder, base: str) -> Image:
    return builder.build("rrwatch", ROOT, base, {"ca": str(CA)})


@pytest.fixture(scope="session")
def birds(builder: Builder, base: str) -> Images:
    """The images of BIRD by release."""
    folder = ROOT / "deploy" / "bird"
    return {
        release: builder.build(f"rrwatch-{package}", folder, base, {}, BIRD=package)
        for release, package in (("1.6", "bird"), ("2", "bird2"))
    }
