"""The text of a plan: at most 80 columns and 20 hosts, whatever the cluster is."""

import io
import re
from ipaddress import ip_address
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from rrwatch.bgp.topology import Family
from rrwatch.calico.v1 import V1
from rrwatch.cli.changes import print_plan
from rrwatch.commands.changes import Plan, plan
from rrwatch.commands.records import Cluster, Proposal, Write
from rrwatch.roles.effect import Effect, HostEffect, HostKind, Some
from tests.fuzz import EXAMPLES
from tests.keys import CLUSTER, PREFIX, REFLECTOR

PROPOSAL = Proposal("node mesh off", "changed", (Write("/key", "1", "2"),))
NONE = Some(0, ())


def text(made: Plan) -> str:
    stream = io.StringIO()
    print_plan(made, stream)
    return stream.getvalue()


def node(name: str, lost: int = 1, gained: int = 0) -> HostEffect:
    """Returns a node that loses and gains so many sessions."""
    gains, loses = (Some(count, tuple(f"Mesh_{n}" for n in range(count))[:10]) for count in (gained, lost))
    return HostEffect(HostKind.NODE, name, lost, gained, gains, loses, NONE)


def rows(made: Plan) -> list[str]:
    """Returns the rows of the table of hosts."""
    lines = text(made).split("\n\n")[1].splitlines()
    assert lines[0].startswith("host ")
    return lines[1:]


def test_the_example_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (example,) = re.findall(r"```console\n\$ rrwatch node-mesh off --plan\n(.*?)```", page, re.DOTALL)
    mesh = {key: value for key, value in CLUSTER.items() if not re.search("mesh|peer|rr_v4", key)}
    cluster = Cluster(mesh, V1)
    assert text(plan(cluster, cluster.set_mesh(False))) == example


def test_up_to_twenty_hosts_are_all_shown() -> None:
    assert len(rows(Plan(PROPOSAL, Effect(tuple(node(f"n{n}", n + 1) for n in range(20)))))) == 20


def test_more_hosts_of_one_kind_are_counted() -> None:
    shown = rows(Plan(PROPOSAL, Effect(tuple(node(f"n{n:04}") for n in range(2000)))))
    assert [row.split()[1] for row in shown[:3]] == ["n0000", "n0001", "n0002"]
    assert shown[3:] == ["and 1,997 more hosts like this"]


def test_each_kind_is_shown() -> None:
    """Those that lose most come first."""
    hosts = [node(f"a{n}", 1) for n in range(30)] + [node(f"b{n}", 7) for n in range(2)]
    shown = rows(Plan(PROPOSAL, Effect(tuple(hosts))))
    assert [row.split()[1] for row in shown[:5]] == ["b0", "b1", "a0", "a1", "a2"]
    assert shown[5:] == ["and 27 more hosts like this"]


def test_too_many_kinds() -> None:
    shown = rows(Plan(PROPOSAL, Effect(tuple(node(f"n{n}", n + 1) for n in range(50)))))
    assert len(shown) == 21
    assert shown[-1] == "and 30 more hosts"


_some = st.builds(
    lambda count, names: Some(count, tuple(names)[:count]),
    st.integers(0, 99_999),
    st.lists(st.text(max_size=80), max_size=10),
)
_hosts = st.builds(
    HostEffect, st.sampled_from(HostKind), st.text(max_size=300), st.integers(0, 99_999), st.integers(0, 99_999), _some,
    _some, _some, st.sampled_from([(), (Family.IPV6,)]), st.booleans(),
)  # fmt: skip
_effects = st.builds(
    lambda hosts, counts: Effect(tuple(hosts), *counts), st.lists(_hosts, max_size=40),
    st.tuples(*[st.integers(0, 10**8)] * 3),
)  # fmt: skip


@given(effect=_effects, warnings=st.lists(st.text(alphabet="ab `c\x1b", max_size=300), max_size=3))
@settings(max_examples=EXAMPLES, deadline=None)
def test_it_fits_a_terminal(effect: Effect, warnings: list[str]) -> None:
    told = text(Plan(PROPOSAL, effect, tuple(warnings)))
    assert told.replace("\n", "").isprintable()
    assert all(len(line) <= 80 for line in told.split("\n"))


def test_commands_are_not_broken_over_lines() -> None:
    command = "`rrwatch peer remove 172.17.42.40`"
    for length in range(60, 80):
        assert command in text(Plan(PROPOSAL, warnings=(f"{'x' * length} {command} ends that.",)))


def test_nothing_changes() -> None:
    assert text(Plan(PROPOSAL)) == "node mesh off: would be changed\nNo session changes.\n"
    cluster = Cluster(CLUSTER, V1)
    assert text(plan(cluster, cluster.set_mesh(False))) == "node mesh off: unchanged\n"
    assert text(plan(cluster, cluster.remove_peer(ip_address("10.0.0.1"), None))).endswith(": not found\n")


def test_a_reset() -> None:
    cluster = Cluster(CLUSTER, V1)
    told = text(plan(cluster, cluster.add_reflector(ip_address(REFLECTOR), ip_address("2.0.0.2"))))  # type: ignore[arg-type]
    assert "Sessions of 1 host: 3 are reset." in told
    assert re.search(rf"^reflector {REFLECTOR}    3     3        3  ~Global_172_17_42_30 ", told, re.MULTILINE)
    assert f"{PREFIX}/" not in told
