"""A second data model, as small as one can be: `/flat/node/NAME` is `ADDRESS AS`, and `/flat/peer/ADDRESS` is `AS`."""

from collections.abc import Sequence
from ipaddress import IPv4Address

from rrwatch.bgp.topology import Address, AsNumber, Family, HostAddress, HostAs, Peer, Record, Rejected


class FlatNames:
    """The names of its keys."""

    def host_address(self, host: str, family: Family) -> str:  # noqa: ARG002  # there is one key for each node
        return f"/flat/node/{host}"

    def host_as(self, host: str) -> str:
        return f"/flat/node/{host}"

    def global_as(self) -> str:
        return "/flat/as"

    def reflector(self, address: Address) -> str:
        return f"/flat/reflector/{address}"

    def host_of(self, key: str) -> str | None:
        return key.removeprefix("/flat/node/") if key.startswith("/flat/node/") else None


class Flat:
    """The data model."""

    names = FlatNames()
    root = "/flat"

    def parse(self, key: str, value: str) -> Sequence[Record | Rejected]:
        try:
            match key.split("/"):
                case ["", "flat", "node", name]:
                    address, number = value.split()
                    found = IPv4Address(address)
                    return HostAddress(key, name, Family.IPV4, found), HostAs(key, name, AsNumber(int(number)))
                case ["", "flat", "peer", address]:
                    return (Peer(key, None, IPv4Address(address), AsNumber(int(value))),)
        except ValueError as error:
            return (Rejected(key, str(error)),)
        return ()

    def reflector_folders(self) -> tuple[str, ...]:
        return ("/flat",)

    def node_folders(self, name: str, *, mesh: bool) -> tuple[str, ...]:  # noqa: ARG002  # there is one folder
        return ("/flat",)

    def all_node_folders(self, name: str) -> tuple[str, ...]:  # noqa: ARG002  # as above
        return ("/flat",)

    def peer_of_all(self, address: Address) -> str:
        return f"/flat/peer/{address}"
