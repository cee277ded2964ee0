"""All settings of rrwatch: what they are called, how their texts are read, and the one value that they make."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rrwatch.bgp import calico_v1
from rrwatch.bgp.topology import Address, Family
from rrwatch.bird.config import LogTarget
from rrwatch.bird.target import Places
from rrwatch.bird.version import Grammar, version_in
from rrwatch.errors import UsageError
from rrwatch.etcd.access import Access
from rrwatch.guard import Limits
from rrwatch.view import NodeView, ReflectorView, View

SETTINGS_FILE = Path("/etc/rrwatch/rrwatch.toml")

_WANT_URLS = "want URLs like http://127.0.0.1:2379, with commas between them"
_SOCKET_PATH_MAX = 107  # bytes, unix(7)


class Role(Enum):
    """What the BIRD beside rrwatch is."""

    REFLECTOR = "reflector"
    NODE = "node"


class LogFormat(Enum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(Enum):
    """The least important events that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to serve HTTP on; port 0 picks a free one."""

    host: str
    port: int


_NODE_SPREAD = 3.0  # seconds

_OFF = Listen("", 0)  # None is for what is not set


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is set, valid as a whole.

    Attributes:
        view: whose sessions are derived.
        places: where the BIRDs that rrwatch configures have their files.
        grammar: for which BIRD to write, None: for that which runs.
        templates: the operator's folder of templates.
        state_dir: where it keeps what must outlive a restart.
        guard: what may vanish at once.
        status_listen: None: off.
        min_interval: seconds between two configures of BIRD.
        resync_interval: seconds between two full lists of etcd.
        etcd_spread: seconds over which lists at the start and after an outage are spread.
        log_format: None: console on a terminal, JSON elsewhere.
    """

    view: View
    places: Places
    grammar: Grammar | None
    etcd: Access
    templates: Path | None
    state_dir: Path
    guard: Limits
    status_listen: Listen | None
    min_interval: float
    resync_interval: float
    etcd_spread: float
    log_format: LogFormat | None
    log_level: LogLevel


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, as users meet it.

    Attributes:
        name: in the settings file; `--name` with dashes on the command line.
        parse: reads a text; raises ValueError with what would be right.
        help: one line.
        default: what counts where nothing is set, None where nothing does.
        shown_default: for the help text, where the default is not a plain value.
        older: environment variables that count where `RRWATCH_<NAME>` is not set, the first that is set wins.
        empty_counts: an empty environment variable is a value, and not as good as none.
    """

    name: str
    parse: Callable[[str], Any]
    help: str
    default: str | None = None
    shown_default: str | None = None
    older: tuple[str, ...] = ()
    empty_counts: bool = False

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables; the first that is set wins."""
        return (f"RRWATCH_{self.name.upper()}", *self.older)


def _choice(kind: type[Enum]) -> Callable[[str], Enum]:
    def parse(text: str) -> Enum:
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"want {' or '.join(member.value for member in kind)}") from None

    return parse


@dataclass(frozen=True, slots=True)
class _Misread:
    """No address. It matters in the reflector role alone: Calico's nodes have `IP=autodetect` and the like."""

    text: str
    reason: str


def _address(family: Family) -> Callable[[str], Address | _Misread]:
    def parse(text: str) -> Address | _Misread:
        try:
            return calico_v1.address(text, family)
        except ValueError as error:
            return _Misread(text, str(error))

    return parse


def _families(text: str) -> tuple[Family, ...]:
    names = {part.strip() for part in text.split(",")}
    if not names or names - {"4", "6"}:
        raise ValueError("want 4, 6 or 4,6")
    return tuple(Family(int(name)) for name in sorted(names))


def _endpoints(text: str) -> tuple[str, ...]:
    endpoints = tuple(dict.fromkeys(_endpoint(part.strip()) for part in text.split(",") if part.strip()))
    if not endpoints:
        raise ValueError(_WANT_URLS)
    return endpoints


def _endpoint(text: str) -> str:
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise ValueError("want no user or password in it: set etcd_username and etcd_password")
    try:
        port = parts.port or 2379
    except ValueError:
        port = 0
    if not port or parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(_WANT_URLS)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def _authority(text: str) -> str:
    if "/" in text or not urlsplit(f"//{text}").hostname:
        raise ValueError("want host:port")
    return text


def _scheme(text: str) -> str:
    if text not in ("http", "https"):
        raise ValueError("want http or https")
    return text


def _node_name(text: str) -> str:
    if "/" in text:
        raise ValueError("want a node's name as in etcd, without /")
    return calico_v1.plain_name(text)


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("want on or off")
    return text == "on"


def _readable_file(text: str) -> Path:
    path = Path(text)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"want a file that can be read: {error.strerror}") from None


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise ValueError("want a folder that is there")
    return path.absolute()


def _bird_path(text: str) -> Path:
    # It becomes a string in a command to BIRD, whose strings have no escapes.
    if not text.startswith("/") or any(not char.isprintable() or char == '"' for char in text):
        raise ValueError('want an absolute path, printable and without "')
    return Path(text)


def _bird_log(text: str) -> LogTarget:
    if text in ("syslog", "stderr"):
        return LogTarget(text)
    try:
        return LogTarget(f'"{_bird_path(text)}"')
    except ValueError:
        raise ValueError('want syslog, stderr, or the absolute path of a file, printable and without "') from None


def _socket_path(text: str) -> Path:
    path = _bird_path(text)
    if len(text.encode()) > _SOCKET_PATH_MAX:
        raise ValueError(f"want at most {_SOCKET_PATH_MAX} bytes, the longest path of a socket")
    return path


def _bird_version(text: str) -> Grammar:
    version = version_in(f"{text}.0" if text in ("2", "3") else text)
    if not version:
        raise ValueError("want 1.6, 2 or 3")
    return version.grammar


def _seconds(least: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1
        if not least <= seconds <= 86400:
            raise ValueError(f"want a number of seconds from {least:g} to 86400")
        return seconds

    return parse


def _whole(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or int(text) > most:
            raise ValueError(f"want a whole number from 0 to {most}")
        return int(text)

    return parse


def _absolute(text: str) -> Path:
    if not text.startswith("/") or "\0" in text:
        raise ValueError("want an absolute path")
    return Path(text)


def _listen(text: str) -> Listen:
    if not text:
        return _OFF
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.path:
        raise ValueError("want address:port, or nothing to turn it off")
    return Listen(host, port)


SETTINGS = (
    Setting("role", _choice(Role), "What this BIRD is: reflector or node.", "reflector"),
    Setting("ip", _address(Family.IPV4), "This reflector's IPv4 address: router id and source address.", older=("IP",)),
    Setting("ip6", _address(Family.IPV6), "This reflector's IPv6 source address; turns IPv6 on.", older=("IP6",)),
    Setting(
        "nodename",
        _node_name,
        "This node's name in etcd, in the node role.",
        shown_default="the host's name",
        older=("NODENAME", "HOSTNAME"),
    ),
    Setting("families", _families, "4, 6 or 4,6.", shown_default="by the addresses that are set"),
    Setting(
        "etcd_endpoints",
        _endpoints,
        "URLs of etcd's members, with commas between them.",
        shown_default="http://127.0.0.1:2379",
        older=("ETCD_ENDPOINTS",),
    ),
    Setting("etcd_authority", _authority, "One etcd as host:port; the older spelling.", older=("ETCD_AUTHORITY",)),
    Setting("etcd_scheme", _scheme, "Goes with etcd_authority: http or https.", "http", older=("ETCD_SCHEME",)),
    Setting("etcd_ca_cert_file", _readable_file, "PEM file of etcd's authority.", older=("ETCD_CA_CERT_FILE",)),
    Setting("etcd_cert_file", _readable_file, "PEM file of rrwatch's own certificate.", older=("ETCD_CERT_FILE",)),
    Setting("etcd_key_file", _readable_file, "PEM file of its key.", older=("ETCD_KEY_FILE",)),
    Setting("etcd_username", str, "User for etcd's basic authentication.", older=("ETCD_USERNAME",)),
    Setting("etcd_password", str, "That user's password; better in a file.", older=("ETCD_PASSWORD",)),
    Setting("etcd_password_file", _readable_file, "File with that password.", older=("ETCD_PASSWORD_FILE",)),
    Setting("config", _bird_path, "BIRD's configuration, owned by rrwatch.", "/etc/bird/bird.cfg"),
    Setting("config6", _bird_path, "The same of BIRD 1.6 for IPv6.", "/etc/bird/bird6.cfg"),
    Setting("bird_socket", _socket_path, "BIRD's control socket.", "/run/bird/bird.ctl"),
    Setting("bird6_socket", _socket_path, "The same of BIRD 1.6 for IPv6.", "/run/bird/bird6.ctl"),
    Setting(
        "bird_version",
        _bird_version,
        "For which BIRD to write: 1.6, 2 or 3.",
        shown_default="what BIRD itself says",
    ),
    Setting(
        "bird_log",
        _bird_log,
        "Where BIRD logs: syslog, stderr, or the absolute path of a file.",
        shown_default="no `log` statement: BIRD's own default",
    ),
    Setting(
        "custom_filters",
        _switch,
        "Whether a node takes operators' filters from etcd, which are code: on or off.",
        "off",
    ),
    Setting("templates", _folder, "Folder of templates that win over the shipped ones."),
    Setting(
        "state_dir",
        _absolute,
        "Folder for what must outlive a restart: the guard's baseline, the history.",
        "/var/lib/rrwatch",
    ),
    Setting(
        "guard_percent",
        _whole(100),
        "Hold a change in which more than this share of the known nodes vanish at once; 0 turns the guard off.",
        "50",
    ),
    Setting(
        "guard_min",
        _whole(1_000_000),
        "With fewer known nodes than this no share is held.",
        "5",
    ),
    Setting(
        "status_listen",
        _listen,
        "Address of the status and health pages; port 0 picks one, empty turns it off.",
        "127.0.0.1:9817",
        empty_counts=True,
    ),
    Setting("min_interval", _seconds(0), "Seconds between two configures of BIRD.", "0.25"),
    Setting("resync_interval", _seconds(1), "Seconds between two full lists of etcd.", "300"),
    Setting(
        "etcd_watch_timeout",
        _seconds(1),
        "Seconds until a watch without news is asked again, and so until an etcd that hangs is noticed.",
        "20",
    ),
    Setting(
        "etcd_spread",
        _seconds(0),
        "Seconds over which lists at the start and after an outage are spread at random.",
        shown_default="0; 3 in the node role",
    ),
    Setting(
        "log_format",
        _choice(LogFormat),
        "console or json.",
        shown_default="console on a terminal, else json",
    ),
    Setting("log_level", _choice(LogLevel), "debug, info, warning or error.", "info"),
)
"""Every setting there is; command line, environment, settings file and README go by this table."""

ETCD_SETTINGS = tuple(setting for setting in SETTINGS if setting.name.startswith("etcd_"))


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Puts parsed values together.

    Args:
        values: by the names of `SETTINGS`; None, or no entry, where nothing is set.

    Raises:
        UsageError: they do not fit each other, or one is missing.
    """
    values = {setting.name: _value(setting, values) for setting in SETTINGS}
    view = _view(values)
    families = view.only or tuple(Family) if isinstance(view, NodeView) else tuple(view.addresses)
    places = Places(
        families,
        values["config"],
        values["bird_socket"],
        values["config6"],
        values["bird6_socket"],
        values["bird_log"],
    )
    for one, other in ("config", "config6"), ("bird_socket", "bird6_socket"):
        if values[one] == values[other]:
            raise UsageError(f"{one} and {other} are both {values[one]}: want two, BIRD 1.6 runs once for each family")
    return Settings(
        view=view,
        places=places,
        grammar=values["bird_version"],
        etcd=access_of(values),
        templates=values["templates"],
        state_dir=values["state_dir"],
        guard=Limits(values["guard_percent"], values["guard_min"]),
        status_listen=None if values["status_listen"] == _OFF else values["status_listen"],
        min_interval=values["min_interval"],
        resync_interval=values["resync_interval"],
        etcd_spread=_etcd_spread(values),
        log_format=values["log_format"],
        log_level=values["log_level"],
    )


def _etcd_spread(values: Mapping[str, Any]) -> float:
    """Reflectors are few, and nobody should wait for them; nodes are many."""
    seconds: float | None = values["etcd_spread"]
    if seconds is not None:
        return seconds
    return _NODE_SPREAD if values["role"] is Role.NODE else 0.0


def _value(setting: Setting, values: Mapping[str, Any]) -> Any:
    value = values.get(setting.name)
    return setting.parse(setting.default) if value is None and setting.default is not None else value


def _view(values: Mapping[str, Any]) -> View:
    families: tuple[Family, ...] | None = values["families"]
    if values["role"] is Role.NODE:
        return NodeView(values["nodename"] or socket.gethostname(), families, values["custom_filters"])
    for name in "ip", "ip6":
        if isinstance(values[name], _Misread):
            raise UsageError(f"{name} is {values[name].text!r}: {values[name].reason}")
    ip: IPv4Address | None = values["ip"]
    ip6: IPv6Address | None = values["ip6"]
    if ip is None:
        raise UsageError("ip is not set: the reflector role needs its IPv4 address, --ip or the variable IP")
    if ip6 is None and Family.IPV6 in (families or ()):
        raise UsageError("ip6 is not set: families has 6, so it needs an IPv6 address, --ip6 or the variable IP6")
    addresses = {Family.IPV4: ip, Family.IPV6: ip6}
    return ReflectorView(
        ip, {family: own for family, own in addresses.items() if own and family in (families or Family)}
    )


def access_of(values: Mapping[str, Any]) -> Access:
    """How to reach etcd, by parsed values; all that a command needs that only speaks with etcd.

    Raises:
        UsageError: they do not fit each other.
    """
    values = {setting.name: _value(setting, values) for setting in ETCD_SETTINGS}
    endpoints = values["etcd_endpoints"]
    if endpoints is None:
        authority = values["etcd_authority"]
        try:
            endpoints = _endpoints(f"{values['etcd_scheme']}://{authority or '127.0.0.1:2379'}")
        except ValueError:
            raise UsageError(f"etcd_authority is {authority!r}: want host:port") from None
    if bool(values["etcd_cert_file"]) != bool(values["etcd_key_file"]):
        raise UsageError("etcd_cert_file and etcd_key_file go together: want both or none")
    password = values["etcd_password"]
    if password is None and values["etcd_password_file"]:
        password = values["etcd_password_file"].read_text(encoding="utf-8").rstrip("\r\n")
    if bool(values["etcd_username"]) != bool(password):
        raise UsageError("etcd_username and etcd_password go together: want both or none")
    return Access(
        endpoints=endpoints,
        ca_cert=values["etcd_ca_cert_file"],
        cert=values["etcd_cert_file"],
        key=values["etcd_key_file"],
        username=values["etcd_username"],
        password=password,
        watch_timeout=values["etcd_watch_timeout"],
    )
