"""The records of one etcd, each read once, when its key changes."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

from rrwatch.bgp.calico_v1 import parse
from rrwatch.bgp.topology import Host, HostRecord, Record, Rejected, Topology, host_named_in


class RecordStore:
    """Key -> record, for the keys that say something.

    A topology is asked for after every change, and a change is about one host of thousands: hosts of which nothing has
    changed are the same objects in the next topology, by which others can tell that they have nothing to do.
    """

    def __init__(self) -> None:
        self._records: dict[str, Record | Rejected] = {}
        self._by_host: dict[str, dict[str, HostRecord]] = {}
        self._others: dict[str, Record | Rejected] = {}
        self._hosts: dict[str, Host] = {}
        self._stale_hosts: set[str] = set()
        self._topology: Topology | None = None

    @classmethod
    def of(cls, items: Mapping[str, str]) -> "RecordStore":
        """The records of a whole set of keys."""
        store = cls()
        store.update(items, items)
        return store

    def update(self, keys: Iterable[str], items: Mapping[str, str]) -> bool:
        """Reads those keys again; -> does any of them say something else than before?

        Args:
            keys: what has changed.
            items: key -> value as it is now; a key that is not in it is gone.
        """
        changed = False
        for key in keys:
            record = parse(key, items[key]) if key in items else None
            before = self._records.get(key)
            if record != before:
                changed = True
                self._forget(key, before)
                self._learn(key, record)
        return changed

    def topology(self) -> Topology:
        """What they say together."""
        if self._stale_hosts:
            self._refresh_hosts()
        if self._topology is None:
            self._topology = Topology.of(self._hosts, self._others.values())
        elif self._topology.hosts is not self._hosts:
            self._topology = replace(self._topology, hosts=self._hosts)
        return self._topology

    def _forget(self, key: str, record: Record | Rejected | None) -> None:
        if record is None:
            return
        del self._records[key]
        if name := host_named_in(record):
            del self._by_host[name][key]
            self._stale_hosts.add(name)
        else:
            del self._others[key]
            self._topology = None

    def _learn(self, key: str, record: Record | Rejected | None) -> None:
        if record is None:
            return
        self._records[key] = record
        if name := host_named_in(record):
            self._by_host.setdefault(name, {})[key] = cast("HostRecord", record)
            self._stale_hosts.add(name)
        else:
            self._others[key] = record
            self._topology = None

    def _refresh_hosts(self) -> None:
        # A mapping of its own for each topology: the one before must not change.
        hosts = dict(self._hosts)
        for name in self._stale_hosts:
            if records := self._by_host.get(name):
                hosts[name] = Host.of(name, records.values())
            else:
                hosts.pop(name, None)
                self._by_host.pop(name, None)
        if hosts.keys() != self._hosts.keys():
            hosts = {name: hosts[name] for name in sorted(hosts)}
        self._hosts = hosts
        self._stale_hosts.clear()
