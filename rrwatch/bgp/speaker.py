"""The route reflector itself, as settings describe it: a BGP speaker that need not be a node of the cluster."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from rrwatch.bgp.topology import Address, Family, Topology

BGP_PORT = 179
"""The port of BGP (RFC 4271, section 2)."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A route reflector.

    Attributes:
        addresses: its own address of each family that is on.
        port: the TCP port on which it listens.
        reflectors: the other reflectors, where the datastore has no record of this one.
        cluster_id: its cluster id (RFC 4456, section 7), where the datastore has none; None for BIRD's own default.
    """

    addresses: Mapping[Family, Address]
    port: int = BGP_PORT
    reflectors: tuple[Address, ...] = ()
    cluster_id: IPv4Address | None = None


def port_unless_default(port: int) -> int | None:
    """Returns a port as sessions and configurations have it: None for BGP's own."""
    return None if port == BGP_PORT else port


def other_reflectors(topology: Topology, speaker: Speaker, own: Address) -> Iterator[tuple[Address, str]]:
    """Yields the other reflectors of that address's family, each with the key that names it.

    If the reflector has a record, these are the other records, else those that it was told itself. Neither has a port:
    the others are expected to listen on the same port as the reflector.
    """
    key = topology.names.reflector(own)
    # A record of its own that cannot be read still makes the reflector part of the cluster.
    if key in topology.rejected or any(reflector.address == own for reflector in topology.reflectors):
        known = [(reflector.address, reflector.key) for reflector in topology.reflectors]
    else:
        known = [(address, key) for address in speaker.reflectors]
    yield from ((address, key) for address, key in known if address.version == own.version and address != own)
