"""The records of one datastore. Each key is parsed once, when it changes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import cast

from rrwatch.bgp.topology import Host, HostRecord, Record, Rejected, Topology, host_of_record
from rrwatch.calico.model import DataModel

_Records = Sequence[Record | Rejected]


class RecordStore:
    """The records of every key that has any, and the topology that they form.

    The topology is needed after every change, and a change usually affects one host of thousands. A host without
    changes is the same object in the next topology, so that later steps can skip it by identity.
    """

    def __init__(self, model: DataModel) -> None:
        """Creates an empty store.

        Args:
            model: the data model of the keys.
        """
        self._model = model
        self._records: dict[str, _Records] = {}
        self._by_host: dict[str, dict[str, _Records]] = {}
        self._others: dict[str, _Records] = {}
        self._hosts: dict[str, Host] = {}
        self._stale_hosts: set[str] = set()
        self._topology: Topology | None = None

    @classmethod
    def of(cls, items: Mapping[str, str], model: DataModel) -> "RecordStore":
        """Creates a store with the records of a whole set of keys."""
        store = cls(model)
        store.update(items, items)
        return store

    def update(self, keys: Iterable[str], items: Mapping[str, str]) -> bool:
        """Parses keys again, and returns whether the records of any of them changed.

        Args:
            keys: the keys that changed.
            items: all current keys and values; a key that is not among them was deleted.
        """
        changed = False
        for key in keys:
            records = self._model.parse(key, items[key]) if key in items else ()
            before = self._records.get(key, ())
            if records != before:
                changed = True
                self._forget(key, before)
                self._remember(key, records)
        return changed

    def topology(self) -> Topology:
        """Returns the topology that all records form."""
        if self._stale_hosts:
            self._refresh_hosts()
        if self._topology is None:
            others = chain.from_iterable(self._others.values())
            self._topology = Topology.of(self._hosts, others, self._model.names)
        elif self._topology.hosts is not self._hosts:
            self._topology = replace(self._topology, hosts=self._hosts)
        return self._topology

    def _forget(self, key: str, records: _Records) -> None:
        self._records.pop(key, None)
        for name in _hosts_of(records):
            if name:
                del self._by_host[name][key]
                self._stale_hosts.add(name)
            else:
                del self._others[key]
                self._topology = None

    def _remember(self, key: str, records: _Records) -> None:
        if records:
            self._records[key] = records
        names = _hosts_of(records)
        for name in names:
            of_name = records if len(names) == 1 else [one for one in records if host_of_record(one) == name]
            if name:
                self._by_host.setdefault(name, {})[key] = of_name
                self._stale_hosts.add(name)
            else:
                self._others[key] = of_name
                self._topology = None

    def _refresh_hosts(self) -> None:
        # Each topology has its own mapping: the previous one must not change.
        hosts = dict(self._hosts)
        for name in self._stale_hosts:
            if records := self._by_host.get(name):
                found = cast("Iterable[HostRecord]", chain.from_iterable(records.values()))
                hosts[name] = Host.of(name, found)
            else:
                hosts.pop(name, None)
                self._by_host.pop(name, None)
        if hosts.keys() != self._hosts.keys():
            hosts = {name: hosts[name] for name in sorted(hosts)}
        self._hosts = hosts
        self._stale_hosts.clear()


def _hosts_of(records: _Records) -> set[str | None]:
    """Returns the hosts that records belong to, with None if one belongs to no single host."""
    return {host_of_record(record) for record in records}
