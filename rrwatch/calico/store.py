"""The records of one datastore, each key read once, when it changes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import cast

from rrwatch.bgp.topology import Host, HostRecord, Record, Rejected, Topology, host_named_in
from rrwatch.calico.model import DataModel

_Records = Sequence[Record | Rejected]


class RecordStore:
    """Key -> records, for the keys that say something.

    A topology is asked for after every change, and a change is about one host of thousands: hosts of which nothing has
    changed are the same objects in the next topology, by which others can tell that they have nothing to do.
    """

    def __init__(self, model: DataModel) -> None:
        """Makes an empty store.

        Args:
            model: what keys and values mean.
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
        """The records of a whole set of keys."""
        store = cls(model)
        store.update(items, items)
        return store

    def update(self, keys: Iterable[str], items: Mapping[str, str]) -> bool:
        """Reads those keys again; -> whether any of them says something else than before.

        Args:
            keys: what has changed.
            items: key -> value as it is now; a key that is not in it is gone.
        """
        changed = False
        for key in keys:
            records = self._model.parse(key, items[key]) if key in items else ()
            before = self._records.get(key, ())
            if records != before:
                changed = True
                self._forget(key, before)
                self._learn(key, records)
        return changed

    def topology(self) -> Topology:
        """What they say together."""
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
        for name in _hosts_named_in(records):
            if name:
                del self._by_host[name][key]
                self._stale_hosts.add(name)
            else:
                del self._others[key]
                self._topology = None

    def _learn(self, key: str, records: _Records) -> None:
        if records:
            self._records[key] = records
        names = _hosts_named_in(records)
        for name in names:
            of_name = records if len(names) == 1 else [one for one in records if host_named_in(one) == name]
            if name:
                self._by_host.setdefault(name, {})[key] = of_name
                self._stale_hosts.add(name)
            else:
                self._others[key] = of_name
                self._topology = None

    def _refresh_hosts(self) -> None:
        # A mapping of its own for each topology: the one before must not change.
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


def _hosts_named_in(records: _Records) -> set[str | None]:
    """The hosts that some records are of; None among them where one is of no single host."""
    return {host_named_in(record) for record in records}
