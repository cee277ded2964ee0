"""The adapter on a real etcd, and on things that are none."""

import base64
import contextlib
import http.server
import json
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.etcd import Etcd
from lab.process import free_port, wait_until
from rrwatch.errors import Resync, TransportError, WrongApi
from rrwatch.etcd import v2
from rrwatch.etcd.access import Access
from rrwatch.etcd.follow import Follower, Heard, Lost, News
from rrwatch.etcd.mirror import Change, Mirror, Snapshot
from rrwatch.etcd.patient import PatientEtcd
from rrwatch.etcd.v2 import EtcdV2

P = "/calico/bgp/v1"


def access_to(*endpoints: str) -> Access:
    """Without waiting long for news."""
    return Access(endpoints, watch_timeout=1.0)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v2, "LIST_TIMEOUT", 2.0)
    monkeypatch.setattr(v2, "CONNECT_TIMEOUT", 1.0)


class Mirrored:
    """A mirror that follows etcd, as the daemon's does."""

    def __init__(self, *endpoints: str, access: Access | None = None) -> None:
        self.mirror = Mirror(P)
        self.news: list[News] = []
        self.follower = Follower(EtcdV2(access or access_to(*endpoints)), P, self._take, 300)
        self.follower.start()

    def _take(self, news: News) -> None:
        if isinstance(news, Snapshot):
            self.mirror.replace(news)
        elif isinstance(news, Change):
            self.mirror.apply(news)
        self.news.append(news)

    def count(self, kind: type) -> int:
        return sum(isinstance(news, kind) for news in self.news)

    def equals(self, etcd: Etcd, seconds: float = 15) -> None:
        wanted = etcd.items(P)
        try:
            wait_until(lambda: dict(self.mirror.items) == wanted, "the mirror equals etcd", seconds)
        except TimeoutError:
            assert self.mirror.items == wanted
        assert self.follower.is_alive()


@pytest.fixture
def follow() -> Iterator[Callable[..., Mirrored]]:
    """Follows etcd until the test is over."""
    made: list[Mirrored] = []

    def follow(*endpoints: str, access: Access | None = None) -> Mirrored:
        made.append(Mirrored(*endpoints, access=access))
        return made[-1]

    yield follow
    for mirrored in made:
        mirrored.follower.stop()
        mirrored.follower.join(5)
        assert not mirrored.follower.is_alive()


Follow = Callable[..., Mirrored]


class TestFollowing:
    def test_prefix_absent_and_then_created(self, etcd: Etcd, follow: Follow) -> None:
        mirrored = follow(etcd.url)
        wait_until(lambda: mirrored.count(Snapshot), "the first list")
        assert mirrored.mirror.items == {}
        etcd.put(f"{P}/a", "1")
        mirrored.equals(etcd)

    def test_everything_that_can_happen_to_keys(self, etcd: Etcd, follow: Follow) -> None:
        etcd.put_all({f"{P}/a": "1", f"{P}/host/n1/x": "2", f"{P}/host/n1/y": "3", f"{P}/host/n10/x": "4"})
        mirrored = follow(etcd.url)
        mirrored.equals(etcd)

        steps: list[Callable[[], object]] = [
            lambda: etcd.delete(f"{P}/host/n1", recursive=True),
            lambda: etcd.put("/calico/bgp/v10/x", "not ours"),
            lambda: etcd.put("/calico/bgp/v1x", "not ours"),
            lambda: etcd.put("/cal/x", "not ours"),
            lambda: etcd.delete("/cal", recursive=True),
            lambda: etcd.put(f"{P}/_hidden/x", "not shown"),
            lambda: etcd.put(f"{P}/deep/_hidden", "not shown"),
            lambda: etcd.put(f"{P}/odd keys/ä #?%41&+", "value ✓"),
            lambda: etcd.put(f"{P}/empty", ""),
            lambda: etcd.ask("PUT", f"{P}/cas", value="1"),
            lambda: etcd.ask("PUT", f"{P}/cas", "?prevValue=1", value="2"),
            lambda: etcd.ask("DELETE", f"{P}/cas", "?prevValue=2"),
            lambda: etcd.ask("POST", f"{P}/queue", value="in order"),
            lambda: etcd.ask("PUT", f"{P}/folder", dir="true"),
            lambda: etcd.put(f"{P}/folder/x", "1"),
            lambda: etcd.ask("PUT", f"{P}/folder", "?prevExist=true", dir="true", ttl="100"),
            lambda: etcd.ask("PUT", f"{P}/a", dir="true"),
            lambda: etcd.put(f"{P}/a/below", "1"),
            lambda: etcd.ask("PUT", f"{P}/brief", value="1", ttl="1"),
            lambda: etcd.ask("PUT", f"{P}/briefly", dir="true", ttl="1"),
            lambda: etcd.put(f"{P}/briefly/x", "1"),
        ]
        for step in steps:
            step()
            mirrored.equals(etcd)
        wait_until(lambda: f"{P}/briefly/x" not in etcd.items(P) and f"{P}/brief" not in etcd.items(P), "expiry")
        mirrored.equals(etcd)
        etcd.delete(P, recursive=True)
        mirrored.equals(etcd)
        etcd.put(f"{P}/again", "1")
        mirrored.equals(etcd)
        etcd.delete("/calico", recursive=True)
        mirrored.equals(etcd)
        etcd.put(f"{P}/again", "2")
        mirrored.equals(etcd)
        assert mirrored.count(Snapshot) == 1

    def test_writes_between_list_and_watch(self, etcd: Etcd) -> None:
        client = EtcdV2(access_to(etcd.url))
        snapshot = client.list(P)
        etcd.put(f"{P}/between", "1")
        watched = client.watch(P, snapshot.index + 1)
        assert watched
        assert watched.change == Change(P, f"{P}/between", "1", False, snapshot.index + 1)

    def test_a_quiet_prefix_on_a_busy_store(self, etcd: Etcd, follow: Follow) -> None:
        mirrored = follow(etcd.url)
        wait_until(lambda: mirrored.count(Snapshot), "the first list")
        for number in range(1500):
            etcd.put("/elsewhere", str(number))
        etcd.put(f"{P}/a", "1")
        mirrored.equals(etcd)

    def test_history_cleared(self, etcd: Etcd) -> None:
        client = EtcdV2(access_to(etcd.url))
        index = client.list(P).index
        for number in range(1100):
            etcd.put("/elsewhere", str(number))
        with pytest.raises(Resync, match=f"no longer has index {index + 1}"):
            client.watch(P, index + 1)

    def test_a_watch_without_news_tells_the_index(self, etcd: Etcd) -> None:
        client = EtcdV2(access_to(etcd.url))
        index = client.list(P).index
        watched = client.watch(P, index + 1)
        assert watched
        assert (watched.index, watched.at) == (index, None)

    def test_through_etcds_own_proxy_a_silence_is_no_loss(self, own_etcd: Etcd, follow: Follow) -> None:
        own_etcd.put(f"{P}/a", "1")
        with own_etcd.proxied() as url:
            client = EtcdV2(access_to(url))
            assert client.watch(P, client.list(P).index + 1) is None

            mirrored = follow(url)
            wait_until(lambda: mirrored.count(Heard) >= 2, "two watches without news")
            own_etcd.put("/elsewhere", "1")
            own_etcd.put(f"{P}/b", "2")
            mirrored.equals(own_etcd)
            assert (mirrored.count(Snapshot), mirrored.count(Lost)) == (1, 0)
            with own_etcd.process.frozen():
                wait_until(lambda: mirrored.count(Lost), "the loss is noticed", 20)
            own_etcd.put(f"{P}/c", "3")
            mirrored.equals(own_etcd)

    def test_put_and_remove(self, etcd: Etcd) -> None:
        client = EtcdV2(access_to(etcd.url))
        client.put(f"{P}/rr_v6/fd00::1", '{"ip": "ä & = %41 +"}')
        assert etcd.items(P) == {f"{P}/rr_v6/fd00::1": '{"ip": "ä & = %41 +"}'}
        client.remove(f"{P}/rr_v6/fd00::1")
        client.remove(f"{P}/rr_v6/fd00::1")
        assert etcd.items(P) == {}

    def test_interrupt_ends_a_watch(self, etcd: Etcd) -> None:
        client = EtcdV2(Access((etcd.url,), watch_timeout=30.0))
        index = client.list(P).index
        threading.Timer(0.3, client.interrupt).start()
        began = time.monotonic()
        with pytest.raises(TransportError):
            client.watch(P, index + 1)
        assert time.monotonic() - began < 10


class TestFaults:
    def test_killed_and_back(self, own_etcd: Etcd, follow: Follow) -> None:
        own_etcd.put(f"{P}/a", "1")
        mirrored = follow(own_etcd.url)
        mirrored.equals(own_etcd)
        own_etcd.kill()
        wait_until(lambda: mirrored.count(Lost), "the loss")
        assert mirrored.mirror.items == {f"{P}/a": "1"}
        own_etcd.start()
        own_etcd.put(f"{P}/b", "2")
        mirrored.equals(own_etcd)

    def test_wiped_with_the_same_token(self, own_etcd: Etcd, follow: Follow) -> None:
        for number in range(20):
            own_etcd.put(f"{P}/{number}", "1")
        mirrored = follow(own_etcd.url)
        mirrored.equals(own_etcd)
        own_etcd.kill()
        own_etcd.wipe()
        own_etcd.start()
        own_etcd.put(f"{P}/new", "1")
        mirrored.equals(own_etcd)

    def test_wiped_with_a_new_token(self, own_etcd: Etcd, follow: Follow) -> None:
        own_etcd.put(f"{P}/a", "1")
        mirrored = follow(own_etcd.url)
        mirrored.equals(own_etcd)
        own_etcd.kill()
        own_etcd.wipe()
        own_etcd.token = "another"
        own_etcd.start()
        for number in range(20):
            own_etcd.put(f"{P}/{number}", "1")
        mirrored.equals(own_etcd)

    def test_restored_from_an_older_backup(self, own_etcd: Etcd, follow: Follow) -> None:
        own_etcd.put(f"{P}/old", "1")
        own_etcd.stop()
        own_etcd.save()
        own_etcd.start()
        for number in range(20):
            own_etcd.put(f"{P}/{number}", "1")
        mirrored = follow(own_etcd.url)
        mirrored.equals(own_etcd)
        own_etcd.kill()
        own_etcd.restore()
        own_etcd.start()
        mirrored.equals(own_etcd)
        own_etcd.put(f"{P}/later", "1")
        mirrored.equals(own_etcd)

    def test_stopped_still_during_a_watch(self, own_etcd: Etcd, follow: Follow) -> None:
        mirrored = follow(own_etcd.url)
        wait_until(lambda: mirrored.count(Snapshot), "the first list")
        with own_etcd.process.frozen():
            wait_until(lambda: mirrored.count(Lost), "the loss is noticed", 20)
        own_etcd.put(f"{P}/a", "1")
        mirrored.equals(own_etcd)

    def test_all_down_and_then_the_other_is_up(self, tmp_path: Path, own_etcd: Etcd, follow: Follow) -> None:
        other = Etcd(tmp_path / "other")
        mirrored = follow(own_etcd.url, other.url)
        wait_until(lambda: mirrored.count(Snapshot), "the first list")
        own_etcd.stop()
        wait_until(lambda: mirrored.count(Lost) > 3, "the outage")
        other.start()
        try:
            other.put(f"{P}/a", "1")
            mirrored.equals(other)
        finally:
            other.stop()


class TestAccess:
    def test_tls_with_a_client_certificate(self, tls_etcd: Etcd, tls: Path, follow: Follow) -> None:
        url, ca, cert, key = tls_etcd.url, tls / "ca.pem", tls / "client.pem", tls / "client.key"
        whole = Access((url,), ca, cert, key, watch_timeout=1.0)

        assert EtcdV2(whole).list(P).items == {}
        mirrored = follow(access=whole)
        wait_until(lambda: mirrored.count(Snapshot), "the first list")
        tls_etcd.put(f"{P}/a", "1")
        mirrored.equals(tls_etcd)

        with pytest.raises(TransportError, match="certificate"):
            EtcdV2(Access((url,), ca)).list(P)
        for stranger in tls / "stranger.pem", None:
            with pytest.raises(TransportError, match="certificate verify failed"):
                EtcdV2(Access((url,), stranger, cert, key)).list(P)

    def test_user_and_password(self, own_etcd: Etcd) -> None:
        auth = own_etcd.url + "/v2/auth"
        own_etcd.put(f"{P}/a", "1")
        send(f"{auth}/users/root", "PUT", {"user": "root", "password": "s3cret"})
        send(f"{auth}/enable", "PUT", {})
        send(f"{auth}/roles/guest", "DELETE", None, "root:s3cret")
        assert EtcdV2(Access((own_etcd.url,), username="root", password="s3cret")).list(P).items == {f"{P}/a": "1"}
        for access in (access_to(own_etcd.url), Access((own_etcd.url,), username="root", password="wrong")):
            with pytest.raises(TransportError) as caught:
                EtcdV2(access).list(P)
            assert "nsufficient credentials" in str(caught.value)
            assert "wrong" not in str(caught.value)


HEADERS = b"X-Etcd-Index: 7\r\nX-Etcd-Cluster-Id: c\r\n"


def answer(status: str, body: bytes, headers: bytes = HEADERS) -> bytes:
    # Those who say it here end the connection: a client that was not told so may well use it again.
    head = b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n" % (status.encode(), len(body))
    return head + headers + b"\r\n" + body


class TestStrangers:
    @pytest.fixture
    def stranger(self) -> Iterator[Callable[..., str]]:
        """Answers every request with the same bytes; -> the URL."""
        with contextlib.ExitStack() as stack:

            def stranger(reply: bytes, pause: float = 0.0) -> str:
                class Handler(http.server.BaseHTTPRequestHandler):
                    def handle(self) -> None:
                        with contextlib.suppress(OSError):
                            self.request.recv(65536)
                            pieces = [reply[place : place + 1] for place in range(len(reply))] if pause else [reply]
                            for piece in pieces:
                                self.request.sendall(piece)
                                time.sleep(pause)

                server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
                server.daemon_threads = True
                threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
                stack.callback(server.server_close)
                stack.callback(server.shutdown)
                return f"http://127.0.0.1:{server.server_address[1]}"

            yield stranger

    @pytest.mark.parametrize(
        ("reply", "words"),
        [
            (answer("200 OK", b""), "not an answer"),
            (answer("200 OK", b"[]"), "not an answer"),
            (answer("200 OK", b'{"node": 5}'), "not an answer"),
            (answer("200 OK", b'{"node": {"dir": true, "nodes": [{"key": 1}]}}'), "not an answer"),
            (answer("200 OK", b'{"node": {"dir": true}}', b""), "no X-Etcd-Index"),
            (
                answer("200 OK", b'{"node": {"dir": true}}', b"X-Etcd-Index: x\r\nX-Etcd-Cluster-Id: c\r\n"),
                "no X-Etcd-Index",
            ),
            (answer("200 OK", b"x" * 50)[:-20], "IncompleteRead"),
            (answer("502 Bad Gateway", b"<html>no</html>", b""), "Bad response"),
            (answer("404 Not Found", b"404 page not found\n", b""), "Bad response"),
            (answer("404 Not Found", b'{"message": "a proxy of some sort"}'), "a proxy of some sort"),
            (answer("404 Not Found", b'{"errorCode": 100, "message": "Key not found"}', b""), "no X-Etcd-Index"),
            (answer("503 Service Unavailable", b"", b"Retry-After: 3600\r\n"), "Bad response"),
            (answer("307 Temporary Redirect", b"", b"Location: http://192.0.2.1/\r\n"), "Bad response"),
            (answer("500 Oops", b'{"errorCode": 300, "message": "Raft Internal Error"}'), "Raft Internal Error"),
            (b"SSH-2.0-OpenSSH\r\n", ""),
            (b"", ""),
        ],
    )
    def test_no_answer_of_etcd_is_an_empty_datastore(
        self, stranger: Callable[..., str], reply: bytes, words: str
    ) -> None:
        url = stranger(reply)
        began = time.monotonic()
        with pytest.raises(TransportError) as caught:
            EtcdV2(access_to(url)).list(P)
        assert words in str(caught.value)
        assert str(caught.value).startswith(url)
        assert "\n" not in str(caught.value)
        assert time.monotonic() - began < 8

    def test_only_etcd_itself_says_that_nothing_is_there(self, stranger: Callable[..., str]) -> None:
        url = stranger(answer("404 Not Found", b'{"errorCode": 100, "message": "Key not found", "index": 7}'))
        assert EtcdV2(access_to(url)).list(P) == Snapshot(P, {}, 7, "c", url)

    def test_an_answer_a_byte_at_a_time_has_an_end(self, stranger: Callable[..., str]) -> None:
        began = time.monotonic()
        with pytest.raises(TransportError):
            EtcdV2(access_to(stranger(answer("200 OK", b"x" * 500), pause=0.1))).list(P)
        assert time.monotonic() - began < 10

    def test_lists_and_probes_ask_a_majority_and_watches_do_not(self) -> None:
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                node = {"action": "set", "node": {"key": f"{P}/a", "dir": True, "modifiedIndex": 7}}
                self.wfile.write(answer("200 OK", json.dumps(node).encode()))

            def log_message(self, *_: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            client = EtcdV2(access_to(f"http://127.0.0.1:{server.server_address[1]}"))
            client.list(P)
            client.probe(P)
            client.watch(P, 7)
            server.shutdown()
        assert asked == [
            f"/v2/keys{P}?recursive=true&quorum=true",
            f"/v2/keys{P}?quorum=true",
            f"/v2/keys{P}?wait=true&recursive=true&waitIndex=7",
        ]

    def test_an_unknown_action_is_no_reason_to_guess(self, stranger: Callable[..., str]) -> None:
        event = {"action": "merge", "node": {"key": f"{P}/a", "value": "1", "modifiedIndex": 7}}
        with pytest.raises(Resync, match="unknown action 'merge'"):
            EtcdV2(access_to(stranger(answer("200 OK", json.dumps(event).encode())))).watch(P, 7)

    def test_nobody_there(self) -> None:
        with pytest.raises(TransportError, match="Connection refused"):
            EtcdV2(access_to(f"http://127.0.0.1:{free_port()}")).list(P)

    def test_a_name_that_does_not_resolve(self) -> None:
        with pytest.raises(TransportError, match=r"no\.such\.host\.invalid:2379"):
            EtcdV2(access_to("http://no.such.host.invalid:2379")).list(P)

    def test_a_port_that_swallows_everything(self) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            client = EtcdV2(access_to(url))
            assert client.watch(P, 7) is None
            for call in client.list, client.probe:
                with pytest.raises(TransportError):
                    call(P)


def send(url: str, method: str, body: object, credentials: str = "") -> None:
    headers = {"Content-Type": "application/json"}
    if credentials:
        headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=5):
        pass


class TestWithoutV2:
    """An etcd that does not serve the v2 API."""

    def test_a_real_one_names_the_flag(self, etcd_without_v2: Etcd) -> None:
        client = EtcdV2(access_to(etcd_without_v2.url))
        for ask in (
            lambda: client.list(P),
            lambda: client.watch(P, 1),
            lambda: client.put(f"{P}/a", "1"),
            lambda: client.remove(f"{P}/a"),
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
    def test_a_release_that_is_not_at_hand(self, version: object, words: str) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path == "/version"
                body = json.dumps({"etcdserver": version}).encode() if found else b"404 page not found"
                self.send_response(200 if found else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            with pytest.raises(TransportError, match=words):
                EtcdV2(access_to(f"http://127.0.0.1:{server.server_address[1]}")).list(P)
            server.shutdown()

    def test_commands_that_ask_once_do_not_wait(self, etcd_without_v2: Etcd) -> None:
        with pytest.raises(WrongApi):
            PatientEtcd(access_to(etcd_without_v2.url), 3600).list(P)

    def test_they_ask_every_endpoint_before(self, etcd_without_v2: Etcd, etcd: Etcd) -> None:
        etcd.put(f"{P}/a", "1")
        for _ in range(4):  # the order is drawn
            assert PatientEtcd(Access((etcd_without_v2.url, etcd.url)), 3600).list(P).items == {f"{P}/a": "1"}
