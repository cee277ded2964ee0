"""Runs a real etcd that serves only the v3 API, from any program from 3.4 on."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.etcd import Etcd
from lab.process import captured, wait_until

PROGRAMS = ("etcd", *filter(None, os.environ.get("RRWATCH_TEST_ETCDS", "").split(":")))
"""The etcd that is installed, and the paths in RRWATCH_TEST_ETCDS."""


class EtcdV3(Etcd):
    """One member of etcd, alone or in a cluster, with keys in the v3 API."""

    def __init__(self, folder: Path, *arguments: Any, program: str = "etcd", **others: Any) -> None:
        """Chooses free ports, as `Etcd` does.

        Args:
            folder: for its data and its log.
            arguments, others: as for `Etcd`.
            program: the name or path of etcd.
        """
        super().__init__(folder, *arguments, **others)
        self.program = program

    def version(self) -> tuple[int, ...]:
        """Returns the numbers of its release."""
        name = captured([self.program, "--version"], 30).stdout.split()[2]
        return tuple(map(int, name.split(".")))

    def _program(self) -> list[str]:
        return [self.program, *(["--enable-v2=false"] if self.version() < (3, 6) else [])]

    def start_of_service(self) -> None:
        """Waits until it answers."""
        wait_until(self.answers, f"etcd on {self.url}", 30)

    def call(self, path: str, message: Mapping[str, object], token: str | None = None) -> dict[str, Any]:
        """Sends a request to the JSON gateway, and returns the answer."""
        return self._send("POST", f"{self.url}/v3/{path}", json.dumps(message).encode(), token)

    def put(self, key: str | bytes, value: str | bytes, lease: str = "0") -> None:
        """Writes one key."""
        self.call("kv/put", {"key": encoded(key), "value": encoded(value), "lease": lease})

    def delete(self, key: str | bytes, *, recursive: bool = False) -> None:
        """Deletes a key; or what is below it, in one revision."""
        self.call("kv/deleterange", _below(key) if recursive else {"key": encoded(key)})

    def items(self, prefix: str) -> dict[str, str]:
        """Returns all keys and values below the prefix."""
        kvs = self.call("kv/range", _below(prefix)).get("kvs", [])
        return {decoded(kv["key"]): decoded(kv.get("value", "")) for kv in kvs}

    def apply(self, puts: Mapping[str, str], deletes: tuple[str, ...] = ()) -> None:
        """Writes and deletes in one transaction."""
        operations = [{"requestPut": {"key": encoded(key), "value": encoded(value)}} for key, value in puts.items()]
        gone = [{"requestDeleteRange": {"key": encoded(key)}} for key in deletes]
        self.call("kv/txn", {"success": [*operations, *gone]})

    def revision(self) -> int:
        """Returns the revision of its store."""
        return int(self.call("kv/range", {"key": encoded("/"), "keys_only": True})["header"]["revision"])

    def compact(self, revision: int | None = None) -> None:
        """Removes the history before a revision, by default before the newest one."""
        self.call("kv/compaction", {"revision": str(revision or self.revision()), "physical": True})

    def answers(self) -> bool:
        """Returns whether it answers a read that needs a majority."""
        try:
            self.call("kv/range", {"key": encoded("/")})
        except (OSError, ValueError):
            return False
        return True


def encoded(text: str | bytes) -> str:
    """Returns a key or value as the JSON gateway has it."""
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def decoded(text: str) -> str:
    """Returns the text of a key or value in an answer."""
    return base64.b64decode(text).decode()


def _below(key: str | bytes) -> dict[str, object]:
    start = (key if isinstance(key, bytes) else key.encode()).rstrip(b"/")
    return {"key": encoded(start + b"/"), "range_end": encoded(start + b"0")}
