"""Which release an etcd is, and which of its two APIs has Calico's keys: for messages about a wrong choice.

The v2 and the v3 API of one etcd are two stores that know nothing of each other.
"""

import contextlib
import json
import re
from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from rrwatch.http import Connection

TIMEOUT = 10.0
"""Seconds for each question."""

_RELEASE = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.[0-9]{1,3}")
_RANGE = {"key": b"/calico/", "range_end": b"/calico0"}
_ERRORS = (HTTPException, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Release:
    """A release of etcd: its whole name, and the numbers that say what it can do."""

    name: str
    number: tuple[int, int]


def release(connection: Connection) -> Release | None:
    """Returns the release of the etcd behind a connection, or None for any other server (etcd API, "Version")."""
    with contextlib.suppress(*_ERRORS):
        found = _RELEASE.match(_ask(connection, "GET", "/version")["etcdserver"])
        if found:
            return Release(found[0], (int(found[1]), int(found[2])))
    return None


def holds_keys(connection: Connection, datastore: str) -> bool:
    """Returns whether that API serves keys of Calico to anybody; false also if it does not answer."""
    with contextlib.suppress(*_ERRORS):
        if datastore == "etcdv2":
            return bool(_ask(connection, "GET", "/v2/keys/calico")["node"]["nodes"])
        question: dict[str, object] = {name: b2a_base64(key, newline=False).decode() for name, key in _RANGE.items()}
        return bool(_ask(connection, "POST", "/v3/kv/range", question | {"limit": "1", "keys_only": True})["kvs"])
    return False


def _ask(connection: Connection, method: str, target: str, message: Mapping[str, object] | None = None) -> Any:
    body = json.dumps(message) if message else None
    with connection.exchange(method, target, timeout=TIMEOUT, body=body) as response:
        return json.loads(response.read())
