"""Fixtures of the integration tests."""

from collections.abc import Iterator

import pytest

from lab.etcd_v3 import EtcdV3


@pytest.fixture(scope="module")
def _etcd_of_the_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdV3]:
    etcd = EtcdV3(tmp_path_factory.mktemp("etcd"))
    etcd.start()
    yield etcd
    etcd.stop()


@pytest.fixture
def etcd_v3(_etcd_of_the_module: EtcdV3) -> EtcdV3:
    """A running etcd that serves only the v3 API, without Calico's keys, which a test may write to but not stop."""
    _etcd_of_the_module.delete("/calico", recursive=True)
    return _etcd_of_the_module
