"""Parsers for the values in Calico's records, whatever the data model. Each raises ValueError with one line."""

import json
import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from rrwatch.bgp.topology import Address, AsNumber, Family

MAX_VALUE = 64 * 1024
"""Characters; the longest value that Calico v1 writes has some hundred."""

# Printable ASCII without the characters that quote, separate or comment in a configuration, a shell or a log. Calico's
# Go code validates [a-zA-Z0-9_.-]{1,128}, its Python code nothing; a DNS name has at most 253 characters (RFC 1035,
# section 2.3.4).
_NAME = re.compile(r"[!$%&()*+,.:<=>?@A-Z\[\]^_a-z|~0-9-]{1,253}")


def address(text: str, family: Family, *, multicast: bool = False) -> Address:
    """Parses the address of a BGP speaker that may be several hops away.

    Args:
        multicast: whether multicast addresses pass, as they do with Calico.

    Raises:
        ValueError: the text is not an address of that family, or no such speaker can have it. BIRD itself accepts
            multicast neighbors silently, and refuses link-local ones in multihop BGP.
    """
    parsed: Address
    try:
        parsed = IPv4Address(text) if family is Family.IPV4 else IPv6Address(text)
    except AddressValueError:
        raise ValueError(f"{shown(text)} is not an IPv{family:d} address") from None
    why = (
        "unspecified" if parsed.is_unspecified
        else "a loopback address" if parsed.is_loopback
        else "a multicast address" if parsed.is_multicast and not multicast
        else "a link-local address" if parsed.is_link_local
        else "an IPv4-mapped address" if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped
        else "a scoped address" if isinstance(parsed, IPv6Address) and parsed.scope_id
        else "a reserved address" if isinstance(parsed, IPv4Address) and (parsed.is_reserved or int(parsed) < 1 << 24)
        else None
    )  # fmt: skip
    if why:
        raise ValueError(f"{shown(text)} is {why}: no BGP neighbor can have it")
    return parsed


def as_number(value: object) -> AsNumber:
    """Parses an AS number: 65100, "65100", or dotted "1.10" (asdot, RFC 5396), which is 65546.

    Raises:
        ValueError: it is none of these, or outside 1..4294967295.
    """
    number = value
    if isinstance(value, str):
        if dotted := re.fullmatch(r"([0-9]{1,5})\.([0-9]{1,5})", value):
            high, low = (int(part) for part in dotted.groups())
            number = (high << 16 | low) if max(high, low) < 1 << 16 else None
        elif re.fullmatch(r"[0-9]{1,10}", value):
            number = int(value)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 1 << 32:
        raise ValueError(f"{shown(value)} is not an AS number, 1 to 4294967295")
    return AsNumber(number)


def cluster_id(value: object) -> IPv4Address | None:
    """Parses a cluster id (RFC 4456, section 7): a dotted quad, or a number or its text; None and "" give None.

    Raises:
        ValueError: it is none of these.
    """
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            number = IPv4Address(int(value) if re.fullmatch(r"[0-9]{1,10}", value) else value)
        elif isinstance(value, int) and not isinstance(value, bool):
            number = IPv4Address(value)
        else:
            raise AddressValueError
        if not int(number):
            raise AddressValueError
    except AddressValueError:
        raise ValueError(
            f"cluster_id {shown(value)} is neither a dotted quad nor a number from 1 to 4294967295"
        ) from None
    return number


def plain_name(text: str) -> str:
    """Validates the name of a node, or another part of a key, and returns it.

    Raises:
        ValueError: it has characters that names do not have.
    """
    if not _NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a name: 1 to 253 printable ASCII characters without "
                         "space, quotes, braces, backslash, # and ;")  # fmt: skip
    return text


def json_object(value: str, limit: int = MAX_VALUE) -> dict[str, object]:
    """Parses a JSON object of at most so many characters.

    Raises:
        ValueError: the text is none.
    """
    if len(value) > limit:
        raise ValueError(f"the value has {len(value)} characters, more than {limit}")
    try:
        entry = json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError(f"{shown(value)} is not JSON") from None
    if not isinstance(entry, dict):
        raise ValueError(f"{shown(value)} is not a JSON object")  # noqa: TRY004  # the text is wrong, not the type of an argument
    return entry


def member(entry: dict[str, object], name: str) -> object:
    """Returns a member of an object.

    Raises:
        ValueError: it has none of that name.
    """
    if name not in entry:
        raise ValueError(f"{name} is missing")
    return entry[name]


def text_of(entry: dict[str, object], name: str) -> str:
    """Returns a member of an object that is a string.

    Raises:
        ValueError: it has none of that name, or it is something else.
    """
    value = member(entry, name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {shown(value)}, not a string")  # noqa: TRY004  # as above
    return value


def shown(value: object) -> str:
    """Returns a value for a message: on one line, quoted, and not too long."""
    try:
        text = ascii(value)
    except RecursionError:
        text = f"{type(value).__name__} that nests too deeply"
    return text if len(text) <= 80 else text[:77] + "..."
