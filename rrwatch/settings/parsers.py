"""Parsers for the texts of settings. Each returns the value, or raises ValueError with what is wanted instead."""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import urlsplit

from rrwatch.bgp.topology import Address, Family
from rrwatch.bird.config import LogTarget
from rrwatch.bird.version import Grammar, version_in
from rrwatch.calico import values
from rrwatch.settings.values import OFF, HookEvent, Listen

_WANT_URLS = "want URLs like http://127.0.0.1:2379, separated by commas"
_WANT_AUTHORITY = "want host:port"
_SOCKET_PATH_MAX = 107  # bytes, unix(7)


def choice(kind: type[Enum]) -> Callable[[str], Enum]:
    """Returns a parser for one of the values of an Enum."""

    def parse(text: str) -> Enum:
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"want {' or '.join(member.value for member in kind)}") from None

    return parse


@dataclass(frozen=True, slots=True)
class Misread:
    """A text that is not an address. It is an error in the reflector role only: Calico's nodes have `IP=autodetect`."""

    text: str
    reason: str


def address(family: Family) -> Callable[[str], Address | Misread]:
    """Returns a parser for an address that a BGP speaker can have; any other text becomes a `Misread`."""

    def parse(text: str) -> Address | Misread:
        try:
            return values.address(text, family, multicast=True)
        except ValueError as error:
            return Misread(text, str(error))

    return parse


def families(text: str) -> tuple[Family, ...]:
    """Parses address families: `4`, `6` or `4,6`."""
    names = {part.strip() for part in text.split(",")}
    if not names or names - {"4", "6"}:
        raise ValueError("want 4, 6 or 4,6")
    return tuple(Family(int(name)) for name in sorted(names))


def addresses(text: str) -> tuple[Address, ...]:
    """Parses addresses of BGP speakers, separated by commas."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(dict.fromkeys(values.address(name, Family.IPV6 if ":" in name else Family.IPV4) for name in names))


def cluster_id(text: str) -> IPv4Address | None:
    """Parses a cluster id: a dotted quad or a number."""
    return values.cluster_id(text)


def port(text: str) -> int:
    """Parses a TCP port."""
    number = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    if not 0 < number < 1 << 16:
        raise ValueError("want a port, 1 to 65535")
    return number


def endpoints(text: str) -> tuple[str, ...]:
    """Parses URLs of etcd, separated by commas."""
    found = tuple(dict.fromkeys(endpoint(part.strip()) for part in text.split(",") if part.strip()))
    if not found:
        raise ValueError(_WANT_URLS)
    return found


def endpoint(text: str) -> str:
    """Parses one URL of etcd, and adds the port if it has none."""
    try:
        parts = urlsplit(text)
        port = parts.port or 2379
    except ValueError:
        raise ValueError(_WANT_URLS) from None
    if "@" in parts.netloc:
        raise ValueError("want no user or password in it: set etcd_username and etcd_password")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(_WANT_URLS)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def command(text: str) -> tuple[str, ...]:
    """Parses a program and its arguments, which are quoted as for a shell; no shell takes part."""
    want = "want the absolute path or the name of a program, and its arguments"
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"{want}: {str(error).lower()}") from None
    if not words or not words[0] or "\0" in text or ("/" in words[0] and not words[0].startswith("/")):
        raise ValueError(want)
    return words


def url(text: str) -> str:
    """Validates a URL to post to."""
    want = "want a URL like https://alerts.example.org/rrwatch, in ASCII"
    try:
        parts = urlsplit(text)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as the resolver does
    except ValueError:
        raise ValueError(want) from None
    if "@" in parts.netloc:
        raise ValueError("want no user or password in it")
    printable = text.isascii() and text.isprintable() and " " not in text
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.fragment or not printable:
        raise ValueError(want)
    return text


def hook_events(text: str) -> frozenset[HookEvent]:
    """Parses names of events, separated by commas."""
    try:
        found = frozenset(HookEvent(name.strip()) for name in text.split(",") if name.strip())
    except ValueError:
        found = frozenset()
    if not found:
        raise ValueError(f"want some of {', '.join(event.value for event in HookEvent)}")
    return found


def authority(text: str) -> str:
    """Validates `host:port`."""
    try:
        host = urlsplit(f"//{text}").hostname
    except ValueError:
        host = None
    if "/" in text or not host:
        raise ValueError(_WANT_AUTHORITY)
    return text


def scheme(text: str) -> str:
    """Validates `http` or `https`."""
    if text not in ("http", "https"):
        raise ValueError("want http or https")
    return text


def without_password(text: str) -> str:
    """Returns a text for a message, without the user and the password that a URL in it may have."""
    before, at, after = text.rpartition("@")
    return f"***@{after}" if at and ":" in before else text


def node_name(text: str) -> str:
    """Validates a node's name as it is part of keys."""
    if "/" in text:
        raise ValueError("want the name of a node in etcd, without /")
    if text in (".", ".."):
        raise ValueError("want the name of a node in etcd, which . and .. cannot be")
    return values.plain_name(text)


def switch(text: str) -> bool:
    """Parses `on` or `off`."""
    if text not in ("on", "off"):
        raise ValueError("want on or off")
    return text == "on"


def readable_file(text: str) -> Path:
    """Parses the path of a file that can be opened now."""
    path = Path(text)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"want a file that can be read: {error.strerror}") from None
    except ValueError:
        raise ValueError("want a file that can be read: the path has a NUL") from None


def folder(text: str) -> Path:
    """Parses the path of a directory that exists."""
    path = Path(text)
    try:
        exists = path.is_dir()
    except OSError:  # the name is too long, for one
        exists = False
    if not exists:
        raise ValueError("want a directory that exists")
    return path.absolute()


def bird_path(text: str) -> Path:
    """Parses an absolute path that can be quoted in a command to BIRD, whose strings have no escapes."""
    if not text.startswith("/") or any(not char.isprintable() or char == '"' for char in text):
        raise ValueError('want an absolute path, printable and without "')
    return Path(text)


def bird_log(text: str) -> LogTarget:
    """Parses where BIRD logs: `syslog`, `stderr`, or a path."""
    if text in ("syslog", "stderr"):
        return LogTarget(text)
    try:
        return LogTarget(f'"{bird_path(text)}"')
    except ValueError:
        raise ValueError('want syslog, stderr, or the absolute path of a file, printable and without "') from None


def socket_path(text: str) -> Path:
    """Parses the path of BIRD's control socket."""
    path = bird_path(text)
    if len(text.encode()) > _SOCKET_PATH_MAX:
        raise ValueError(f"want at most {_SOCKET_PATH_MAX} bytes, the limit for the path of a socket")
    return path


def bird_version(text: str) -> Grammar:
    """Parses a release of BIRD, such as 2 or 2.0.12, into the grammar of its configuration."""
    version = version_in(f"{text}.0" if text in ("2", "3") else text)
    if not version:
        raise ValueError("want 1.6, 2 or 3")
    return version.grammar


def seconds(least: float) -> Callable[[str], float]:
    """Returns a parser for a number of seconds, from the given minimum up to a day."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1
        if not least <= number <= 86400:
            raise ValueError(f"want a number of seconds from {least:g} to 86400")
        return number

    return parse


def whole(most: int) -> Callable[[str], int]:
    """Returns a parser for a whole number from 0 to the given maximum."""

    def parse(text: str) -> int:
        if len(text) > 20 or not text.isascii() or not text.isdecimal() or int(text) > most:
            raise ValueError(f"want a whole number from 0 to {most}")
        return int(text)

    return parse


def absolute(text: str) -> Path:
    """Parses an absolute path."""
    if not text.startswith("/") or "\0" in text:
        raise ValueError("want an absolute path")
    return Path(text)


def listen(text: str) -> Listen:
    """Parses `address:port`; an empty text is `OFF`."""
    if not text:
        return OFF
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.path:
        raise ValueError("want address:port, or nothing to turn it off")
    return Listen(host, port)
