"""The adapter for etcd's v2 API, through python-etcd with a transport of its own.

python-etcd's transport discards the headers of a watch that timed out, retries by itself, has no limit for a whole
answer, and forgets its endpoints after an outage. So here each endpoint gets a client with one connection, every
request has a deadline, and this module decides which endpoint is asked.

Events of a watch are of two kinds. etcd sends its index C in the headers when it opens the watch. An event up to C
comes from its history, which is complete or says that it is not (error 401). An event above C arrived later, on an open
watch, and may have overtaken others: a member that lags behind and then takes over a snapshot of the leader's store
skips events on open watches. So the adapter does not hand over such an event. It says that nothing happened up to C,
and the next watch, from C + 1, gets the events from the history.
"""

import contextlib
import json
import logging
import re
import urllib.parse
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, TypeVar

import etcd

from rrwatch.datastore import etcd_apis
from rrwatch.datastore.access import Access
from rrwatch.datastore.members import Members
from rrwatch.datastore.mirror import is_below
from rrwatch.datastore.port import Change, Snapshot, WatchResponse
from rrwatch.datastore.rotation import Rotation
from rrwatch.errors import Resync, TransportError, UsageError, WrongApi
from rrwatch.http import Connection, Response, Silence
from rrwatch.reasons import reason_of

_T = TypeVar("_T")

LIST_TIMEOUT = 10.0
"""Seconds without a byte after which a list fails."""

_SETS = frozenset({"set", "create", "update", "compareAndSwap"})
_REMOVES = frozenset({"delete", "expire", "compareAndDelete"})

_KEY_NOT_FOUND = 100
_V2_GONE = (3, 6)
_INDEX = re.compile(r"[0-9]{1,20}")  # 64 bits

_MAX_REASON = 300  # characters

# python-etcd logs every failed request; rrwatch logs when the state changes.
logging.getLogger("etcd").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class _Head:
    """The headers of an answer; they arrive before its body."""

    index: int
    cluster_id: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """A whole answer, as python-etcd expects it."""

    status: int
    headers: Mapping[str, str]
    data: bytearray

    def getheaders(self) -> Mapping[str, str]:
        return self.headers


class EtcdV2(Rotation["_Client"]):
    """A `Datastore` on etcd's v2 API."""

    def __init__(self, access: Access, members: Members) -> None:
        super().__init__(_Client, access, members)

    def list(self, prefix: str) -> Snapshot:
        """Returns all keys below the prefix, by a quorum read (etcd v2 API, "Getting a quorum read")."""
        _require_key(prefix)
        client = self._client
        with _translated(client):
            try:
                items = dict(_leaves(client.get(prefix, LIST_TIMEOUT, recursive="true", quorum="true"), prefix))
            except etcd.EtcdKeyNotFound as error:
                _require_missing(error)
                items = {}
            head = client.head()
            return Snapshot(prefix, items, head.index, head.cluster_id, client.endpoint)

    def watch(self, prefix: str, index: int, timeout: float | None = None) -> WatchResponse | None:
        """Waits for the first event with that index or a higher one (etcd v2 API, "Waiting for a change").

        etcd sends its headers at once. Its own v2 proxy keeps them back until there is an event; then the result is
        None.
        """
        _require_key(prefix)
        client = self._client
        with _translated(client):
            try:
                event = client.wait(prefix, timeout or self._access.watch_timeout, index)
            except Silence:
                if not client.has_answered:
                    return None
                head = client.head()
                return WatchResponse(head.index, head.cluster_id, timed_out=True)
            except etcd.EtcdEventIndexCleared as error:
                raise Resync(f"etcd's history no longer has index {index}") from error
            head = client.head()
            at, changes = _read_event(event, prefix)
            if at < index:
                raise ValueError(f"event {at}, asked for {index}")
            if at > head.index:
                return WatchResponse(head.index, head.cluster_id)
            return WatchResponse(at, head.cluster_id, changes)

    def swap(self, key: str, before: str | None, after: str | None) -> bool:
        """Reads a key, and writes or deletes it at the index that it had (etcd v2 API, "Atomic Compare-and-Swap").

        By the index and not by the value, since etcd does not compare empty values.

        Raises:
            UsageError: etcd would store it under another key, or leave it out of its lists.
        """
        if "/_" in key and after is not None:
            raise UsageError(f"{key!r} cannot be a key: etcd hides names that begin with _")
        _require_key(key)
        client = self._client
        with _translated(client):
            value, index = client.value(key)
            if value in (before, after):
                return value == after or client.replace(key, index, after)
            return False

    def deletes_below(self, prefixes: Sequence[str], index: int) -> bool:  # noqa: ARG002  # the port's signature
        """Returns False: an index deletes one key or one folder, and every watch below that folder gets the event."""
        return False

    def probe(self, prefix: str) -> str:
        """Makes sure that a majority is in touch, by a quorum read of the folder alone; returns the cluster's id."""
        _require_key(prefix)
        client = self._client

        def ask() -> str:
            with _translated(client):
                try:
                    client.get(prefix, LIST_TIMEOUT, quorum="true")
                except etcd.EtcdKeyNotFound as error:
                    _require_missing(error)
                return client.head().cluster_id

        return self._members.prove(client.endpoint, ask)


class _Client(etcd.Client):  # type: ignore[misc]  # python-etcd has no types
    """python-etcd's client for one endpoint, on one connection with deadlines that another thread can shut down."""

    def __init__(self, endpoint: str, access: Access) -> None:
        url = urllib.parse.urlsplit(endpoint)
        super().__init__(
            host=url.hostname,
            port=url.port,
            protocol=url.scheme,
            username=access.username,
            password=access.password,
            allow_reconnect=False,
            allow_redirect=False,
        )
        self.endpoint = endpoint
        self._connection = Connection(endpoint, access.tls)
        self._head: _Head | None = None

    def get(self, key: str, timeout: float, **params: str) -> dict[str, Any]:
        """Reads a key; returns etcd's JSON. `head()` then has the headers of this answer."""
        return _object(self._keys(key, timeout, params, 0))

    def value(self, key: str) -> tuple[str | None, int]:
        """Returns the value of a key and the index that wrote it; None and 0 if there is no such key."""
        try:
            node = _typed(self.get(key, LIST_TIMEOUT, quorum="true").get("node"), dict, "node")
        except etcd.EtcdKeyNotFound as error:
            _require_missing(error)
            return None, 0
        return _text(node.get("value"), f"the value of {key!r:.60}"), _typed(
            node.get("modifiedIndex"), int, "modifiedIndex"
        )

    def replace(self, key: str, index: int, value: str | None) -> bool:
        """Writes a key, or deletes it if the value is None; returns False if it has another index by now.

        Args:
            index: 0 for a key that does not exist.
        """
        try:
            if value is None:
                self.delete(key, prevIndex=index)
            elif index:
                self.write(key, value, prevIndex=index)
            else:
                self.write(key, value, prevExist=False)
        except (etcd.EtcdCompareFailed, etcd.EtcdAlreadyExist):
            return False
        except etcd.EtcdKeyNotFound as error:
            _require_missing(error)
            return False
        return True

    def wait(self, key: str, timeout: float, index: int) -> dict[str, Any]:
        """Waits for an event below a key; returns etcd's JSON. `head()` has the headers, also after a `Silence`.

        Raises:
            Resync: etcd's index is too low for the history to continue. It would be silent up to that index.
        """
        params = {"wait": "true", "recursive": "true", "waitIndex": str(index)}
        return _object(self._keys(key, timeout, params, index - 1))

    @property
    def has_answered(self) -> bool:
        """Whether the headers of the last answer have arrived."""
        return self._head is not None

    def head(self) -> _Head:
        """Returns the headers of the last answer.

        Raises:
            ValueError: they are not etcd's, or did not arrive.
        """
        if self._head is None:
            raise ValueError("no X-Etcd-Index and X-Etcd-Cluster-Id")
        return self._head

    def api_execute(
        self, path: str, method: str, params: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> _Answer:
        """Sends a request; all of python-etcd comes through here. The whole answer arrives in time, or it fails."""
        return self._checked(self._request(path, method, params, timeout or LIST_TIMEOUT, 0))

    def _keys(self, key: str, timeout: float, params: Mapping[str, str], lowest: int) -> _Answer:
        return self._checked(self._request(self.key_endpoint + key, self._MGET, params, timeout, lowest))

    def _checked(self, answer: _Answer) -> _Answer:
        if answer.status == HTTPStatus.NOT_FOUND and not _is_json(answer.data):
            self._require_v2()
        self._handle_server_response(answer)
        return answer

    def _require_v2(self) -> None:
        """Tells an etcd without the v2 API from any other server: every etcd serves /version (etcd API, "Version").

        Raises:
            WrongApi: this is an etcd without the v2 API.
        """
        release = etcd_apis.release(self._connection)
        if not release:
            return
        if etcd_apis.holds_keys(self._connection, "etcdv3"):
            remedy = "its v3 API has keys of Calico, set datastore to etcdv3"
        elif release.number >= _V2_GONE:
            remedy = "it is gone since etcd 3.6, rrwatch needs etcd 3.5 or older with --enable-v2=true for it"
        else:
            remedy = "start it with --enable-v2=true, which is off by default since etcd 3.4"
        raise WrongApi(f"{self.endpoint}: etcd {release.name} does not serve the v2 API: {remedy}")

    def _request(
        self, path: str, method: str, params: Mapping[str, str] | None, timeout: float, lowest: int
    ) -> _Answer:
        self._head = None
        target, form = urllib.parse.quote(path), urllib.parse.urlencode(params or {})
        headers, body = self._get_headers(), None
        if method in (self._MPUT, self._MPOST):
            headers["Content-Type"], body = "application/x-www-form-urlencoded", form
        elif form:
            target += f"?{form}"
        with self._connection.exchange(method, target, timeout=timeout, headers=headers, body=body) as response:
            self._head = _head(response)
            if self._head and self._head.index < lowest:
                raise Resync(f"etcd is at index {self._head.index}, it was at {lowest}")
            try:
                return _Answer(response.status, response.headers, response.read())
            except Silence as error:
                if response.status != HTTPStatus.OK:
                    raise OSError(f"status {response.status} without a body") from error
                raise

    def _get_headers(self) -> dict[str, str]:
        if not self.username:
            return {}
        # python-etcd would encode it as Latin-1, or fail; etcd compares UTF-8.
        credentials = b64encode(f"{self.username}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {credentials}"}

    def cut(self) -> None:
        """Shuts the connection down, whoever uses it."""
        self._connection.cut()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def _require_missing(error: etcd.EtcdKeyNotFound) -> None:
    """Raises the error again unless etcd itself says that the key is missing: python-etcd makes it of any 404."""
    payload = error.payload or {}
    if (payload.get("status"), payload.get("errorCode")) != (HTTPStatus.NOT_FOUND, _KEY_NOT_FOUND):
        raise error


def _require_key(key: str) -> None:
    """Refuses a key that etcd would read as another one: it resolves `.`, `..` and empty names in a path."""
    if not key.startswith("/") or any(name in ("", ".", "..") for name in key[1:].split("/")):
        raise UsageError(f"{key!r} cannot be a key of etcd: want names that are not empty, . or ..")


@contextlib.contextmanager
def _translated(client: _Client) -> Iterator[None]:
    """Turns each way in which python-etcd, the connection or an answer can fail into a TransportError."""
    try:
        yield
    except etcd.EtcdException as error:
        raise _failure(client, f"{error}") from error
    except (OSError, HTTPException) as error:
        raise _failure(client, reason_of(error)) from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _failure(client, f"not an answer of etcd's v2 API: {error}") from error


def _failure(client: _Client, reason: str) -> TransportError:
    """Makes one printable line of it, whatever page a proxy sent."""
    line = " ".join("".join(char if char.isprintable() else " " for char in reason).split())
    return TransportError(f"{client.endpoint}: {line[:_MAX_REASON]}")


def _is_json(body: bytearray) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _object(answer: _Answer) -> dict[str, Any]:
    return _typed(json.loads(answer.data), dict, "the answer")


def _head(response: Response) -> _Head | None:
    index, cluster_id = response.headers.get("X-Etcd-Index", ""), response.headers.get("X-Etcd-Cluster-Id")
    return _Head(int(index), cluster_id) if _INDEX.fullmatch(index) and cluster_id else None


def _typed(value: Any, kind: type[_T], what: str) -> _T:
    if type(value) is not kind:
        raise TypeError(f"{what} is {value!r:.60}")
    return value


def _text(value: Any, what: str) -> str:
    text = _typed(value, str, what)
    if not text.isascii():
        text.encode()  # JSON can hold half of a surrogate pair, a key or value of etcd cannot
    return text


def _leaves(answer: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Yields key and value of everything below a folder. etcd's lists have no hidden names."""
    root = _typed(answer.get("node"), dict, "node")
    if root.get("key") != prefix:
        raise ValueError(f"the key is {root.get('key')!r:.60}, asked for {prefix!r}")
    folders = [root] if _typed(root.get("dir", False), bool, "dir") else []
    while folders:
        folder = folders.pop()
        start = folder["key"] + "/"
        for node in _typed(folder.get("nodes", []), list, "nodes"):
            # Without a call for each check: there are tens of thousands of nodes.
            key, value, is_folder = node.get("key"), node.get("value"), node.get("dir", False)
            if type(key) is not str or not key.startswith(start):
                raise ValueError(f"the key {key!r:.60} is not below {start!r:.60}")
            if is_folder is True:
                folders.append(node)
            elif is_folder is not False or type(value) is not str:
                raise ValueError(f"the value of {key!r:.60} is {value!r:.60}")
            elif value.isascii() and key.isascii():
                yield key, value
            else:
                yield _text(key, "a key"), _text(value, "a value")


def _read_event(event: Mapping[str, Any], prefix: str) -> tuple[int, tuple[Change, ...]]:
    """Returns the index of an event, and what it changes below the prefix: one thing or nothing.

    Raises:
        Resync: the action is not one of the v2 API.
    """
    action, node = _typed(event.get("action"), str, "action"), _typed(event.get("node"), dict, "node")
    key, index = _text(node.get("key"), "a key"), _typed(node.get("modifiedIndex"), int, "modifiedIndex")
    is_folder = _typed(node.get("dir", False), bool, "dir")
    removes = action in _REMOVES
    if not removes and action not in _SETS:
        raise Resync(f"etcd sent an unknown action {action!r:.40}")
    value = None if removes or is_folder else _text(node.get("value"), f"the value of {key!r:.60}")
    above = key == prefix or is_below(prefix, key)
    if _is_hidden(key, prefix) or not (is_below(key, prefix) or (removes and above)):
        return index, ()
    return index, (Change(key, value, subtree=removes, expired=action == "expire"),)


def _is_hidden(key: str, prefix: str) -> bool:
    """Whether a name below the prefix begins with `_`: etcd's lists leave those keys out, and its events do not."""
    return "/_" in key.removeprefix(prefix)
