"""The operator's commands: the records of reflectors, peers and the node mesh in etcd."""

import json
import sys
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import click

from rrwatch.bgp import calico_v1
from rrwatch.bgp.topology import Address, Family
from rrwatch.errors import UsageError
from rrwatch.options import etcd_timeout, json_output, warn_of_unknown_settings, with_settings
from rrwatch.settings import ETCD_SETTINGS, access_of

if TYPE_CHECKING:
    from rrwatch.records import Records, Written


class _Parsed(click.ParamType[Any]):
    """An argument, read by one of the rules that records are read by."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            raise UsageError(f"{self.name}: {error}") from None


_ADDRESS = _Parsed("address", lambda text: calico_v1.address(text, Family.IPV6 if ":" in text else Family.IPV4))
_AS_NUMBER = _Parsed("AS number", calico_v1.as_number)
_CLUSTER_ID = _Parsed("cluster id", calico_v1.cluster_id)
_NODE = _Parsed("node", calico_v1.plain_name)

_address = click.argument("address", type=_ADDRESS)
_node = click.option("--node", type=_NODE, metavar="NAME", help="Only this node, instead of all of them.")


@click.group(short_help="Route reflectors of the cluster: add, remove, list.")
def rr() -> None:
    """The route reflectors of the cluster, as records in etcd."""


@click.group(short_help="BGP peers of all nodes or of one: add, remove, list.")
def peer() -> None:
    """The BGP peers of all nodes, or of one, as records in etcd."""


@click.group("node-mesh", short_help="Whether every node peers with every other: on, off, show.")
def node_mesh() -> None:
    """The full mesh of nodes: on, off, or what it is."""


def _record_command(group: click.Group, function: Callable[..., Any]) -> click.Command:
    """A command with etcd's settings; its function gets the `Records`, then its own options."""

    def with_records(*, timeout: float, **values: Any) -> Any:
        from rrwatch.records import Records  # noqa: PLC0415

        warn_of_unknown_settings()
        own = {name: values.pop(name) for name in set(function.__annotations__) - {"records", "return"}}
        return function(Records(access_of(values), timeout), **own)

    with_records.__doc__ = function.__doc__
    with_records.__dict__.update(function.__dict__)
    name = function.__name__.rsplit("_", 1)[-1]
    return group.command(name)(etcd_timeout(with_settings(with_records, ETCD_SETTINGS)))


def _tell(written: "Written") -> None:
    click.echo(written.text)


@partial(_record_command, rr)
@_address
@click.option("--cluster-id", type=_CLUSTER_ID, metavar="ID", help="Cluster id of its clients: 1.0.0.1, or a number.")
def rr_add(records: "Records", address: Address, cluster_id: IPv4Address | None) -> None:
    """Make ADDRESS a route reflector of the cluster."""
    _tell(records.add_reflector(address, cluster_id))


@partial(_record_command, rr)
@_address
def rr_remove(records: "Records", address: Address) -> None:
    """Take the route reflector ADDRESS out of the cluster."""
    _tell(records.remove_reflector(address))


@partial(_record_command, rr)
@json_output
def rr_list(records: "Records", as_json: bool) -> None:
    """Print the route reflectors of the cluster."""
    from rrwatch import tables  # noqa: PLC0415

    rows = [
        {"address": str(entry.address), "cluster_id": entry.cluster_id and str(entry.cluster_id)}
        for entry in records.topology().reflectors
    ]
    tables.print_records(rows, sys.stdout, as_json=as_json)


@partial(_record_command, peer)
@_address
@click.argument("as_words", nargs=-1, metavar="[as] AS_NUMBER")
@_node
def peer_add(records: "Records", address: Address, as_words: tuple[str, ...], node: str | None) -> None:
    """Make all nodes, or one, peer with ADDRESS in AS_NUMBER: `peer add 172.17.42.40 as 65100`."""
    words = as_words[1:] if as_words[:1] == ("as",) else as_words
    if len(words) != 1:
        raise UsageError("AS number: want one, like: peer add 172.17.42.40 as 65100")
    _tell(records.add_peer(address, _AS_NUMBER.convert(words[0], None, None), node))


@partial(_record_command, peer)
@_address
@_node
def peer_remove(records: "Records", address: Address, node: str | None) -> None:
    """End that all nodes, or one, peer with ADDRESS."""
    _tell(records.remove_peer(address, node))


@partial(_record_command, peer)
@_node
@json_output
def peer_list(records: "Records", node: str | None, as_json: bool) -> None:
    """Print the peers of all nodes and of single ones; with --node only those of that one."""
    from rrwatch import tables  # noqa: PLC0415

    topology = records.topology()
    entries = [] if node else list(topology.peers)
    entries += [entry for name, host in topology.hosts.items() if node in (None, name) for entry in host.peers]
    rows = [{"node": entry.host, "address": str(entry.address), "as_number": entry.as_number} for entry in entries]
    tables.print_records(rows, sys.stdout, as_json=as_json)


@partial(_record_command, node_mesh)
def node_mesh_on(records: "Records") -> None:
    """Make every node peer with every other."""
    _tell(records.set_mesh(True))


@partial(_record_command, node_mesh)
def node_mesh_off(records: "Records") -> None:
    """End that: nodes keep only the peers that `peer list` shows."""
    _tell(records.set_mesh(False))


@partial(_record_command, node_mesh)
@json_output
def node_mesh_show(records: "Records", as_json: bool) -> None:
    """Print whether the mesh is on; it is where nothing is said."""
    enabled = records.topology().node_mesh is not False
    click.echo(json.dumps({"enabled": enabled}) if as_json else "on" if enabled else "off")
