"""The adapter for etcd's v3 API, through the JSON gateway that every etcd from 3.4 on serves beside gRPC.

A list is read in pages of one revision R, linearizably: a majority confirms it. A watch then stays open between calls,
on a connection of its own. What makes it complete:

- It starts at R, and what it brings up to R is dropped. A watch that starts at a revision which was just compacted
  misses deletions in some releases; one that starts below it is refused (etcd issue 18089).
- The position is the revision of the last event. The revision in the header of a line is the store's, and may be ahead
  of what was sent.
- The index that a call asks for confirms everything before it. A revision is kept until then, so it can be asked for
  again.
- The header `hasleader` makes etcd end a watch on a member that has lost its leader, after about three seconds.
- A member that hangs, or a dead connection, is silent like a quiet prefix. The follower's probe, a read on the other
  connection, tells them apart; a watch that is silent for `SILENCE_MAX` is opened again.

The API does not tell why a key was deleted: a lease that ran out looks like any deletion.
"""

import binascii
import contextlib
import itertools
import json
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, TypeVar

from rrwatch.datastore import etcd_apis
from rrwatch.datastore.access import Access
from rrwatch.datastore.members import Members
from rrwatch.datastore.port import Change, Snapshot, WatchResponse
from rrwatch.datastore.rotation import Rotation
from rrwatch.datastore.stream import Refused, Stream
from rrwatch.errors import Resync, TransportError, UsageError, WrongApi
from rrwatch.http import DURATION_MAX, SIZE_MAX, Connection, Silence
from rrwatch.reasons import reason_of

_T = TypeVar("_T")

LIST_TIMEOUT = 10.0
"""Seconds without a byte after which a page of a list, or a write, fails. A member without a leader takes 7 s."""

PROBE_TIMEOUT = 5.0
"""Seconds for a read that proves a majority."""

OPEN_TIMEOUT = 5.0
"""Seconds for etcd to confirm a watch; it does so at once."""

SILENCE_MAX = 60.0
"""Seconds without a line after which a watch is opened again, at the next call."""

PAGE = 10_000
"""Keys in one answer."""

_NUMBER = re.compile(r"[0-9]{1,20}")  # 64 bits
_OLDEST = (3, 4)
_MAX_REASON = 300  # characters

_NO_TOKEN = ("invalid auth token", "user name is empty", "auth store is old")
_AUTH_IS_OFF = "authentication is not enabled"
_COMPACTED = "required revision has been compacted"

_HINTS = {
    "user name is empty": "etcd wants a user: set etcd_username and etcd_password",
    "permission denied": "grant the user the keys below that prefix",
    "CommonName of client": "while authentication is on, etcd accepts no client certificate with a CommonName over "
    "HTTP: use one without",
    "authentication handshake failed": "etcd's gateway uses etcd's own certificate as a client: it must allow "
    "clientAuth too",
}


class _Unauthenticated(TransportError):
    """The token is missing or no longer valid."""


class EtcdV3(Rotation["_Client"]):
    """A `Datastore` on etcd's v3 API."""

    def __init__(self, access: Access, members: Members) -> None:
        super().__init__(_Client, access, members)

    def list(self, prefix: str) -> Snapshot:
        """Returns all keys below the prefix, from pages of one revision (etcd v3 API, "Range")."""
        _require_key(prefix)
        client = self._client
        with _translated(client):
            items, head = client.range(prefix)
            return Snapshot(prefix, items, head.revision, head.cluster_id, client.endpoint)

    def watch(self, prefix: str, index: int, timeout: float | None = None) -> WatchResponse | None:
        """Waits for the first revision from that index on, on a watch that stays open for the next call."""
        _require_key(prefix)
        with _translated(self._client):
            return self._client.watch(prefix, index, timeout or self._access.watch_timeout)

    def deletes_below(self, prefixes: Sequence[str], index: int) -> bool:
        """Whether there were more keys before that revision than after it; see `Datastore.deletes_below`."""
        counts = [{**_range_below(prefix), "count_only": True} for prefix in prefixes]
        before, after = (
            [{"request_range": {**count, "revision": str(revision)}} for count in counts]
            for revision in (index - 1, index)
        )
        with _translated(self._client):
            try:
                answer = self._client.ask("/v3/kv/txn", {"success": [*before, *after]}, LIST_TIMEOUT)
            except TransportError as error:
                if _COMPACTED in str(error):
                    return True
                raise
            found = [_count(response) for response in _typed(answer.get("responses"), list, "responses")]
        earlier, later = found[: len(counts)], found[len(counts) :]
        return any(one > other for one, other in zip(earlier, later, strict=True))

    def probe(self, prefix: str) -> str:
        """Makes sure that a majority is in touch, by a linearizable read of one key; returns the cluster's id."""
        _require_key(prefix)
        client = self._client

        def ask() -> str:
            with _translated(client):
                # Users may be allowed to read what is below the prefix, and nothing else.
                question = {"key": _encoded(f"{prefix}/"), "keys_only": True}
                return _head(client.ask("/v3/kv/range", question, PROBE_TIMEOUT)).cluster_id

        return self._members.prove(client.endpoint, ask)

    def swap(self, key: str, before: str | None, after: str | None) -> bool:
        """Reads a key, and writes or deletes it at the revision that it had (etcd v3 API, "Txn").

        By the revision and not by the value, which need not be text.
        """
        _require_key(key)
        client = self._client
        with _translated(client):
            value, revision = client.value(key)
            if value in (before, after):
                return value == after or client.replace(key, revision, after)
            return False


@dataclass(frozen=True, slots=True)
class _Head:
    """The header of an answer."""

    revision: int
    cluster_id: str


class _Client:
    """One endpoint: a connection for requests, one for a watch, and the token of the user."""

    def __init__(self, endpoint: str, access: Access) -> None:
        self.endpoint = endpoint
        self._access = access
        self._connection = Connection(endpoint, access.tls)
        self._watch: _Watch | None = None
        self._token: str | None = None  # empty if etcd wants none

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Closes both connections."""
        self._connection.close()
        self._close_watch()

    def cut(self) -> None:
        """Shuts both connections down, whoever uses them."""
        self._connection.cut()
        watch = self._watch
        if watch:
            watch.close()

    def ask(self, target: str, message: Mapping[str, object], timeout: float) -> dict[str, Any]:
        """Sends a request; returns the JSON of the answer. A token that is out of date is renewed once."""
        return self._answer(target, message, timeout)[0]

    def range(self, prefix: str) -> tuple[dict[str, str], _Head]:
        """Returns what is below the prefix, and the header of the first page: its revision is that of all pages."""
        start, end = f"{prefix}/".encode(), f"{prefix}0".encode()  # "0" follows "/" in ASCII
        items: dict[str, str] = {}
        head, size, give_up_at = None, 0, time.monotonic() + DURATION_MAX
        while True:
            question: dict[str, object] = {"key": _base64(start), "range_end": _base64(end), "limit": str(PAGE)}
            if head:
                question["revision"] = str(head.revision)
            answer, received = self._answer("/v3/kv/range", question, LIST_TIMEOUT)
            found = _head(answer)
            head = head or found
            if found.cluster_id != head.cluster_id or found.revision < head.revision:
                raise ValueError("two pages of a list are from different clusters, or from different histories")
            last = _read_page(answer, start, end, items)
            if not _typed(answer.get("more", False), bool, "more"):
                return items, head
            if last is None:
                raise ValueError("more is true on an empty page")
            start, size = last + b"\0", size + received
            if size > SIZE_MAX or time.monotonic() > give_up_at:
                raise OSError(f"given up after {len(items)} keys: the list is too large or too slow")

    def value(self, key: str) -> tuple[str | None, int]:
        """Returns the value of a key and the revision that wrote it; None and 0 if there is no such key."""
        answer = self.ask("/v3/kv/range", {"key": _encoded(key)}, LIST_TIMEOUT)
        _head(answer)
        for kv in _typed(answer.get("kvs", []), list, "kvs"):
            return _decoded(kv.get("value", "")), _number(kv.get("mod_revision"), "mod_revision")
        return None, 0

    def replace(self, key: str, revision: int, value: str | None) -> bool:
        """Writes a key, or deletes it if the value is None; returns False if it has another revision by now.

        Args:
            revision: 0 for a key that does not exist.
        """
        name = _encoded(key)
        condition = {"key": name, "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
        if value is None:
            request: dict[str, object] = {"request_delete_range": {"key": name}}
        else:
            request = {"request_put": {"key": name, "value": _encoded(value)}}
        answer = self.ask("/v3/kv/txn", {"compare": [condition], "success": [request]}, LIST_TIMEOUT)
        _head(answer)
        return _typed(answer.get("succeeded", False), bool, "succeeded")

    def watch(self, prefix: str, index: int, timeout: float) -> WatchResponse:
        """Waits for the first revision from that index on; see `Datastore.watch`."""
        if self._watch and not self._watch.continues(prefix, index):
            self._close_watch()
        watch = self._watch or self._open(prefix, index)
        try:
            response = watch.wait(index, timeout)
        except BaseException:
            self._close_watch()
            raise
        if watch.is_silent():
            self._close_watch()
        return response

    def _open(self, prefix: str, index: int) -> "_Watch":
        for attempt in itertools.count():
            watch = self._watch = _Watch(self.endpoint, self._access, self._headers(), prefix, index)
            try:
                watch.open()
            except _Unauthenticated:
                self._close_watch()
                if attempt or not self._access.username:
                    raise
                self._authenticate()
            except Refused as error:
                self._close_watch()
                raise self._refusal(error.status, error.body) from error
            except BaseException:
                self._close_watch()
                raise
            else:
                return watch
        raise AssertionError

    def _close_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch:
            watch.close()

    def _answer(self, target: str, message: Mapping[str, object], timeout: float) -> tuple[dict[str, Any], int]:
        """Returns the JSON of an answer, and its size in bytes."""
        try:
            return self._exchange(target, message, timeout, self._headers())
        except _Unauthenticated:
            if not self._access.username:
                raise
        self._authenticate()
        return self._exchange(target, message, timeout, self._headers())

    def _exchange(
        self, target: str, message: Mapping[str, object], timeout: float, headers: Mapping[str, str]
    ) -> tuple[dict[str, Any], int]:
        body = json.dumps(message)
        with self._connection.exchange("POST", target, timeout=timeout, headers=headers, body=body) as response:
            data = response.read()
        if response.status != HTTPStatus.OK:
            raise self._refusal(response.status, data)
        return _typed(json.loads(data), dict, "the answer"), len(data)

    def _headers(self) -> dict[str, str]:
        if self._access.username and self._token is None:
            self._authenticate()
        headers = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}
        # Some releases refuse a token while authentication is off.
        return headers | {"Authorization": self._token} if self._token else headers

    def _authenticate(self) -> None:
        """Gets a token (etcd v3 API, "Authenticate")."""
        self._token = ""
        question = {"name": self._access.username, "password": self._access.password}
        try:
            answer, _ = self._exchange("/v3/auth/authenticate", question, LIST_TIMEOUT, self._headers())
        except TransportError as error:
            if _AUTH_IS_OFF in str(error):
                return
            self._token = None
            raise
        token = _typed(answer.get("token"), str, "the token")
        if not token.isascii() or not token.isprintable():
            raise ValueError("the token has characters that no header may have")
        self._token = token

    def _refusal(self, status: int, body: bytes | bytearray) -> TransportError:
        """Makes an error of an answer whose status is not 200."""
        try:
            reason = _reason(json.loads(body))
        except (ValueError, RecursionError):
            reason = ""
            if status == HTTPStatus.NOT_FOUND:
                self._require_gateway()
        return _error(self.endpoint, reason or f"status {status}: {bytes(body).decode(errors='replace')}")

    def _require_gateway(self) -> None:
        """Tells an etcd without the gateway from any other server: every etcd serves /version.

        Raises:
            WrongApi: this is an etcd that does not serve the v3 API over HTTP.
        """
        release = etcd_apis.release(self._connection)
        if not release:
            return
        if etcd_apis.holds_keys(self._connection, "etcdv2"):
            remedy = "its v2 API has keys of Calico, set datastore to etcdv2"
        elif release.number < _OLDEST:
            remedy = "rrwatch needs etcd 3.4 or newer for that"
        else:
            remedy = "start it with --enable-grpc-gateway, or with enable-grpc-gateway: true in its configuration file"
        raise WrongApi(f"{self.endpoint}: etcd {release.name} does not serve the v3 API over HTTP: {remedy}")


class _Watch:
    """An open watch, which hands over one revision at a time (etcd v3 API, "Watch streams")."""

    def __init__(self, endpoint: str, access: Access, headers: Mapping[str, str], prefix: str, index: int) -> None:
        """Sends the request; `open` waits for the answer."""
        self._endpoint, self._prefix = endpoint, prefix
        self._cluster_id = ""
        self._confirmed = index - 1  # everything up to it has been taken
        self._ready: deque[tuple[int, tuple[Change, ...]]] = deque()
        self._fragments: list[Any] = []
        self._fragments_size = 0
        create = {
            **_range_below(prefix),
            "start_revision": str(max(1, index - 1)),
            "progress_notify": True,
        }
        body = json.dumps({"create_request": create})
        self._stream = Stream(Connection(endpoint, access.tls), "/v3/watch", headers, body, OPEN_TIMEOUT)

    def close(self) -> None:
        """Closes the connection; any thread may do so."""
        self._stream.close()

    def open(self) -> None:
        """Waits for etcd's confirmation.

        Raises:
            Resync: this history has not come as far as the watch begins, or has been compacted beyond it.
        """
        first = self._result(self._stream.line(OPEN_TIMEOUT + 1))  # the stream itself gives up first
        if first.get("created") is not True:
            raise ValueError("the watch begins with something else than its confirmation")
        head = _head(first)
        self._cluster_id = head.cluster_id
        if head.revision < self._confirmed:
            raise Resync(f"etcd is at revision {head.revision}, it was at {self._confirmed}")
        self._take(first, 0)

    def continues(self, prefix: str, index: int) -> bool:
        """Whether this watch has everything below the prefix from that index on."""
        return prefix == self._prefix and index > self._confirmed

    def is_silent(self) -> bool:
        """Whether nothing has arrived for so long that the connection may be dead."""
        return not self._ready and time.monotonic() > self._stream.heard_at + SILENCE_MAX

    def wait(self, index: int, timeout: float) -> WatchResponse:
        """Waits for the first revision from that index on; everything before it counts as taken."""
        self._confirmed = index - 1
        end = time.monotonic() + timeout
        while True:
            while self._ready and self._ready[0][0] < index:
                self._ready.popleft()
            if self._ready:
                revision, changes = self._ready[0]
                return WatchResponse(revision, self._cluster_id, changes)
            left = end - time.monotonic()
            try:
                line = self._stream.line(left) if left > 0 else None
            except Silence:
                line = None
            if line is None:
                return WatchResponse(index - 1, self._cluster_id, timed_out=True)
            self._take(self._result(line), len(line))

    def _result(self, line: bytearray) -> dict[str, Any]:
        """Returns the message in a line.

        Raises:
            Resync: the history is compacted, or the line comes from another cluster.
            TransportError: etcd has ended the watch.
        """
        message = _typed(json.loads(line), dict, "the answer")
        if "error" in message:
            raise _error(self._endpoint, _reason(message) or "the watch failed")
        result = _typed(message.get("result"), dict, "result")
        canceled = _typed(result.get("canceled", False), bool, "canceled")
        reason = _typed(result.get("cancel_reason", ""), str, "cancel_reason")
        if canceled or "compact_revision" in result:
            if "compact_revision" in result or "compacted" in reason:
                raise Resync(f"etcd's history no longer has revision {self._confirmed}")
            raise _error(self._endpoint, reason or "etcd ended the watch")
        header = _typed(result.get("header"), dict, "header")
        if self._cluster_id and header.get("cluster_id") != self._cluster_id:
            raise Resync(f"the watch was answered by cluster {header.get('cluster_id')!r:.40}")
        return result

    def _take(self, result: Mapping[str, Any], size: int) -> None:
        """Takes the events of a line, as whole revisions. Older ones may come again; `wait` drops them."""
        self._fragments += _typed(result.get("events", []), list, "events")
        self._fragments_size += size
        if _typed(result.get("fragment", False), bool, "fragment"):
            if self._fragments_size > SIZE_MAX:
                raise OSError(f"a revision has more than {SIZE_MAX // 2**20} MiB")
            return
        events, self._fragments, self._fragments_size = self._fragments, [], 0
        read = [_read_event(event, self._prefix) for event in events]
        for revision, group in itertools.groupby(read, lambda event: event[0]):
            self._ready.append((revision, tuple(change for _, change in group if change)))


@contextlib.contextmanager
def _translated(client: _Client) -> Iterator[None]:
    """Turns each way in which a connection or an answer can fail into a TransportError."""
    try:
        yield
    except (OSError, HTTPException) as error:
        raise _error(client.endpoint, reason_of(error)) from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _error(client.endpoint, f"not an answer of etcd's v3 API: {error}") from error


def _error(endpoint: str, reason: str) -> TransportError:
    """Makes one printable line of it, whatever page a proxy sent, with a hint if there is one."""
    line = " ".join("".join(char if char.isprintable() else " " for char in reason).split())
    hints = [hint for text, hint in _HINTS.items() if text in line]
    kind = _Unauthenticated if any(text in line for text in _NO_TOKEN) else TransportError
    return kind(": ".join([endpoint, line[:_MAX_REASON], *hints[:1]]))


def _reason(message: Any) -> str:
    """Returns the reason in an error of the gateway, whose form depends on the release."""
    error = _typed(message, dict, "the answer")
    inner = error.get("error", "")
    text = inner.get("message") if isinstance(inner, dict) else error.get("message", inner)
    return text if isinstance(text, str) else ""


def _require_key(key: str) -> None:
    if not key.startswith("/"):
        raise UsageError(f"{key!r} cannot be a key of Calico's: want one that begins with /")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{key!r} cannot be a key: it is not Unicode text") from None


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _encoded(text: str) -> str:
    return _base64(text.encode())


def _range_below(prefix: str) -> dict[str, object]:
    return {"key": _encoded(f"{prefix}/"), "range_end": _encoded(f"{prefix}0")}  # "0" follows "/" in ASCII


def _count(response: Any) -> int:
    found = _typed(_typed(response, dict, "a response").get("response_range"), dict, "response_range")
    return _number(found.get("count", "0"), "count")


def _typed(value: Any, kind: type[_T], what: str) -> _T:
    if type(value) is not kind:
        raise TypeError(f"{what} is {value!r:.60}")
    return value


def _number(value: Any, what: str) -> int:
    if not _NUMBER.fullmatch(_typed(value, str, what)):
        raise ValueError(f"{what} is {value!r:.60}")
    return int(value)


def _head(answer: Mapping[str, Any]) -> _Head:
    header = _typed(answer.get("header"), dict, "header")
    # Its decimal form: that of etcd's v2 API is hexadecimal, and names another store.
    cluster_id = str(_number(header.get("cluster_id"), "cluster_id"))
    revision = _number(header.get("revision"), "revision")
    if not revision:
        raise ValueError("the revision is 0")
    return _Head(revision, cluster_id)


def _read_page(answer: Mapping[str, Any], start: bytes, end: bytes, items: dict[str, str]) -> bytes | None:
    """Adds the keys of a page; returns the last one."""
    last = None
    for kv in _typed(answer.get("kvs", []), list, "kvs"):
        # Without a call for each check: there are tens of thousands of keys.
        raw, value = binascii.a2b_base64(kv.get("key"), strict_mode=True), kv.get("value", "")
        if not start <= raw < end or (last is not None and raw <= last):
            raise ValueError(f"the key {raw!r:.60} is out of order, or was not asked for")
        last = raw
        with contextlib.suppress(UnicodeDecodeError):  # such a key is left out
            items[raw.decode()] = _decoded(value)
    return last


def _decoded(value: Any) -> str:
    """Returns the text of a value. It need not be text: a record whose value is none is rejected later."""
    return binascii.a2b_base64(value, strict_mode=True).decode(errors="backslashreplace") if value else _empty(value)


def _empty(value: Any) -> str:
    return _typed(value, str, "a value")


def _read_event(event: Any, prefix: str) -> tuple[int, Change | None]:
    """Returns the revision of an event and its change; no change if the key is not text.

    Raises:
        Resync: its type is not one of the v3 API.
    """
    kind, kv = event.get("type", "PUT"), _typed(event.get("kv"), dict, "kv")
    revision = _number(kv.get("mod_revision"), "mod_revision")
    raw = binascii.a2b_base64(_typed(kv.get("key"), str, "a key"), strict_mode=True)
    if not raw.startswith(f"{prefix}/".encode()):
        raise ValueError(f"the key {raw!r:.60} was not asked for")
    if kind not in ("PUT", "DELETE"):
        raise Resync(f"etcd sent an event of an unknown type {kind!r:.40}")
    value = _decoded(kv.get("value", "")) if kind == "PUT" else None
    try:
        return revision, Change(raw.decode(), value)
    except UnicodeDecodeError:
        return revision, None
