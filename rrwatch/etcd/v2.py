"""etcd's v2 API through python-etcd, its transport replaced; the only module that knows either.

What python-etcd's own transport lacks: it throws away the headers of a watch that timed out, retries behind one's back,
has no bound on a whole answer, and forgets its endpoints after an outage. So each endpoint gets a client with a
connection of its own, whose every request has a deadline, and which endpoint is asked is decided here.
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

from rrwatch.errors import Resync, TransportError, WrongApi
from rrwatch.etcd.access import Access
from rrwatch.etcd.follow import Watched
from rrwatch.etcd.members import Members
from rrwatch.etcd.mirror import Change, Snapshot, is_below, is_hidden

CONNECT_TIMEOUT = 5.0
LIST_TIMEOUT = 10.0

_SETS = frozenset({"set", "create", "update", "compareAndSwap"})
_REMOVES = frozenset({"delete", "expire", "compareAndDelete"})

_KEY_NOT_FOUND = 100
_V2_GONE = (3, 6)
_RELEASE = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.[0-9]{1,3}")

_MOST_OF_A_REASON = 300  # characters

# A peer that is gone without a word is noticed below HTTP too (tcp(7)).
_SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]

# Both tell of every failed request; rrwatch tells when the state changes.
for _noisy in ("etcd", "urllib3"):
    logging.getLogger(_noisy).setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class _Head:
    """What the headers of an answer say, before its body comes."""

    index: int
    cluster_id: str


class EtcdV2:
    """One user of an etcd cluster; a `Datastore` for one follower."""

    def __init__(self, access: Access, members: Members | None = None) -> None:
        """Connects to nothing yet.

        Args:
            members: of that cluster, as the other users in this process know them.
        """
        self._access = access
        self._members = members or Members(access.endpoints)
        self._endpoints = itertools.cycle(self._members.order)
        self._client = _Client(next(self._endpoints), access)

    @property
    def endpoint(self) -> str:
        """The URL that is asked now."""
        return self._client.endpoint

    def rotate(self) -> None:
        """Goes on to the next endpoint, on a fresh connection."""
        self._client.close()
        self._client = _Client(next(self._endpoints), self._access)

    def interrupt(self) -> None:
        """Cuts the connection, and so ends a call that another thread waits in."""
        self._client.cut()

    def list(self, prefix: str) -> Snapshot:
        """Everything below the prefix, by a quorum read (etcd v2 API, "Getting a quorum read")."""
        client = self._client
        with _translated(client):
            try:
                node = client.get(prefix, LIST_TIMEOUT, recursive="true", quorum="true")["node"]
                items = dict(_leaves(node, prefix))
            except etcd.EtcdKeyNotFound as error:
                # python-etcd makes this of any 404 with JSON in it: only etcd itself can say that nothing is there.
                if (error.payload or {}).get("errorCode") != _KEY_NOT_FOUND:
                    raise
                items = {}
            head = client.head()
            return Snapshot(prefix, items, head.index, head.cluster_id, client.endpoint)

    def watch(self, prefix: str, index: int) -> Watched | None:
        """Waits for the first event with that index or a higher one (etcd v2 API, "Waiting for a change").

        etcd sends its headers at once. Its own v2 proxy keeps them until there is an event: of a silence, None is said.
        """
        client = self._client
        with _translated(client):
            try:
                patience = self._access.watch_timeout
                event = client.get(prefix, patience, wait="true", recursive="true", waitIndex=str(index))
            except ReadTimeoutError:
                if not client.has_answered:
                    return None
                head = client.head()
                return Watched(head.index, head.cluster_id)
            except etcd.EtcdEventIndexCleared as error:
                raise Resync(f"etcd's history no longer has index {index}") from error
            head = client.head()
            at = int(event["node"]["modifiedIndex"])
            return Watched(head.index, head.cluster_id, at, _change(event, prefix, at))

    def put(self, key: str, value: str) -> None:
        """Writes a key; its folders are made where they are missing."""
        with _translated(self._client):
            self._client.write(key, value)

    def remove(self, key: str) -> None:
        """Deletes a key; one that is not there is as good as deleted."""
        with _translated(self._client), contextlib.suppress(etcd.EtcdKeyNotFound):
            self._client.delete(key)

    def probe(self, prefix: str) -> str:
        """Makes sure, by a quorum read of the folder alone, that the majority is heard; -> the cluster's id."""
        client = self._client

        def ask() -> str:
            with _translated(client):
                try:
                    client.get(prefix, LIST_TIMEOUT, quorum="true")
                except etcd.EtcdKeyNotFound as error:
                    if (error.payload or {}).get("errorCode") != _KEY_NOT_FOUND:
                        raise
                return client.head().cluster_id

        return self._members.prove(client.endpoint, ask)


class _Client(etcd.Client):  # type: ignore[misc]  # python-etcd has no types
    """python-etcd's client for one endpoint, on a connection that has deadlines and can be cut."""

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
        make = self._pool.ConnectionCls

        def remembered(*args: Any, **kwargs: Any) -> Any:
            self._connection = make(*args, **kwargs)
            return self._connection

        self._pool.ConnectionCls = remembered  # type: ignore[assignment]  # all that the pool does with it is call it
        self._head: _Head | None = None

    def get(self, key: str, timeout: float, **params: str) -> dict[str, Any]:
        """Reads a key; -> the answer as etcd's JSON has it. `head()` is then that of this answer."""
        answer = json.loads(self.api_execute(self.key_endpoint + key, self._MGET, params, timeout).data)
        if not isinstance(answer, dict):
            raise TypeError(f"not an answer of etcd: {answer!r:.80}")
        return answer

    @property
    def has_answered(self) -> bool:
        """Have the headers of the last answer come?"""
        return self._head is not None

    def head(self) -> _Head:
        """The headers of the last answer.

        Raises:
            ValueError: they are not etcd's, or none have come.
        """
        if self._head is None:
            raise ValueError("no X-Etcd-Index and X-Etcd-Cluster-Id")
        return self._head

    def api_execute(
        self, path: str, method: str, params: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> urllib3.BaseHTTPResponse:
        """python-etcd's one way to the network. Every answer is read whole, or fails, within the timeout."""
        response = self._request(path, method, params, timeout or LIST_TIMEOUT)
        if response.status == HTTPStatus.NOT_FOUND and not _is_json(response.data):
            self._require_v2()
        self._handle_server_response(response)
        return response

    def _require_v2(self) -> None:
        """Tells an etcd without the v2 API from a stranger: /version is there in either case (etcd API, "Version").

        Raises:
            WrongApi: it is an etcd without the v2 API.
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
        # The read timeout bounds a silence; the timer bounds an answer that comes a byte at a time.
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
        """Ends the connection under whoever uses it."""
        line = self._connection and self._connection.sock
        if line:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Gives the connection back to the system."""
        self._pool.close()
        self.http.clear()


@contextlib.contextmanager
def _translated(client: _Client) -> Iterator[None]:
    """Every way in which python-etcd, urllib3 and a strange answer fail is a TransportError here."""
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
    """One line, whatever page a proxy sent."""
    return TransportError(f"{client.endpoint}: {' '.join(reason.split())[:_MOST_OF_A_REASON]}")


def _plain(error: Exception) -> str:
    """urllib3 wraps: what it wrapped says in fewer words what is wrong."""
    inner = error
    while (deeper := inner.__cause__ or inner.__context__) and isinstance(deeper, Exception):
        inner = deeper
    return f"{inner}" if isinstance(inner, OSError) and str(inner) else f"{type(error).__name__}: {error}"


def _head(headers: Mapping[str, str]) -> _Head | None:
    index, cluster_id = headers.get("X-Etcd-Index"), headers.get("X-Etcd-Cluster-Id")
    return _Head(int(index), cluster_id) if index and index.isdecimal() and cluster_id else None


def _leaves(root: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Key and value of everything below a folder; etcd leaves hidden names out itself."""
    folders: list[Sequence[Mapping[str, Any]]] = [[root]]
    while folders:
        for node in folders.pop():
            if node.get("dir"):
                folders.append(node.get("nodes", ()))
            elif is_below(node["key"], prefix):
                yield node["key"], node.get("value", "")


def _change(event: Mapping[str, Any], prefix: str, at: int) -> Change | None:
    """What an event means for the prefix; None where it means nothing.

    Raises:
        Resync: an action that this version of the API does not have.
    """
    action, node = event["action"], event["node"]
    key = node["key"]
    removes = action in _REMOVES
    if not removes and action not in _SETS:
        raise Resync(f"etcd speaks of an unknown action {action!r}")
    above = key == prefix or is_below(prefix, key)
    if is_hidden(key, prefix) or not (is_below(key, prefix) or (removes and above)):
        return None
    if removes:
        return Change(prefix, key, None, True, at)
    return Change(prefix, key, None if node.get("dir") else node.get("value", ""), False, at)
