"""A time in which nothing is spared; at its end BIRD equals etcd, without another write."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from lab.chaos import Chaos
from lab.process import wait_until

KINDS = 8  # of faults, at least

SEED = int(os.environ.get("RRWATCH_TEST_SEED", "20261123"))


@pytest.mark.parametrize(("datastore", "seconds"), [("etcdv2", 40), ("etcdv3", 40)])
def test_chaos(tmp_path: Path, datastore: str, seconds: float) -> None:
    with contextlib.ExitStack() as stack:
        chaos = Chaos(tmp_path, stack, SEED, datastore=datastore)
        end = time.monotonic() + seconds
        # A slow machine does less in that time: most kinds of faults must have been there all the same.
        while time.monotonic() < end or (len(chaos.done) < KINDS and time.monotonic() < end + 60):
            chaos.act()

        wanted = chaos.end()
        try:
            wait_until(lambda: chaos.bird.sessions() == wanted, "BIRD equal to etcd", 60)
        except TimeoutError as error:
            raise AssertionError(
                f"RRWATCH_TEST_SEED={SEED}, {error}: {chaos.bird.sessions() ^ wanted}\n{chaos.rrwatch.output()}"
            ) from None
        wait_until(lambda: not [path for path in chaos.bird.folder.iterdir() if path.name.startswith(".")], "no litter")
        assert not chaos.rrwatch.all("fault")
        assert len(chaos.done) >= KINDS
