"""A second datastore serves everything that uses one, once the factory knows it."""

from ipaddress import IPv4Address

import pytest

from lab.process import wait_until
from rrwatch.bgp.topology import AsNumber
from rrwatch.commands import keys
from rrwatch.commands.records import Records
from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import ADAPTERS, open_datastore
from rrwatch.datastore.folders import Folders
from rrwatch.datastore.follow import DatastoreEvent, Follower
from rrwatch.datastore.port import Change, Changes, Snapshot
from rrwatch.errors import TransportError
from rrwatch.settings.values import DatastoreName
from tests.datastore.memory import MemoryDatastore
from tests.keys import CLUSTER, PREFIX

ACCESS = Access((MemoryDatastore.endpoint,), datastore="memory")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> MemoryDatastore:
    """A datastore with the walkthrough's keys, which the factory opens for `ACCESS`."""
    datastore = MemoryDatastore()
    monkeypatch.setitem(ADAPTERS, "memory", lambda: lambda *_: datastore)
    datastore.commit(*(Change(key, value) for key, value in CLUSTER.items()))
    return datastore


def test_the_default_is_etcd_v2() -> None:
    with pytest.raises(TransportError, match=r"http://127\.0\.0\.1:1: .*refused"):
        open_datastore(Access(("http://127.0.0.1:1",))).list(PREFIX)


def test_the_setting_has_a_name_for_each() -> None:
    assert {name.value for name in DatastoreName} == ADAPTERS.keys()


def test_folders_follow_it(memory: MemoryDatastore) -> None:
    events: list[DatastoreEvent] = []
    folders = Folders(lambda prefix: Follower(open_datastore(ACCESS), prefix, events.append, 300))

    def items() -> dict[str, str]:
        while events:
            event = events.pop(0)
            if isinstance(event, Snapshot | Changes):
                folders.take(event)
        return dict(folders.items)

    folders.want([f"{PREFIX}/global", f"{PREFIX}/host"])
    wanted = {key: value for key, value in CLUSTER.items() if "/rr_v4/" not in key}
    wait_until(lambda: items() == wanted, "both lists")
    changed, gone, new = (
        f"{PREFIX}/global/as_num",
        f"{PREFIX}/host/kube-node1/ip_addr_v4",
        f"{PREFIX}/host/x/ip_addr_v4",
    )
    memory.commit(Change(changed, "65101"), Change(gone, None), Change(new, "10.0.0.1"))
    del wanted[gone]
    wanted |= {changed: "65101", new: "10.0.0.1"}
    wait_until(lambda: items() == wanted, "the changes of one revision")
    folders.stop()


def test_commands_read_and_write_it(memory: MemoryDatastore) -> None:
    assert keys.from_etcd(ACCESS, [PREFIX], 1.0) == CLUSTER
    records = Records(ACCESS, 1.0)
    added = records.cluster().add_peer(IPv4Address("10.1.1.1"), AsNumber(65000), "kube-node1")
    records.write(added)
    assert added.result == "added"
    assert [peer.address for peer in records.topology().hosts["kube-node1"].peers] == [IPv4Address("10.1.1.1")]
    records.write(records.cluster().remove_peer(IPv4Address("10.1.1.1"), "kube-node1"))
    assert memory.list(PREFIX).items == CLUSTER
