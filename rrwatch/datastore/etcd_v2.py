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
import itertools
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

import etcd
import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError

from rrwatch.datastore.access import Access
from rrwatch.datastore.members import Members
from rrwatch.datastore.mirror import is_below
from rrwatch.datastore.port import Change, Snapshot, WatchResponse
from rrwatch.errors import Resync, TransportError, WrongApi

CONNECT_TIMEOUT = 5.0
LIST_TIMEOUT = 10.0

_SETS = frozenset({"set", "create", "update", "compareAndSwap"})
_REMOVES = frozenset({"delete", "expire", "compareAndDelete"})

_KEY_NOT_FOUND = 100
_V2_GONE = (3, 6)
_RELEASE = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.[0-9]{1,3}")

_MAX_REASON = 300  # characters

# A peer that disappeared is noticed below HTTP too (tcp(7)).
_SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]

# Both log every failed request; rrwatch logs when the state changes.
for _noisy in ("etcd", "urllib3"):
    logging.getLogger(_noisy).setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class _Head:
    """The headers of an answer; they arrive before its body."""

    index: int
    cluster_id: str


class EtcdV2:
    """A `Datastore` on etcd's v2 API."""

    def __init__(self, access: Access, members: Members) -> None:
        self._access = access
        self._members = members
        self._endpoints = itertools.cycle(members.order)
        self._client = _Client(next(self._endpoints), access)

    @property
    def endpoint(self) -> str:
        """The URL that is asked now."""
        return self._client.endpoint

    def rotate(self) -> None:
        """Moves on to the next endpoint, with a new connection."""
        self._client.close()
        self._client = _Client(next(self._endpoints), self._access)

    def interrupt(self) -> None:
        """Shuts the connection down, which ends a call in another thread."""
        self._client.cut()

    def list(self, prefix: str) -> Snapshot:
        """Returns all keys below the prefix, by a quorum read (etcd v2 API, "Getting a quorum read")."""
        client = self._client
        with _translated(client):
            try:
                node = client.get(prefix, LIST_TIMEOUT, recursive="true", quorum="true")["node"]
                items = dict(_leaves(node, prefix))
            except etcd.EtcdKeyNotFound as error:
                _require_missing(error)
                items = {}
            head = client.head()
            return Snapshot(prefix, items, head.index, head.cluster_id, client.endpoint)

    def watch(self, prefix: str, index: int) -> WatchResponse | None:
        """Waits for the first event with that index or a higher one (etcd v2 API, "Waiting for a change").

        etcd sends its headers at once. Its own v2 proxy keeps them back until there is an event; then the result is
        None.
        """
        client = self._client
        with _translated(client):
            timeout = self._access.watch_timeout
            try:
                event = client.get(prefix, timeout, wait="true", recursive="true", waitIndex=str(index))
            except ReadTimeoutError:
                if not client.has_answered:
                    return None
                head = client.head()
                return WatchResponse(head.index, head.cluster_id, timed_out=True)
            except etcd.EtcdEventIndexCleared as error:
                raise Resync(f"etcd's history no longer has index {index}") from error
            head = client.head()
            at = int(event["node"]["modifiedIndex"])
            if at > head.index:
                return WatchResponse(head.index, head.cluster_id)
            return WatchResponse(at, head.cluster_id, _changes(event, prefix))

    def put(self, key: str, value: str) -> None:
        """Writes a key, and creates the folders above it."""
        with _translated(self._client):
            self._client.write(key, value)

    def remove(self, key: str) -> None:
        """Deletes a key; does nothing if it does not exist."""
        with _translated(self._client), contextlib.suppress(etcd.EtcdKeyNotFound):
            self._client.delete(key)

    def probe(self, prefix: str) -> str:
        """Makes sure that a majority is in touch, by a quorum read of the folder alone; returns the cluster's id."""
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
        url = urllib3.util.parse_url(endpoint)
        super().__init__(
            host=url.host,
            port=url.port,
            protocol=url.scheme,
            username=access.username,
            password=access.password,
            allow_reconnect=False,
            allow_redirect=False,
        )
        self.endpoint = endpoint
        tls: dict[str, Any] = {}
        if url.scheme == "https":
            files = {"ca_certs": access.ca_cert, "cert_file": access.cert, "key_file": access.key}
            tls = {"cert_reqs": "CERT_REQUIRED", **{name: str(path) for name, path in files.items() if path}}
        self._pool = urllib3.connection_from_url(
            endpoint, maxsize=1, block=True, retries=False, socket_options=_SOCKET_OPTIONS, **tls
        )
        self._connection: Any = None
        connect = self._pool.ConnectionCls

        def remembered(*args: Any, **kwargs: Any) -> Any:
            self._connection = connect(*args, **kwargs)
            return self._connection

        self._pool.ConnectionCls = remembered  # type: ignore[assignment]  # the pool only calls it
        self._head: _Head | None = None

    def get(self, key: str, timeout: float, **params: str) -> dict[str, Any]:
        """Reads a key; returns etcd's JSON. `head()` then has the headers of this answer."""
        answer = json.loads(self.api_execute(self.key_endpoint + key, self._MGET, params, timeout).data)
        if not isinstance(answer, dict):
            raise TypeError(f"not an answer of etcd: {answer!r:.80}")
        return answer

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
    ) -> urllib3.BaseHTTPResponse:
        """Sends a request; all of python-etcd comes through here. The whole answer arrives in time, or it fails."""
        response = self._request(path, method, params, timeout or LIST_TIMEOUT)
        if response.status == HTTPStatus.NOT_FOUND and not _is_json(response.data):
            self._require_v2()
        self._handle_server_response(response)
        return response

    def _require_v2(self) -> None:
        """Tells an etcd without the v2 API from any other server: every etcd serves /version (etcd API, "Version").

        Raises:
            WrongApi: this is an etcd without the v2 API.
        """
        version = None
        with contextlib.suppress(HTTPError, OSError, ValueError, LookupError, TypeError):
            answer = json.loads(self._request("/version", self._MGET, None, LIST_TIMEOUT).data)
            version = _RELEASE.match(answer["etcdserver"])
        if version:
            remedy = (
                "it is gone since etcd 3.6, rrwatch needs etcd 3.5 or older with --enable-v2=true"
                if (int(version[1]), int(version[2])) >= _V2_GONE
                else "start it with --enable-v2=true, which is off by default since etcd 3.4"
            )
            raise WrongApi(f"{self.endpoint}: etcd {version[0]} does not serve the v2 API: {remedy}")

    def _request(
        self, path: str, method: str, params: Mapping[str, str] | None, timeout: float
    ) -> urllib3.BaseHTTPResponse:
        self._head = None
        # The read timeout limits a silence; the timer limits an answer that arrives a byte at a time.
        timer = threading.Timer(timeout + CONNECT_TIMEOUT, self.cut)
        timer.daemon = True
        timer.start()
        form: dict[str, Any] = {"encode_multipart": False} if method in (self._MPUT, self._MPOST) else {}
        try:
            response = self._pool.request(
                method,
                path,
                fields=params,
                headers=self._get_headers(),
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=timeout),
                redirect=False,
                preload_content=False,
                **form,
            )
            self._head = _head(response.headers)
            response.read(cache_content=True)
        finally:
            timer.cancel()
        return response

    def cut(self) -> None:
        """Shuts the connection down, whoever uses it."""
        connected = self._connection and self._connection.sock
        if connected:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connection."""
        self._pool.close()
        self.http.clear()


def _require_missing(error: etcd.EtcdKeyNotFound) -> None:
    """Raises the error again unless etcd itself says that the key is missing: python-etcd makes it of any 404."""
    if (error.payload or {}).get("errorCode") != _KEY_NOT_FOUND:
        raise error


@contextlib.contextmanager
def _translated(client: _Client) -> Iterator[None]:
    """Turns each way in which python-etcd, urllib3 or an answer can fail into a TransportError."""
    try:
        yield
    except etcd.EtcdException as error:
        raise _failure(client, f"{error}") from error
    except (HTTPError, HTTPException, OSError) as error:
        raise _failure(client, _plain(error)) from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise _failure(client, f"not an answer of etcd's v2 API: {error}") from error


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _failure(client: _Client, reason: str) -> TransportError:
    """Makes one line of it, whatever page a proxy sent."""
    return TransportError(f"{client.endpoint}: {' '.join(reason.split())[:_MAX_REASON]}")


def _plain(error: Exception) -> str:
    """Returns the error's text without urllib3's wrapping."""
    inner = error
    while (deeper := inner.__cause__ or inner.__context__) and isinstance(deeper, Exception):
        inner = deeper
    return f"{inner}" if isinstance(inner, OSError) and str(inner) else f"{type(error).__name__}: {error}"


def _head(headers: Mapping[str, str]) -> _Head | None:
    index, cluster_id = headers.get("X-Etcd-Index"), headers.get("X-Etcd-Cluster-Id")
    return _Head(int(index), cluster_id) if index and index.isdecimal() and cluster_id else None


def _leaves(root: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Yields key and value of everything below a folder. etcd's lists have no hidden names."""
    folders: list[Sequence[Mapping[str, Any]]] = [[root]]
    while folders:
        for node in folders.pop():
            if node.get("dir"):
                folders.append(node.get("nodes", ()))
            elif is_below(node["key"], prefix):
                yield node["key"], node.get("value", "")


def _changes(event: Mapping[str, Any], prefix: str) -> tuple[Change, ...]:
    """What an event changes below the prefix; v2 has one change for each index, or none.

    Raises:
        Resync: the action is not one of the v2 API.
    """
    action, node = event["action"], event["node"]
    key = node["key"]
    removes = action in _REMOVES
    if not removes and action not in _SETS:
        raise Resync(f"etcd sent an unknown action {action!r}")
    above = key == prefix or is_below(prefix, key)
    if _is_hidden(key, prefix) or not (is_below(key, prefix) or (removes and above)):
        return ()
    if removes:
        return (Change(key, None, subtree=True, expired=action == "expire"),)
    return (Change(key, None if node.get("dir") else node.get("value", "")),)


def _is_hidden(key: str, prefix: str) -> bool:
    """Whether a name below the prefix begins with `_`: etcd's lists leave those keys out, and its events do not."""
    return "/_" in key.removeprefix(prefix)
