"""Followers that end with the test, with short timeouts."""

from collections.abc import Iterator

import pytest

from rrwatch import http
from rrwatch.datastore import etcd_v2
from rrwatch.datastore.access import Access
from tests.datastore.etcd_v2.following import Follow, Mirrored


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_v2, "LIST_TIMEOUT", 2.0)
    monkeypatch.setattr(http, "CONNECT_TIMEOUT", 1.0)


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Follows etcd until the test is over."""
    made: list[Mirrored] = []

    def follow(*endpoints: str, access: Access | None = None) -> Mirrored:
        made.append(Mirrored(*endpoints, access=access))
        return made[-1]

    yield follow
    for mirrored in made:
        assert mirrored.follower.end(5)
