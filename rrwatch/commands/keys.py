"""Reads the keys for commands that need them once, from etcd or from a file."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from rrwatch.bgp.topology import Family
from rrwatch.calico.model import DataModel
from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import open_retrying
from rrwatch.datastore.port import Snapshot
from rrwatch.errors import UnknownKeys, UsageError


def from_file(path: Path, model: DataModel) -> dict[str, str]:
    """Reads a flat JSON object of keys and values, as etcd would hold them; null is an empty value.

    Args:
        path: the file, or `-` for standard input.
        model: the data model of the keys.

    Raises:
        UsageError: the file cannot be read, or is not such an object.
        UnknownKeys: there are keys, but sessions follow from none of them.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        items = json.loads(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(items, dict):
        raise UsageError(f"{path} is not a JSON object: want {{key: value, ...}}")
    for key, value in items.items():
        if value is not None and not isinstance(value, str):
            raise UsageError(f"{path}: the value of {key!r} is {value!r:.60}: want a string")
    keys = {key: value or "" for key, value in items.items()}
    if keys and not any(model.parse(key, value) for key, value in keys.items()):
        raise UnknownKeys(
            f"{path}: sessions follow from none of its {len(keys)} keys, such as {min(keys)!r:.80}: "
            f"want keys as Calico writes them, like {model.names.host_address('NODE', Family.IPV4)}"
        )
    return keys


def from_etcd(access: Access, prefixes: Iterable[str], timeout: float) -> dict[str, str]:
    """Returns all keys and values below those folders; see `snapshots`."""
    return {key: value for snapshot in snapshots(access, prefixes, timeout) for key, value in snapshot.items.items()}


def snapshots(access: Access, prefixes: Iterable[str], timeout: float) -> list[Snapshot]:
    """Lists those folders, trying each endpoint until one answers.

    Args:
        timeout: seconds after which no further attempt is started.

    Raises:
        TransportError: none answered.
    """
    etcd = open_retrying(access, timeout)
    return [etcd.list(prefix) for prefix in prefixes]
