"""The commands `rr`, `peer` and `node-mesh`, which read and write records in etcd."""

import functools
import json
import sys
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import click

from rrwatch.bgp.topology import Address, AsNumber, Family
from rrwatch.calico import values
from rrwatch.cli.confirmation import is_confirmed, is_on_terminal
from rrwatch.cli.exits import DECLINED
from rrwatch.cli.options import etcd_timeout, json_output, with_settings
from rrwatch.datastore.access import Access
from rrwatch.errors import UsageError
from rrwatch.settings.model import records_access_of
from rrwatch.settings.table import ETCD_SETTINGS
from rrwatch.settings.values import ModelName

if TYPE_CHECKING:
    from rrwatch.commands.changes import Plan
    from rrwatch.commands.records import Cluster, Proposal, Records


class _Parsed(click.ParamType[Any]):
    """The type of an argument that is parsed like the same value in a record."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            raise UsageError(f"{self.name}: {error}") from None


_ADDRESS = _Parsed("address", lambda text: values.address(text, Family.IPV6 if ":" in text else Family.IPV4))
_AS_NUMBER = _Parsed("AS number", values.as_number)
_CLUSTER_ID = _Parsed("cluster id", values.cluster_id)
_NODE = _Parsed("node", values.plain_name)

_RESOURCES = {
    "peer": "peers are BGPPeer resources",
    "node-mesh": "the node mesh is switched by nodeToNodeMeshEnabled of the BGPConfiguration `default`",
}

_address = click.argument("address", type=_ADDRESS)
_plan = click.option(
    "--plan", "only_plan", is_flag=True, help="Only print what would happen to sessions; write nothing."
)
_yes = click.option("--yes", is_flag=True, help="Do not ask; a script needs it where many sessions change.")
_plan_json = click.option("--json", "as_json", is_flag=True, help="With --plan: print JSON.")
_node = click.option("--node", type=_NODE, metavar="NAME", help="Only this node, instead of all of them.")


@click.group(short_help="Route reflectors of the cluster: add, remove, list.")
def rr() -> None:
    """The route reflectors of the cluster, as records in etcd."""


@click.group(short_help="BGP peers of all nodes or of one: add, remove, list.")
def peer() -> None:
    """The BGP peers of all nodes, or of one, as records in etcd."""


@click.group("node-mesh", short_help="The full mesh of the nodes: on, off, show.")
def node_mesh() -> None:
    """The full mesh, in which every node peers with every other."""


def _record_command(group: click.Group, name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Adds a command with the settings of etcd to a group; its function gets `Records`, then its own options.

    Raises:
        UsageError: the data model does not have such records. Those of reflectors are the same in each.
    """

    def add(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def with_records(settings: tuple[Access, ModelName], *, timeout: float, **own: Any) -> Any:
            access, model = settings
            if model is not ModelName.CALICO_V1 and group is not rr:
                raise UsageError(f"model is {model.value}: there {_RESOURCES[str(group.name)]}, see `calicoctl apply`; "
                                 "for keys of Calico up to 2.6 set model to calico-v1")  # fmt: skip
            from rrwatch.calico.models import MODELS
            from rrwatch.commands.records import Records

            return function(Records(access, timeout, MODELS[model.value]), **own)

        return group.command(name)(etcd_timeout(with_settings(with_records, records_access_of, ETCD_SETTINGS)))

    return add


def _changing_command(group: click.Group, name: str) -> Callable[[Callable[..., "Proposal"]], click.Command]:
    """Adds a command that writes; its function gets the `Cluster` and its own options, and returns what to write."""

    def add(function: Callable[..., "Proposal"]) -> click.Command:
        @functools.wraps(function)
        def change(records: "Records", *, only_plan: bool, yes: bool, as_json: bool, **own: Any) -> int:
            from rrwatch.commands.changes import plan

            if as_json and not only_plan:
                raise UsageError("--json prints a plan: want it together with --plan")
            cluster = records.cluster()
            made = plan(cluster, function(cluster, **own))
            if only_plan:
                _print_plan(made, as_json=as_json)
            elif not yes and not _may_go_ahead(made):
                return DECLINED
            else:
                records.write(made.proposal)
                click.echo(str(made.proposal))
            return 0

        return _record_command(group, name)(_plan(_plan_json(_yes(change))))

    return add


def _print_plan(plan: "Plan", *, as_json: bool) -> None:
    from rrwatch.cli import changes

    if as_json:
        click.echo(json.dumps(plan.document(), indent=2))
    else:
        changes.print_plan(plan, sys.stdout)


def _may_go_ahead(plan: "Plan") -> bool:
    """Whether a change needs nobody's consent, or has that of the person at the terminal, who is shown the plan."""
    from rrwatch.cli import changes

    if is_on_terminal() and (plan.effect.hosts or plan.warnings):
        changes.print_plan(plan, sys.stderr)
    elif not plan.needs_consent:
        return True
    effect = plan.effect
    return is_confirmed(
        "Write this to etcd",
        f"{plan.proposal.what}: {effect.gained:,} sessions begin, {effect.lost:,} end, {effect.reset:,} are reset; "
        "--plan shows them, --yes goes ahead",
    )


@_changing_command(rr, "add")
@_address
@click.option("--cluster-id", type=_CLUSTER_ID, metavar="ID", help="Cluster id of its clients: 1.0.0.1, or a number.")
def rr_add(cluster: "Cluster", address: Address, cluster_id: IPv4Address | None) -> "Proposal":
    """Make ADDRESS a route reflector of the cluster."""
    return cluster.add_reflector(address, cluster_id)


@_changing_command(rr, "remove")
@_address
def rr_remove(cluster: "Cluster", address: Address) -> "Proposal":
    """Remove the route reflector ADDRESS from the cluster."""
    return cluster.remove_reflector(address)


@_record_command(rr, "list")
@json_output
def rr_list(records: "Records", as_json: bool) -> None:
    """Print the route reflectors of the cluster."""
    from rrwatch.cli import tables

    rows = [
        {"address": str(entry.address), "cluster_id": entry.cluster_id and str(entry.cluster_id)}
        for entry in records.topology().reflectors
    ]
    tables.print_records(rows, sys.stdout, as_json=as_json)


def _one_as_number(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> AsNumber:
    words = words[1:] if words[:1] == ("as",) else words
    if len(words) != 1:
        raise UsageError("AS number: want one, as in: peer add 172.17.42.40 as 65100")
    number: AsNumber = _AS_NUMBER.convert(words[0], param, ctx)
    return number


@_changing_command(peer, "add")
@_address
@click.argument("as_number", nargs=-1, metavar="[as] AS_NUMBER", callback=_one_as_number)
@_node
def peer_add(cluster: "Cluster", address: Address, as_number: AsNumber, node: str | None) -> "Proposal":
    """Make all nodes, or one, peer with ADDRESS in AS_NUMBER: `peer add 172.17.42.40 as 65100`."""
    return cluster.add_peer(address, as_number, node)


@_changing_command(peer, "remove")
@_address
@_node
def peer_remove(cluster: "Cluster", address: Address, node: str | None) -> "Proposal":
    """Remove the peer ADDRESS of all nodes, or of one."""
    return cluster.remove_peer(address, node)


@_record_command(peer, "list")
@_node
@json_output
def peer_list(records: "Records", node: str | None, as_json: bool) -> None:
    """Print the peers of all nodes and of single nodes; with --node only those of that node."""
    from rrwatch.cli import tables

    topology = records.topology()
    entries = [] if node else list(topology.peers)
    entries += [entry for name, host in topology.hosts.items() if node in (None, name) for entry in host.peers]
    rows = [{"node": entry.host, "address": str(entry.address), "as_number": entry.as_number} for entry in entries]
    tables.print_records(rows, sys.stdout, as_json=as_json)


@_changing_command(node_mesh, "on")
def node_mesh_on(cluster: "Cluster") -> "Proposal":
    """Make every node peer with every other."""
    return cluster.set_mesh(True)


@_changing_command(node_mesh, "off")
def node_mesh_off(cluster: "Cluster") -> "Proposal":
    """End the mesh: nodes keep only the peers that `peer list` shows."""
    return cluster.set_mesh(False)


@_record_command(node_mesh, "show")
@json_output
def node_mesh_show(records: "Records", as_json: bool) -> None:
    """Print whether the mesh is on, which it is if there is no record."""
    enabled = records.topology().node_mesh is not False
    click.echo(json.dumps({"enabled": enabled}) if as_json else "on" if enabled else "off")
