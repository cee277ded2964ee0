"""A data model is a class: with another one, the store, the roles and the commands work as they are."""

import json
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.etcd import Etcd
from rrwatch import roles
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Family
from rrwatch.calico.model import DataModel
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from rrwatch.commands import keys, render
from rrwatch.commands.derivation import derive
from rrwatch.errors import MissingRecord, UnknownKeys
from rrwatch.roles import NodeRole, ReflectorRole, Role
from rrwatch.settings.model import Settings, settings_of
from tests.calico.flat import Flat
from tests.keys import CLUSTER, REFLECTOR

FLAT: DataModel = Flat()
ITEMS = {
    "/flat/node/n1": "10.0.0.1 65001",
    "/flat/node/n2": "10.0.0.2 65100",
    "/flat/node/n3": "10.0.0.300 65100",
    f"/flat/peer/{REFLECTOR}": "65100",
}
OWN = IPv4Address(REFLECTOR)
REFLECTOR_ROLE = ReflectorRole(OWN, Speaker({Family.IPV4: OWN}), FLAT)


def settings(folder: Path, role: Role, **values: object) -> Settings:
    paths = {"config": folder / "bird.cfg", "bird_socket": folder / "bird.ctl"}
    return replace(settings_of({"ip": OWN, **paths, **values}), role=role)


def test_several_records_of_one_key_go_into_the_topology() -> None:
    items = dict(ITEMS)
    store = RecordStore.of(items, FLAT)
    before = store.topology()
    assert before.hosts["n1"].address(Family.IPV4) == IPv4Address("10.0.0.1")
    assert before.hosts["n1"].as_number == 65001
    assert list(before.rejected) == ["/flat/node/n3"]

    items["/flat/node/n1"] = "10.0.0.9 65100"
    assert store.update(["/flat/node/n1"], items)
    after = store.topology()
    assert (after.hosts["n1"].address(Family.IPV4), after.hosts["n1"].as_number) == (IPv4Address("10.0.0.9"), 65100)
    assert after.hosts["n2"] is before.hosts["n2"]

    del items["/flat/node/n1"]
    store.update(["/flat/node/n1"], items)
    assert list(store.topology().hosts) == ["n2"]


def test_roles_derive_sessions_and_name_its_keys() -> None:
    topology = RecordStore.of(ITEMS, FLAT).topology()
    derived = roles.derive(REFLECTOR_ROLE, topology)
    assert [(session.name, session.node) for session in derived.sessions] == [
        ("Global_10_0_0_1", "n1"), ("Global_10_0_0_2", "n2"),
    ]  # fmt: skip
    assert [remark.key for remark in derived.rejected] == ["/flat/node/n3"]
    assert [remark.key for remark in derived.warnings] == ["/flat/node/n1"]
    assert [session.name for session in roles.derive(NodeRole("n2", FLAT), topology).sessions] == [
        "Mesh_10_0_0_1", f"Global_{REFLECTOR.replace('.', '_')}",
    ]  # fmt: skip
    assert NodeRole("n4", FLAT).waits_for(topology) == "/flat/node/n4"


def test_commands_list_it_and_render_it(own_etcd: Etcd, tmp_path: Path) -> None:
    own_etcd.put_all(ITEMS)
    chosen = settings(tmp_path, REFLECTOR_ROLE, etcd_endpoints=(own_etcd.url,))
    items = keys.from_etcd(chosen.etcd, chosen.role.all_prefixes, 10)
    assert items == ITEMS
    assert len(derive(chosen, items).derived.sessions) == 2
    (text,) = render.configurations(chosen, items).values()
    assert text.count("protocol bgp Global_") == 2
    with pytest.raises(MissingRecord, match="/flat/node/n4"):
        render.configurations(settings(tmp_path, NodeRole("n4", FLAT)), items)


def test_files_of_keys_are_of_the_same_data_model(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(ITEMS))
    items = keys.from_file(file)
    assert items == ITEMS
    keys.require_sessions(file, items, FLAT)
    with pytest.raises(UnknownKeys, match="/calico/bgp/v1/host/NODE/ip_addr_v4"):
        keys.require_sessions(file, items, V1)
    with pytest.raises(UnknownKeys, match="like /flat/node/NODE"):
        keys.require_sessions(file, CLUSTER, FLAT)
