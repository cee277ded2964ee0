"""Who may read, and which etcd serves the v3 API."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from lab.etcd import Etcd
from lab.etcd_v3 import EtcdV3, encoded
from lab.process import wait_until
from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import open_datastore, open_retrying
from rrwatch.datastore.follow import Unreachable
from rrwatch.datastore.port import Datastore, Snapshot
from rrwatch.errors import TransportError, WrongApi
from tests.datastore.conftest import Serve
from tests.datastore.etcd_v3.following import Follow, P, access_to, connect
from tests.datastore.server import Answer, Request, answer

PASSWORD = "pässwörd ✓ :"


class Locked:
    """An etcd with authentication, a user who may do everything, and one who may read below the prefix."""

    def __init__(self, etcd: EtcdV3) -> None:
        self.etcd = etcd
        etcd.put(f"{P}/a", "1")
        for user, role in ("root", "root"), ("reader", "reading"):
            etcd.call("auth/user/add", {"name": user, "password": PASSWORD})
            etcd.call("auth/role/add", {"name": role})
            etcd.call("auth/user/grant", {"user": user, "role": role})
        etcd.call(
            "auth/role/grant",
            {"name": "reading", "perm": {"key": encoded(f"{P}/"), "range_end": encoded(f"{P}0"), "permType": "READ"}},
        )
        self.lock()

    def lock(self) -> None:
        self.etcd.call("auth/enable", {})

    def unlock(self) -> None:
        self.etcd.call("auth/disable", {}, self._token())

    def put(self, key: str, value: str) -> None:
        self.etcd.call("kv/put", {"key": encoded(key), "value": encoded(value)}, self._token())

    def end_tokens(self) -> None:
        """Sets the reader's password again, which ends all tokens."""
        self.etcd.call("auth/user/changepw", {"name": "reader", "password": PASSWORD}, self._token())

    def _token(self) -> str:
        return str(self.etcd.call("auth/authenticate", {"name": "root", "password": PASSWORD})["token"])

    def connect(self, user: str = "reader", password: str = PASSWORD) -> Datastore:
        return open_datastore(self.access(user, password))

    def access(self, user: str = "reader", password: str = PASSWORD) -> Access:
        return access_to(self.etcd.url, username=user, password=password)


@pytest.fixture
def locked(own_etcd: EtcdV3) -> Locked:
    return Locked(own_etcd)


class TestUsers:
    def test_with_a_password(self, locked: Locked) -> None:
        reader, root = locked.connect(), locked.connect("root")
        at = reader.list(P)
        assert at.items == {f"{P}/a": "1"}
        assert reader.probe(P) == at.cluster_id
        assert root.swap(f"{P}/b", None, "2")
        response = reader.watch(P, at.index + 1)
        assert response
        assert response.index == at.index + 1
        assert root.swap(f"{P}/a", "1", None)
        assert root.list(P).items == {f"{P}/b": "2"}

    @pytest.mark.parametrize("call", [lambda client: client.list(P), lambda client: client.watch(P, 2)])
    def test_refused(self, locked: Locked, call: Callable[[Datastore], object]) -> None:
        for client, words in (
            (connect(locked.etcd.url), "user name is empty.*: etcd wants a user: set etcd_username and etcd_password"),
            (locked.connect(password="wrong"), "authentication failed, invalid user ID or password"),
        ):
            with pytest.raises(TransportError, match=words) as caught:
                call(client)
            assert "wrong" not in str(caught.value)
            assert "\n" not in str(caught.value)

    def test_without_the_right(self, locked: Locked) -> None:
        reader = locked.connect()
        for call in (
            lambda: reader.swap(f"{P}/b", None, "2"),
            lambda: reader.list("/calico"),
            lambda: reader.watch("/calico", 2),
            lambda: reader.probe("/calico"),
        ):
            with pytest.raises(TransportError, match="permission denied"):
                call()

    def test_a_token_that_is_out_of_date_is_renewed(self, locked: Locked) -> None:
        client = locked.connect()
        index = client.list(P).index
        locked.end_tokens()
        assert client.list(P).items == {f"{P}/a": "1"}
        locked.end_tokens()
        assert client.watch(P, index + 1, 0.1)
        locked.end_tokens()
        locked.put(f"{P}/b", "2")
        response = client.watch(P, index + 1, 5)  # an open watch does not need one
        assert response
        assert [change.key for change in response.changes] == [f"{P}/b"]

    def test_the_member_restarts(self, own_etcd: EtcdV3, follow: Follow) -> None:
        locked = Locked(own_etcd)
        mirrored = follow(access=locked.access())
        wait_until(lambda: mirrored.count(Snapshot), "the first list")
        own_etcd.kill()
        own_etcd.launch()
        wait_until(own_etcd.serves_version, "etcd", 30)
        wait_until(lambda: _works(lambda: locked.put(f"{P}/b", "2")), "etcd takes writes", 30)
        wait_until(lambda: mirrored.mirror.items == {f"{P}/a": "1", f"{P}/b": "2"}, "the mirror equals etcd")

    def test_authentication_is_switched_off_and_on(self, locked: Locked, follow: Follow) -> None:
        client = locked.connect()
        mirrored = follow(access=locked.access())
        for step, key in (locked.unlock, "b"), (locked.lock, "c"):
            client.list(P)
            step()
            write = locked.put if step == locked.lock else locked.etcd.put
            write(f"{P}/{key}", "1")
            assert f"{P}/{key}" in client.list(P).items
            wait_until(lambda key=key: f"{P}/{key}" in mirrored.mirror.items, "the event")  # type: ignore[misc]
            assert f"{P}/{key}" in locked.connect().list(P).items
        assert mirrored.follower.is_alive()

    def test_with_a_password_while_authentication_is_off(self, etcd: EtcdV3) -> None:
        client = connect(etcd.url, username="reader", password="s3cret")
        index = client.list(P).index
        assert client.swap(f"{P}/a", None, "1")
        response = client.watch(P, index + 1)
        assert response
        assert response.index == index + 1

    def test_a_wrong_password_is_told_in_one_line_and_retried(self, locked: Locked, follow: Follow) -> None:
        mirrored = follow(access=locked.access(password="wrong"))
        wait_until(lambda: mirrored.count(Unreachable) > 2, "several attempts")
        reason = next(event.reason for event in mirrored.events if isinstance(event, Unreachable))
        assert reason.startswith(locked.etcd.url)
        assert "invalid user ID or password" in reason
        assert mirrored.count(Snapshot) == 0


def _works(call: Callable[[], None]) -> bool:
    try:
        call()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("token", [None, 5, "a\r\nX-Header: b", "ä"])
def test_a_damaged_token(serve: Serve, token: object) -> None:
    url = serve(answer("200 OK", json.dumps({"token": token}).encode(), b"")).url
    with pytest.raises(TransportError, match="not an answer of etcd"):
        connect(url, username="reader", password="s3cret").list(P)


class TestTls:
    @pytest.fixture
    def tls_etcd(self, tmp_path: Path, tls: Path, program: str) -> Iterator[EtcdV3]:
        etcd = EtcdV3(tmp_path / "etcd", tls, program=program)
        etcd.start()
        yield etcd
        etcd.stop()

    @pytest.fixture
    def whole(self, tls_etcd: EtcdV3, tls: Path) -> Access:
        return access_to(tls_etcd.url, ca_cert=tls / "ca.pem", cert=tls / "client.pem", key=tls / "client.key")

    def test_with_a_client_certificate(self, tls_etcd: EtcdV3, whole: Access, follow: Follow, tls: Path) -> None:
        assert open_datastore(whole).list(P).items == {}
        mirrored = follow(access=whole)
        wait_until(lambda: mirrored.count(Snapshot), "the first list")
        tls_etcd.put(f"{P}/a", "1")
        mirrored.equals(tls_etcd)
        with pytest.raises(TransportError, match="certificate"):
            open_datastore(replace(whole, cert=None, key=None)).list(P)
        for stranger in tls / "stranger.pem", None:
            client = open_datastore(replace(whole, ca_cert=stranger))
            with pytest.raises(TransportError, match="the certificate cannot be verified"):
                client.list(P)
            with pytest.raises(TransportError, match="the certificate cannot be verified"):
                client.watch(P, 2)

    def test_a_common_name_while_authentication_is_on(
        self, tls_etcd: EtcdV3, whole: Access, tmp_path: Path, tls: Path
    ) -> None:
        Locked(tls_etcd)
        with_user = replace(whole, username="reader", password=PASSWORD)
        assert open_datastore(with_user).list(P).items == {f"{P}/a": "1"}  # that certificate has no common name
        named = _authority(tls).issue_cert("rrwatch.example", common_name="reader")
        named.cert_chain_pems[0].write_to_path(str(tmp_path / "named.pem"))
        named.private_key_pem.write_to_path(str(tmp_path / "named.key"))
        client = open_datastore(replace(with_user, cert=tmp_path / "named.pem", key=tmp_path / "named.key"))
        for call in client.list, lambda prefix: client.watch(prefix, 2):
            with pytest.raises(TransportError, match="accepts no client certificate with a CommonName over HTTP"):
                call(P)


def test_a_server_certificate_that_etcd_cannot_use_as_a_client(serve: Serve) -> None:
    error = 'desc = "transport: authentication handshake failed: remote error: tls: bad certificate"'
    url = serve(answer("503 Service Unavailable", json.dumps({"error": error, "code": 14}).encode(), b"")).url
    for call in connect(url).list, lambda prefix: connect(url).watch(prefix, 2):
        with pytest.raises(TransportError, match=r"bad certificate.*: etcd's gateway uses etcd's own certificate as a"):
            call(P)


def _authority(tls: Path) -> trustme.CA:
    return trustme.CA.from_pem((tls / "ca.pem").read_bytes(), (tls / "ca.key").read_bytes())


class TestWrongApi:
    @pytest.fixture
    def without_gateway(self, tmp_path: Path) -> Iterator[Etcd]:
        """An etcd that serves the v2 API only, as far as HTTP goes."""
        etcd = Etcd(tmp_path / "etcd", flags=["--enable-grpc-gateway=false"])
        etcd.start()
        yield etcd
        etcd.stop()

    def test_an_etcd_without_the_gateway_names_the_flag(self, without_gateway: Etcd) -> None:
        url = without_gateway.url
        client = connect(url)
        for call in (
            lambda: client.list(P),
            lambda: client.watch(P, 2),
            lambda: client.swap(f"{P}/a", None, "1"),
            lambda: client.probe(P),
        ):
            with pytest.raises(WrongApi) as caught:
                call()
            assert re.fullmatch(
                rf"{url}: etcd 3\.4\.[0-9]+ does not serve the v3 API over HTTP: "
                "start it with --enable-grpc-gateway, or with enable-grpc-gateway: true in its configuration file",
                str(caught.value),
            )

    def test_an_etcd_whose_v2_api_has_the_keys(self, without_gateway: Etcd) -> None:
        without_gateway.put(f"{P}/a", "1")
        with pytest.raises(WrongApi, match=r"its v2 API has keys of Calico, set datastore to etcdv2$"):
            connect(without_gateway.url).list(P)

    def test_an_etcd_whose_v3_api_has_the_keys(self, etcd: EtcdV3) -> None:
        etcd.put(f"{P}/a", "1")
        with pytest.raises(
            WrongApi, match=r"does not serve the v2 API: its v3 API has keys of Calico, set datastore to etcdv3$"
        ):
            open_datastore(Access((etcd.url,))).list(P)

    def test_commands_that_run_once_do_not_wait(self, without_gateway: Etcd) -> None:
        with pytest.raises(WrongApi):
            open_retrying(access_to(without_gateway.url), 3600).list(P)

    @pytest.mark.parametrize(
        ("version", "words"),
        [
            ("3.3.27", "rrwatch needs etcd 3.4 or newer"),
            ("3.7.1", "start it with --enable-grpc-gateway"),
            ("x.y", "status 404"),
            (5, "status 404"),
        ],
    )
    def test_a_release_that_is_not_at_hand(self, serve: Serve, version: object, words: str) -> None:
        def reply(request: Request) -> Answer:
            if request.target == "/version":
                return answer("200 OK", json.dumps({"etcdserver": version}).encode(), b"")
            return answer("404 Not Found", b"404 page not found", b"")

        with pytest.raises(TransportError, match=words):
            connect(serve(reply).url).list(P)
