"""What each setting is: its name, its variables, its text's rule, its default."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwatch.bgp.topology import Family
from rrwatch.settings import parsers
from rrwatch.settings.values import LogFormat, LogLevel, RoleName

SETTINGS_FILE = Path("/etc/rrwatch/rrwatch.toml")


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
    def is_file(self) -> bool:
        """Whether it names a file that rrwatch reads."""
        return self.parse is parsers.readable_file

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables; the first that is set wins."""
        return (f"RRWATCH_{self.name.upper()}", *self.older)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A setting that rrwatch does not have, in the settings file or in the environment; it has no effect.

    Attributes:
        name: as it stands there.
        place: the path of the settings file, or `the environment`.
        hint: what may have been meant.
    """

    name: str
    place: str
    hint: str

    def __str__(self) -> str:
        return f"{self.name} in {self.place} is no setting and has no effect: {self.hint}"


SETTINGS = (
    Setting("role", parsers.choice(RoleName), "What this BIRD is: reflector or node.", "reflector"),
    Setting(
        "ip",
        parsers.address(Family.IPV4),
        "This reflector's IPv4 address: router id and source address.",
        older=("IP",),
    ),
    Setting(
        "ip6", parsers.address(Family.IPV6), "This reflector's IPv6 source address; turns IPv6 on.", older=("IP6",)
    ),
    Setting(
        "nodename",
        parsers.node_name,
        "This node's name in etcd, in the node role.",
        shown_default="the host's name",
        older=("NODENAME", "HOSTNAME"),
    ),
    Setting("families", parsers.families, "4, 6 or 4,6.", shown_default="by the addresses that are set"),
    Setting(
        "etcd_endpoints",
        parsers.endpoints,
        "URLs of etcd's members, with commas between them.",
        shown_default="http://127.0.0.1:2379",
        older=("ETCD_ENDPOINTS",),
    ),
    Setting(
        "etcd_authority", parsers.authority, "One etcd as host:port; the older spelling.", older=("ETCD_AUTHORITY",)
    ),
    Setting("etcd_scheme", parsers.scheme, "Goes with etcd_authority: http or https.", "http", older=("ETCD_SCHEME",)),
    Setting("etcd_ca_cert_file", parsers.readable_file, "PEM file of etcd's authority.", older=("ETCD_CA_CERT_FILE",)),
    Setting(
        "etcd_cert_file", parsers.readable_file, "PEM file of rrwatch's own certificate.", older=("ETCD_CERT_FILE",)
    ),
    Setting("etcd_key_file", parsers.readable_file, "PEM file of its key.", older=("ETCD_KEY_FILE",)),
    Setting("etcd_username", str, "User for etcd's basic authentication.", older=("ETCD_USERNAME",)),
    Setting("etcd_password", str, "That user's password; better in a file.", older=("ETCD_PASSWORD",)),
    Setting("etcd_password_file", parsers.readable_file, "File with that password.", older=("ETCD_PASSWORD_FILE",)),
    Setting("config", parsers.bird_path, "BIRD's configuration, owned by rrwatch.", "/etc/bird/bird.cfg"),
    Setting("config6", parsers.bird_path, "The same of BIRD 1.6 for IPv6.", "/etc/bird/bird6.cfg"),
    Setting("bird_socket", parsers.socket_path, "BIRD's control socket.", "/run/bird/bird.ctl"),
    Setting("bird6_socket", parsers.socket_path, "The same of BIRD 1.6 for IPv6.", "/run/bird/bird6.ctl"),
    Setting(
        "bird_version",
        parsers.bird_version,
        "For which BIRD to write: 1.6, 2 or 3.",
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
        "Whether a node takes operators' filters from etcd, which are code: on or off.",
        "off",
    ),
    Setting("templates", parsers.folder, "Folder of templates that win over the shipped ones."),
    Setting(
        "state_dir",
        parsers.absolute,
        "Folder for what must outlive a restart: the guard's baseline, the history.",
        "/var/lib/rrwatch",
    ),
    Setting(
        "guard_percent",
        parsers.whole(100),
        "Hold a change in which more than this share of the known nodes vanish at once; 0 turns the guard off.",
        "50",
    ),
    Setting(
        "guard_min",
        parsers.whole(1_000_000),
        "With fewer known nodes than this no share is held.",
        "5",
    ),
    Setting(
        "status_listen",
        parsers.listen,
        "Address of the status and health pages; port 0 picks one, empty turns it off.",
        "127.0.0.1:9817",
        empty_counts=True,
    ),
    Setting("min_interval", parsers.seconds(0), "Seconds between two configures of BIRD.", "0.25"),
    Setting("resync_interval", parsers.seconds(1), "Seconds between two full lists of etcd.", "300"),
    Setting(
        "etcd_watch_timeout",
        parsers.seconds(1),
        "Seconds until a watch without news is asked again, and so until an etcd that hangs is noticed.",
        "20",
    ),
    Setting(
        "etcd_spread",
        parsers.seconds(0),
        "Seconds over which lists at the start and after an outage are spread at random.",
        shown_default="0; 3 in the node role",
    ),
    Setting(
        "log_format",
        parsers.choice(LogFormat),
        "console or json.",
        shown_default="console on a terminal, else json",
    ),
    Setting("log_level", parsers.choice(LogLevel), "debug, info, warning or error.", "info"),
)
"""Every setting there is; command line, environment, settings file and README go by this table."""

ETCD_SETTINGS = tuple(setting for setting in SETTINGS if setting.name.startswith("etcd_"))
