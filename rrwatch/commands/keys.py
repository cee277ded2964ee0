"""Reads the keys for commands that need them once, from etcd or from a file."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from rrwatch.bgp.topology import Family
from rrwatch.calico.model import DataModel
from rrwatch.calico.models import MODELS
from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import open_retrying
from rrwatch.datastore.mirror import is_below
from rrwatch.datastore.port import Snapshot
from rrwatch.errors import UnknownKeys, UsageError


def from_file(path: Path) -> dict[str, str]:
    """Reads a flat JSON object of keys and values, as etcd would hold them; null is an empty value.

    Args:
        path: the file, or `-` for standard input.

    Raises:
        UsageError: the file cannot be read, or is not such an object.
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
    return {key: value or "" for key, value in items.items()}


def model_of(items: Mapping[str, str], default: DataModel) -> DataModel:
    """Returns the data model that keys belong to by their names; the default if they belong to none.

    Records of reflectors are the same in all data models, so the newest one that has a key counts.
    """
    return next((model for model in MODELS.values() if any(is_below(key, model.root) for key in items)), default)


def require_sessions(path: Path, items: Mapping[str, str], model: DataModel) -> None:
    """Makes sure that the keys of a file are of that data model.

    Raises:
        UnknownKeys: there are keys, but sessions follow from none of them.
    """
    if items and not any(model.parse(key, value) for key, value in items.items()):
        raise UnknownKeys(
            f"{path}: sessions follow from none of its {len(items)} keys, such as {min(items)!r:.80}: "
            f"want keys as Calico writes them, like {model.names.host_address('NODE', Family.IPV4)}"
        )


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
