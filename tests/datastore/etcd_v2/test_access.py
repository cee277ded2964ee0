"""Who may read, and which etcd serves the v2 API."""

import base64
import json
import re
import urllib.request
from pathlib import Path

import pytest

from lab.etcd import Etcd
from lab.process import wait_until
from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import open_datastore, open_retrying
from rrwatch.datastore.port import Snapshot
from rrwatch.errors import TransportError, WrongApi
from tests.datastore.conftest import Serve
from tests.datastore.etcd_v2.following import Follow, P, access_to
from tests.datastore.server import Answer, Request, answer


def send(url: str, method: str, body: object, credentials: str = "") -> None:
    headers = {"Content-Type": "application/json"}
    if credentials:
        headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=5):
        pass


def test_tls_with_a_client_certificate(tls_etcd: Etcd, tls: Path, follow: Follow) -> None:
    url, ca, cert, key = tls_etcd.url, tls / "ca.pem", tls / "client.pem", tls / "client.key"
    whole = Access((url,), ca, cert, key, watch_timeout=1.0)

    assert open_datastore(whole).list(P).items == {}
    mirrored = follow(access=whole)
    wait_until(lambda: mirrored.count(Snapshot), "the first list")
    tls_etcd.put(f"{P}/a", "1")
    mirrored.equals(tls_etcd)

    with pytest.raises(TransportError, match="certificate"):
        open_datastore(Access((url,), ca)).list(P)
    for stranger in tls / "stranger.pem", None:
        with pytest.raises(TransportError, match="the certificate cannot be verified"):
            open_datastore(Access((url,), stranger, cert, key)).list(P)


@pytest.mark.parametrize("password", ["s3cret", "pässwörd ✓ \u00a0:"])
def test_user_and_password(own_etcd: Etcd, password: str) -> None:
    auth = own_etcd.url + "/v2/auth"
    own_etcd.put(f"{P}/a", "1")
    send(f"{auth}/users/root", "PUT", {"user": "root", "password": password})
    send(f"{auth}/enable", "PUT", {})
    send(f"{auth}/roles/guest", "DELETE", None, f"root:{password}")
    known = open_datastore(Access((own_etcd.url,), username="root", password=password))
    assert known.list(P).items == {f"{P}/a": "1"}
    assert known.swap(f"{P}/b", None, "2")
    assert known.swap(f"{P}/a", "1", None)
    assert known.list(P).items == {f"{P}/b": "2"}
    for access in (access_to(own_etcd.url), Access((own_etcd.url,), username="root", password="wrong")):
        with pytest.raises(TransportError) as caught:
            open_datastore(access).list(P)
        assert "nsufficient credentials" in str(caught.value)
        assert "wrong" not in str(caught.value)


def test_an_etcd_without_the_v2_api_names_the_flag(etcd_without_v2: Etcd) -> None:
    client = open_datastore(access_to(etcd_without_v2.url))
    for ask in (
        lambda: client.list(P),
        lambda: client.watch(P, 1),
        lambda: client.swap(f"{P}/a", None, "1"),
        lambda: client.probe(P),
    ):
        with pytest.raises(TransportError) as caught:
            ask()
        assert re.fullmatch(
            rf"{etcd_without_v2.url}: etcd 3\.4\.[0-9]+ does not serve the v2 API: start it with --enable-v2=true, "
            "which is off by default since etcd 3.4",
            str(caught.value),
        )


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("3.5.30", "start it with --enable-v2=true"),
        ("3.6.0-rc.1", "gone since etcd 3.6, rrwatch needs etcd 3.5 or older"),
        ("10.0.1", "gone since etcd 3.6"),
        ("x.y", "Bad response : 404"),
        (5, "Bad response : 404"),
    ],
)
def test_a_release_that_is_not_at_hand(serve: Serve, version: object, words: str) -> None:
    def reply(request: Request) -> Answer:
        if request.target == "/version":
            return answer("200 OK", json.dumps({"etcdserver": version}).encode(), b"")
        return answer("404 Not Found", b"404 page not found", b"")

    with pytest.raises(TransportError, match=words):
        open_datastore(access_to(serve(reply).url)).list(P)


def test_commands_that_run_once_do_not_wait_for_the_v2_api(etcd_without_v2: Etcd) -> None:
    with pytest.raises(WrongApi):
        open_retrying(access_to(etcd_without_v2.url), 3600).list(P)


def test_commands_that_run_once_ask_every_endpoint_before_they_give_up(etcd_without_v2: Etcd, etcd: Etcd) -> None:
    etcd.put(f"{P}/a", "1")
    for _ in range(4):  # the order is random
        assert open_retrying(Access((etcd_without_v2.url, etcd.url)), 3600).list(P).items == {f"{P}/a": "1"}
