"""The table of settings: name, environment variables, parser, help and default of each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwatch.bgp.topology import Family
from rrwatch.settings import parsers
from rrwatch.settings.values import DatastoreName, LogFormat, LogLevel, ModelName, RoleName

SETTINGS_FILE = Path("/etc/rrwatch/rrwatch.toml")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: its name in the settings file; the flag is `--name`, with dashes.
        parse: parses a text into the value; raises ValueError with a text that says what is wanted.
        help: one line for `--help`.
        default: the text of the default, or None if there is none.
        shown_default: the default as `--help` describes it, if it is not a fixed value.
        older: environment variables that are used if `RRWATCH_<NAME>` is not set; the first that is set wins.
        empty_counts: whether an empty environment variable is a value, instead of the same as an unset one.
    """

    name: str
    parse: Callable[[str], Any]
    help: str
    default: str | None = None
    shown_default: str | None = None
    older: tuple[str, ...] = ()
    empty_counts: bool = False

    @property
    def is_file(self) -> bool:
        """Whether the value is the path of a file that rrwatch reads."""
        return self.parse is parsers.readable_file

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables that set it; the first that is set wins."""
        return (f"RRWATCH_{self.name.upper()}", *self.older)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A name in the settings file or the environment that looks like a setting and is none. It has no effect.

    Attributes:
        name: the name as written.
        origin: the path of the settings file, or `the environment`.
        hint: what may have been meant.
    """

    name: str
    origin: str
    hint: str

    @property
    def fact(self) -> str:
        """What is wrong, without the hint."""
        return f"{self.name} in {self.origin} is not a setting and has no effect"

    def __str__(self) -> str:
        return f"{self.fact}: {self.hint}"


SETTINGS = (
    Setting("role", parsers.choice(RoleName), "The role of this host: reflector or node.", "reflector"),
    Setting(
        "ip",
        parsers.address(Family.IPV4),
        "IPv4 address of this reflector: its router id and source address.",
        older=("IP",),
    ),
    Setting(
        "ip6", parsers.address(Family.IPV6), "IPv6 source address of this reflector; turns IPv6 on.", older=("IP6",)
    ),
    Setting(
        "nodename",
        parsers.node_name,
        "Name of this node in etcd, in the node role.",
        shown_default="the host's name",
        older=("NODENAME", "HOSTNAME"),
    ),
    Setting(
        "families", parsers.families, "Address families: 4, 6 or 4,6.", shown_default="by the addresses that are set"
    ),
    Setting("listen_port", parsers.port, "TCP port on which the BIRD of this reflector listens.", "179"),
    Setting(
        "reflectors",
        parsers.addresses,
        "Addresses of the other reflectors, separated by commas; used if etcd has no record of this one.",
    ),
    Setting(
        "cluster_id",
        parsers.cluster_id,
        "Cluster id of this reflector; used if etcd has none for it.",
        shown_default="BIRD's own, the router id",
    ),
    Setting(
        "datastore",
        parsers.choice(DatastoreName),
        "The API of etcd in which Calico keeps its keys: etcdv2 or etcdv3.",
        "etcdv2",
        older=("DATASTORE_TYPE",),
    ),
    Setting(
        "model",
        parsers.choice(ModelName),
        "What Calico's keys are: those of its releases up to 2.6, calico-v1, or resources, calico-v3.",
        shown_default="calico-v1 with etcdv2, calico-v3 with etcdv3",
    ),
    Setting(
        "etcd_endpoints",
        parsers.endpoints,
        "URLs of the members of etcd, separated by commas.",
        shown_default="http://127.0.0.1:2379",
        older=("ETCD_ENDPOINTS",),
    ),
    Setting(
        "etcd_authority",
        parsers.authority,
        "A single etcd as host:port; used if etcd_endpoints is not set.",
        older=("ETCD_AUTHORITY",),
    ),
    Setting("etcd_scheme", parsers.scheme, "Scheme for etcd_authority: http or https.", "http", older=("ETCD_SCHEME",)),
    Setting(
        "etcd_ca_cert_file",
        parsers.readable_file,
        "PEM file with the CA that signed etcd's certificates.",
        older=("ETCD_CA_CERT_FILE",),
    ),
    Setting(
        "etcd_cert_file", parsers.readable_file, "PEM file with rrwatch's own certificate.", older=("ETCD_CERT_FILE",)
    ),
    Setting(
        "etcd_key_file", parsers.readable_file, "PEM file with the key of that certificate.", older=("ETCD_KEY_FILE",)
    ),
    Setting("etcd_username", str, "User of etcd, if it wants one.", older=("ETCD_USERNAME",)),
    Setting("etcd_password", str, "Password of that user; better kept in a file.", older=("ETCD_PASSWORD",)),
    Setting(
        "etcd_password_file", parsers.readable_file, "File that holds the password.", older=("ETCD_PASSWORD_FILE",)
    ),
    Setting("config", parsers.bird_path, "BIRD's configuration file, which rrwatch writes.", "/etc/bird/bird.cfg"),
    Setting("config6", parsers.bird_path, "Configuration file of BIRD 1.6 for IPv6.", "/etc/bird/bird6.cfg"),
    Setting("bird_socket", parsers.socket_path, "BIRD's control socket.", "/run/bird/bird.ctl"),
    Setting("bird6_socket", parsers.socket_path, "Control socket of BIRD 1.6 for IPv6.", "/run/bird/bird6.ctl"),
    Setting(
        "bird_version",
        parsers.bird_version,
        "The BIRD to write for: 1.6, 2 or 3.",
        shown_default="what BIRD itself says",
    ),
    Setting(
        "bird_log",
        parsers.bird_log,
        "Where BIRD logs: syslog, stderr, or the absolute path of a file.",
        shown_default="no `log` statement: BIRD's own default",
    ),
    Setting(
        "custom_filters",
        parsers.switch,
        "Whether a node uses the custom filters in etcd, which are code: on or off.",
        "off",
    ),
    Setting(
        "bgp_passwords",
        parsers.absolute,
        "Directory with the passwords of sessions, one file SECRET/KEY for each, as Kubernetes mounts Secrets.",
    ),
    Setting("templates", parsers.folder, "Directory with templates that replace the ones rrwatch comes with."),
    Setting(
        "state_dir",
        parsers.absolute,
        "Directory for what must survive a restart: the guard's baseline and the history.",
        "/var/lib/rrwatch",
    ),
    Setting(
        "guard_percent",
        parsers.whole(100),
        "Hold sessions that nobody asked to end if they are more than this share of all; 0 turns the guard off.",
        "50",
    ),
    Setting(
        "guard_min",
        parsers.whole(1_000_000),
        "Do not hold a share of sessions if fewer than this number are known.",
        "5",
    ),
    Setting(
        "status_listen",
        parsers.listen,
        "Address of the status pages; port 0 picks a free port, an empty value turns them off.",
        "127.0.0.1:9817",
        empty_counts=True,
    ),
    Setting(
        "session_metrics",
        parsers.switch,
        "Whether there is a metric for each session, with its node: on or off.",
        "off",
    ),
    Setting(
        "min_interval", parsers.seconds(0), "Minimum number of seconds between two reconfigurations of BIRD.", "0.25"
    ),
    Setting("resync_interval", parsers.seconds(1), "Seconds between two full lists of etcd.", "300"),
    Setting(
        "etcd_watch_timeout",
        parsers.seconds(1),
        "Seconds until a watch without events is renewed, which is how long a hanging etcd can go unnoticed.",
        "20",
    ),
    Setting(
        "etcd_spread",
        parsers.seconds(0),
        "Seconds over which the first list, and the list after an outage, are spread at random.",
        shown_default="0; 3 in the node role",
    ),
    Setting(
        "log_format",
        parsers.choice(LogFormat),
        "Format of log lines: console or json.",
        shown_default="console on a terminal, else json",
    ),
    Setting(
        "log_level", parsers.choice(LogLevel), "Lowest level that is logged: debug, info, warning or error.", "info"
    ),
)
"""Every setting. Flags, environment variables, settings file, manual page and completion follow from this table."""

ETCD_SETTINGS = tuple(
    setting for setting in SETTINGS if setting.name in ("datastore", "model") or setting.name.startswith("etcd_")
)
"""What commands accept that only talk to etcd."""
