"""What commands for records do before they write: the plan, who has to agree, and what others write meanwhile."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.etcd import Etcd
from lab.etcd_v3 import EtcdV3
from rrwatch.bgp.topology import AsNumber
from rrwatch.calico.v1 import V1
from rrwatch.calico.v3 import V3
from rrwatch.commands.changes import Plan, plan
from rrwatch.commands.records import Cluster, Proposal, Records, Write
from rrwatch.datastore.access import Access
from rrwatch.errors import RrwatchError
from tests.command import Run, run_command
from tests.fuzz import EXAMPLES
from tests.keys import CLUSTER, PREFIX, REFLECTOR, global_peer, host, node_peer, reflector
from tests.resources import mesh_off as mesh_off_v3
from tests.resources import node as node_v3
from tests.schemas import validate
from tests.terminal import Terminal, on_terminal

MESH = f"{PREFIX}/global/node_mesh"
AS = {f"{PREFIX}/global/as_num": "65100"}
ADDRESS, OTHER = ip_address(REFLECTOR), ip_address("172.17.42.41")

OnTerminal = Callable[..., AbstractContextManager[Terminal]]


def nodes(count: int) -> dict[str, str]:
    """Returns a cluster of so many nodes, with the mesh that Calico has by default."""
    return AS | {key: text for n in range(count) for key, text in host(f"n{n:02}", f"10.0.0.{n + 1}").items()}


def planned(items: Mapping[str, str], propose: Callable[[Cluster], Proposal], model: Any = V1) -> Plan:
    cluster = Cluster(items, model)
    return plan(cluster, propose(cluster))


def mesh(enabled: bool) -> Callable[[Cluster], Proposal]:
    return lambda cluster: cluster.set_mesh(enabled)


class TestConsent:
    """More than ten sessions that end or are reset in all, or that begin on one node."""

    OFF = {MESH: '{"enabled": false}'}  # noqa: RUF012

    @pytest.mark.parametrize(("count", "needed"), [(5, False), (6, True)])
    def test_sessions_that_end(self, count: int, needed: bool) -> None:
        found = planned(nodes(count), mesh(False))
        assert (found.effect.lost, found.needs_consent) == (count * (count - 1) // 2, needed)

    @pytest.mark.parametrize(("count", "needed"), [(11, False), (12, True)])
    def test_sessions_that_begin_on_one_node(self, count: int, needed: bool) -> None:
        found = planned(nodes(count) | self.OFF, mesh(True))
        assert (found.effect.hosts[0].gained.count, found.needs_consent) == (count - 1, needed)

    def test_those_that_begin_on_a_reflector_need_none(self) -> None:
        items = nodes(30) | self.OFF | reflector(REFLECTOR)
        found = planned(items, lambda cluster: cluster.add_peer(ADDRESS, AsNumber(65100), None))
        assert (found.effect.gained, found.needs_consent) == (30, False)

    @pytest.mark.parametrize(("count", "needed"), [(10, False), (11, True)])
    def test_sessions_that_are_reset(self, count: int, needed: bool) -> None:
        items = nodes(count) | self.OFF | reflector(REFLECTOR, "") | global_peer(REFLECTOR)
        found = planned(items, lambda cluster: cluster.add_reflector(ADDRESS, ip_address("1.0.0.1")))  # type: ignore[arg-type]
        assert (found.effect.reset, found.needs_consent) == (count, needed)


class TestWarnings:
    def test_the_order_that_loses_routes(self) -> None:
        lost, order = planned(nodes(5), mesh(False)).warnings
        assert lost == (
            "5 nodes would have no session at all, and lose all routes to other nodes: n00, n01, n02 and 2 more."
        )
        assert order.startswith("The order that loses no route: first `rrwatch rr add` and `rrwatch peer add` for each")
        assert order.endswith("; then `rrwatch node-mesh off`.")
        assert "Established" in order

    def test_the_order_that_does_not(self) -> None:
        (only,) = planned(nodes(5) | reflector(REFLECTOR) | global_peer(REFLECTOR), mesh(False)).warnings
        assert only.startswith("etcd does not know which sessions are Established. Before the mesh ends,")

    def test_nodes_that_the_reflectors_forget(self) -> None:
        """All but two nodes peer with the reflector; one of those has another peer."""
        items = nodes(5) | reflector(REFLECTOR) | node_peer("n01", "192.168.1.1")
        for name in "n02", "n03", "n04":
            items |= node_peer(name, REFLECTOR)
        lost, leaving, order = planned(items, mesh(False)).warnings
        assert lost.startswith("1 node would have no session at all, and lose all routes to other nodes: n00.")
        assert leaving == "1 node would have no session with a route reflector: n01."
        assert order.startswith("The order that loses no route:")

    def test_one_family_only(self) -> None:
        items = nodes(3) | {f"{PREFIX}/host/n0{n}/ip_addr_v6": f"fd00::{n + 1}" for n in range(3)}
        lost, _ = planned(items | reflector(REFLECTOR) | global_peer(REFLECTOR), mesh(False)).warnings
        assert lost == "3 nodes would have no IPv6 session, and lose all routes to other nodes: n00, n01, n02."

    def test_the_last_peer(self) -> None:
        remove = lambda cluster: cluster.remove_peer(ADDRESS, None)  # noqa: E731
        lost, order = planned(CLUSTER, remove).warnings
        assert lost.startswith("3 nodes would have no session at all")
        assert "first let these nodes peer with another route reflector" in order
        assert "`rrwatch node-mesh on`" in order
        assert planned(CLUSTER | global_peer(str(OTHER)) | reflector(str(OTHER)), remove).warnings == ()

    def test_the_last_reflector(self) -> None:
        remove = lambda cluster: cluster.remove_reflector(ADDRESS)  # noqa: E731
        stays, last, order = planned(CLUSTER, remove).warnings
        assert stays.startswith(f"Nodes go on peering with {REFLECTOR}, because peers name it: `rrwatch peer remove")
        assert last.startswith(f"{REFLECTOR} is the last route reflector, and the node mesh is off")
        assert "first let the nodes peer with another route reflector" in order
        with_mesh = {key: value for key, value in CLUSTER.items() if key != MESH}
        for items in CLUSTER | reflector(str(OTHER)), with_mesh:
            assert planned(items, remove).warnings == (stays,)

    def test_a_node_that_etcd_does_not_know(self) -> None:
        found = planned(CLUSTER, lambda cluster: cluster.add_peer(OTHER, AsNumber(65100), "kube-nod1"))
        assert found.effect.hosts == ()
        assert found.warnings[0].startswith("Node kube-nod1 has no address in etcd")
        known = planned(CLUSTER, lambda cluster: cluster.add_peer(OTHER, AsNumber(65100), "kube-node1"))
        assert known.warnings == ()

    def test_what_is_so_already_is_no_change(self) -> None:
        found = planned(CLUSTER, mesh(False))
        assert (str(found.proposal), found.effect.hosts, found.warnings) == ("node mesh off: unchanged", (), ())


class TestDocument:
    @pytest.mark.parametrize(
        ("items", "propose"),
        [
            (nodes(30), mesh(False)),
            (nodes(3) | {f"{PREFIX}/host/n00/ip_addr_v6": "fd00::1"}, mesh(False)),
            (CLUSTER, mesh(False)),
            (CLUSTER, lambda cluster: cluster.remove_peer(ADDRESS, None)),
            (CLUSTER, lambda cluster: cluster.remove_peer(OTHER, None)),
            (CLUSTER, lambda cluster: cluster.add_reflector(OTHER, None)),
            (CLUSTER | reflector(str(OTHER)), lambda cluster: cluster.remove_reflector(OTHER)),
        ],
    )
    def test_it_is_what_the_schema_describes(
        self, items: dict[str, str], propose: Callable[[Cluster], Proposal]
    ) -> None:
        validate("plan", planned(items, propose).document())

    def test_its_members(self) -> None:
        document = planned(CLUSTER, lambda cluster: cluster.remove_peer(ADDRESS, None)).document()
        (key,) = global_peer(REFLECTOR)
        assert document["keys"] == [{"key": key, "before": CLUSTER[key], "after": None}]
        assert document["sessions"] == {"gained": 0, "lost": 3, "reset": 0}
        assert (document["result"], document["needs_yes"], document["without_reflector"]) == ("removed", False, 0)
        assert document["hosts"][:2] == [
            {
                "role": "reflector", "name": REFLECTOR, "before": 3, "after": 0,
                "gained": {"count": 0, "names": []}, "reset": {"count": 0, "names": []},
                "lost": {"count": 3, "names": [f"Global_172_17_42_3{n}" for n in range(3)]},
            },
            {
                "role": "node", "name": "kube-master", "before": 1, "after": 0,
                "gained": {"count": 0, "names": []}, "reset": {"count": 0, "names": []},
                "lost": {"count": 1, "names": ["Global_172_17_42_40"]},
            },
        ]  # fmt: skip
        assert document["without_sessions"][0] == {"node": "kube-master", "families": [4]}


V3_KEYS: Mapping[str, str] = {
    **mesh_off_v3(),
    **node_v3("n1", ipv4Address="10.0.0.1/24"),
    **node_v3("n2", ipv4Address="10.0.0.2/24", routeReflectorClusterID="1.0.0.1"),
    **reflector(REFLECTOR),
}
PROPOSALS: list[Callable[[Cluster], Proposal]] = [
    mesh(False),
    mesh(True),
    lambda cluster: cluster.remove_peer(ADDRESS, None),
    lambda cluster: cluster.add_peer(OTHER, AsNumber(65100), "n50"),
    lambda cluster: cluster.add_reflector(OTHER, None),
    lambda cluster: cluster.remove_reflector(ADDRESS),
]

_leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just("10.0.0.1")
_wild = st.recursive(
    _leaf,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
).map(json.dumps) | st.sampled_from(["", "\x00", "\ud800", "[" * 5000, "9" * 5000, '{"spec": {"bgp": 1}}'])


@given(data=st.data(), propose=st.sampled_from(PROPOSALS))
@settings(max_examples=EXAMPLES)
def test_wild_records_have_a_plan_too(data: st.DataObject, propose: Callable[[Cluster], Proposal]) -> None:
    v3 = data.draw(st.booleans())
    items = dict(V3_KEYS if v3 else CLUSTER)
    for key in data.draw(st.lists(st.sampled_from(sorted(items)), max_size=4)):
        items[key] = data.draw(_wild)
    try:
        found = planned(items, PROPOSALS[-1 if v3 else PROPOSALS.index(propose)], V3 if v3 else V1)
    except RrwatchError:
        return
    validate("plan", json.loads(json.dumps(found.document())))


class TestWithoutTerminal:
    @pytest.fixture
    def run(self, etcd: Etcd) -> Run:
        """Runs a command whose input is no terminal, with the settings of that etcd."""
        environment = {"PATH": os.environ["PATH"], "ETCD_ENDPOINTS": etcd.url}
        return lambda command, *more: run_command(*command.split(), *more, environment=environment)

    def test_a_script_needs_yes_above_a_handful(self, etcd: Etcd, run: Run) -> None:
        etcd.put_all(nodes(6))
        done = run("node-mesh off")
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr == (
            "rrwatch: node mesh off: 0 sessions begin, 15 end, 0 are reset; --plan shows them, --yes goes ahead\n"
        )
        assert etcd.items(PREFIX) == nodes(6)
        done = run("node-mesh off --yes")
        assert (done.returncode, done.stdout, done.stderr) == (0, "node mesh off: added\n", "")
        assert run("node-mesh show").stdout == "off\n"
        done = run("node-mesh off")
        assert (done.returncode, done.stdout) == (0, "node mesh off: unchanged\n")

    def test_a_plan_writes_nothing(self, etcd: Etcd, run: Run) -> None:
        etcd.put_all(nodes(6))
        for more in [], ["--yes"]:
            done = run("node-mesh off --plan", *more)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith("node mesh off: would be added\n")
            assert "Sessions of 6 hosts: 15 end." in done.stdout
            assert "6 nodes would have no session at all" in done.stdout
        document = json.loads(run("node-mesh off --plan --json").stdout)
        validate("plan", document)
        assert (document["sessions"]["lost"], document["needs_yes"]) == (15, True)
        assert etcd.items(PREFIX) == nodes(6)
        assert run("peer remove 10.1.1.1 --plan").stdout == "global peer 10.1.1.1: not found\n"

    def test_json_is_for_plans(self, run: Run) -> None:
        done = run("rr add 10.0.0.1 --json --etcd-endpoints", "http://127.0.0.1:1")
        assert done.returncode == 2
        assert done.stderr == "rrwatch: --json prints a plan: want it together with --plan\n"


class TestOnTerminal:
    @pytest.fixture
    def on_terminal(self, etcd: Etcd) -> OnTerminal:
        """Runs a command on a terminal, with the settings of that etcd."""
        environment = {"PATH": os.environ["PATH"], "ETCD_ENDPOINTS": etcd.url, "TERM": "xterm"}
        return lambda command: on_terminal(*command.split(), environment=environment)

    def test_it_asks_and_writes(self, etcd: Etcd, on_terminal: OnTerminal) -> None:
        etcd.put_all(CLUSTER)
        with on_terminal("peer remove 172.17.42.40") as terminal:
            terminal.wait_for("Write this to etcd? [y/N]: ")
            assert "3 nodes would have no session at all" in terminal.output
            assert etcd.items(PREFIX) == CLUSTER
            terminal.type("y\n")
            assert terminal.end() == 0
            assert terminal.output.endswith("global peer 172.17.42.40: removed\n")
        assert etcd.items(PREFIX) == {key: text for key, text in CLUSTER.items() if "peer_v4" not in key}

    @pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"])
    def test_declined(self, etcd: Etcd, on_terminal: OnTerminal, answer: str) -> None:
        etcd.put_all(CLUSTER)
        with on_terminal("node-mesh on") as terminal:
            terminal.wait_for("[y/N]: ")
            terminal.type(answer)
            assert terminal.end() == 4
            assert terminal.output.endswith("rrwatch: declined, nothing was changed\n")
        assert etcd.items(PREFIX) == CLUSTER

    @pytest.mark.parametrize(
        "command", ["node-mesh off", "rr add 172.17.42.40 --cluster-id 1.0.0.1", "node-mesh on --yes"]
    )
    def test_it_does_not_ask_without_need(self, etcd: Etcd, on_terminal: OnTerminal, command: str) -> None:
        etcd.put_all(CLUSTER)
        with on_terminal(command) as terminal:
            assert terminal.end() == 0
            assert "[y/N]" not in terminal.output
            assert terminal.output.count("\n") == 1

    def test_a_node_that_joins_meanwhile_is_none_of_its_business(self, etcd: Etcd, on_terminal: OnTerminal) -> None:
        etcd.put_all(CLUSTER)
        joined = host("n50", "172.17.42.50")
        with on_terminal("node-mesh on") as terminal:
            terminal.wait_for("[y/N]: ")
            etcd.put_all(joined)
            terminal.type("y\n")
            assert terminal.end() == 0
        assert etcd.items(PREFIX) == CLUSTER | joined | {MESH: '{"enabled": true}'}

    def test_what_someone_else_writes_meanwhile_stays(self, etcd: Etcd, on_terminal: OnTerminal) -> None:
        etcd.put_all(CLUSTER)
        with on_terminal("node-mesh on") as terminal:
            terminal.wait_for("[y/N]: ")
            etcd.put(MESH, '{"enabled":  false}')
            terminal.type("y\n")
            assert terminal.end() == 1
            assert terminal.output.endswith(
                f"rrwatch: someone else has just changed {MESH}: nothing was written; run the command again\n"
            )
        assert etcd.items(PREFIX)[MESH] == '{"enabled":  false}'


def test_a_change_that_stops_half_way_says_how_far_it_came(etcd: Etcd) -> None:
    etcd.put_all({f"{PREFIX}/a": "1", f"{PREFIX}/b": "2"})
    writes = tuple(Write(f"{PREFIX}/{name}", "1", None) for name in "ab")
    with pytest.raises(RrwatchError, match=rf"changed {PREFIX}/b: 1 of 2 keys were written; run the command again"):
        Records(Access((etcd.url,)), 5.0).write(Proposal("x", "removed", writes))
    assert etcd.items(PREFIX) == {f"{PREFIX}/b": "2"}


class TestCalicoV3:
    KEYS: Mapping[str, str] = {
        **mesh_off_v3(),
        **node_v3("n1", ipv4Address="10.0.0.1/24"),
        **reflector(REFLECTOR),
        **reflector(str(OTHER)),
    }

    @pytest.fixture
    def etcd(self, tmp_path: Path) -> Iterator[EtcdV3]:
        """A running etcd with resources of Calico 3."""
        etcd = EtcdV3(tmp_path / "etcd")
        etcd.start()
        for key, value in self.KEYS.items():
            etcd.put(key, value)
        yield etcd
        etcd.stop()

    def test_reflectors(self, etcd: EtcdV3) -> None:
        run = partial(run_command, environment={"ETCD_ENDPOINTS": etcd.url, "RRWATCH_DATASTORE": "etcdv3"})
        document = json.loads(run("rr", "remove", REFLECTOR, "--plan", "--json").stdout)
        validate("plan", document)
        assert [(one["role"], one["name"], one["before"], one["after"]) for one in document["hosts"]] == [
            ("reflector", REFLECTOR, 1, 0),
            ("reflector", str(OTHER), 1, 0),
        ]
        assert document["sessions"] == {"gained": 0, "lost": 1, "reset": 0}
        done = run("rr", "remove", REFLECTOR)
        assert (done.returncode, done.stdout) == (0, f"reflector {REFLECTOR}: removed\n")
        assert "is the last route reflector" in run("rr", "remove", str(OTHER), "--plan").stdout

    @pytest.mark.parametrize("command", ["peer add 10.0.0.9 as 65100", "peer remove 10.0.0.9", "node-mesh off"])
    def test_the_other_records_are_those_of_calico_v1(self, command: str) -> None:
        settings = {"ETCD_ENDPOINTS": "http://127.0.0.1:1", "RRWATCH_DATASTORE": "etcdv3"}
        done = run_command(*command.split(), "--plan", environment=settings)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("rrwatch: model is calico-v3: there ")
        assert done.stderr.count("\n") == 1

    def test_a_reflector_that_is_a_node_is_not_the_last_one(self) -> None:
        remove = lambda cluster: cluster.remove_reflector(ADDRESS)  # noqa: E731
        items = {key: text for key, text in self.KEYS.items() if str(OTHER) not in key}
        assert len(planned(items, remove, V3).warnings) == 2
        items |= node_v3("n2", ipv4Address="10.0.0.2/24", routeReflectorClusterID="1.0.0.1")
        assert planned(items, remove, V3).warnings == ()
