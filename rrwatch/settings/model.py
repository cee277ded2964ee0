"""All settings as one validated value."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Family
from rrwatch.bird.target import BirdPaths
from rrwatch.bird.version import Grammar
from rrwatch.calico.model import DataModel
from rrwatch.calico.models import MODELS
from rrwatch.datastore.access import Access
from rrwatch.errors import UsageError
from rrwatch.guard.rule import Limits
from rrwatch.roles import NodeRole, ReflectorRole, Role
from rrwatch.settings import parsers
from rrwatch.settings.table import ETCD_SETTINGS, SETTINGS, Setting
from rrwatch.settings.values import OFF, DatastoreName, Listen, LogFormat, LogLevel, ModelName, RoleName

_NODE_SPREAD = 3.0  # seconds
MODEL_OF = {DatastoreName.ETCD_V2: ModelName.CALICO_V1, DatastoreName.ETCD_V3: ModelName.CALICO_V3}
"""The data model that keys have, if none is set."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, validated together.

    Attributes:
        role: the role of this host, which decides whose sessions are derived.
        bird_paths: configuration files and control sockets of the BIRDs on this host.
        grammar: the grammar to write, or None for that of the running BIRD.
        templates: the operator's directory of templates, if there is one.
        state_dir: the directory for what must survive a restart.
        guard: the limits beyond which a change is held.
        status_listen: the address of the status pages, or None if they are off.
        min_interval: minimum number of seconds between two reconfigurations of BIRD.
        resync_interval: seconds between two full lists of etcd.
        etcd_spread: seconds over which lists at the start and after an outage are spread.
        log_format: the format of log lines, or None for console on a terminal and JSON elsewhere.
        passwords: the directory with the passwords of sessions, if there is one.
        has_own_model: whether the data model was set, and is not that of the datastore.
        session_metrics: whether there is a metric for each session.
        files: the files that settings name and that rrwatch reads, except for templates.
    """

    role: Role
    bird_paths: BirdPaths
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
    passwords: Path | None = None
    has_own_model: bool = False
    session_metrics: bool = False
    files: tuple[Path, ...] = ()

    def with_model(self, model: DataModel) -> "Settings":
        """Returns the same settings for keys of another data model."""
        return replace(self, role=self.role.with_model(model))

    def require_datastore(self) -> None:
        """Makes sure that the datastore can hold keys of the data model.

        Raises:
            UsageError: it cannot.
        """
        if self.role.model is MODELS["calico-v3"] and self.etcd.datastore == DatastoreName.ETCD_V2.value:
            raise UsageError("model is calico-v3 and datastore is etcdv2: Calico keeps its resources in etcd v3, set "
                             "datastore to etcdv3")  # fmt: skip

    def require_configuration(self) -> None:
        """Makes sure that rrwatch knows how to configure BIRD in this role with this data model.

        Raises:
            UsageError: it does not.
        """
        if isinstance(self.role, NodeRole) and not self.role.model.configures_nodes:
            raise UsageError("role is node and model is calico-v3: rrwatch prints the sessions of such a node "
                             "(`rrwatch sessions`), but does not configure its BIRD; calico-node does")  # fmt: skip


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Builds the settings from parsed values.

    Args:
        values: by the names in `SETTINGS`; None, or no entry, if a setting is not set.

    Raises:
        UsageError: a value is missing, or two contradict each other.
    """
    values = {setting.name: _value(setting, values) for setting in SETTINGS}
    role = _role(values)
    families = role.only or tuple(Family) if isinstance(role, NodeRole) else tuple(role.speaker.addresses)
    bird_paths = BirdPaths(
        families,
        values["config"],
        values["bird_socket"],
        values["config6"],
        values["bird6_socket"],
        values["bird_log"],
    )
    for one, other in ("config", "config6"), ("bird_socket", "bird6_socket"):
        if values[one] == values[other]:
            raise UsageError(
                f"{one} and {other} are both {values[one]}: want two, because BIRD 1.6 runs once for each family"
            )
    return Settings(
        role=role,
        bird_paths=bird_paths,
        grammar=values["bird_version"],
        etcd=access_of(values),
        templates=values["templates"],
        state_dir=values["state_dir"],
        guard=Limits(values["guard_percent"], values["guard_min"]),
        status_listen=None if values["status_listen"] == OFF else values["status_listen"],
        min_interval=values["min_interval"],
        resync_interval=values["resync_interval"],
        etcd_spread=_etcd_spread(values),
        log_format=values["log_format"],
        log_level=values["log_level"],
        passwords=values["bgp_passwords"],
        has_own_model=values["model"] is not None,
        session_metrics=values["session_metrics"],
        files=tuple(values[setting.name] for setting in SETTINGS if setting.is_file and values[setting.name]),
    )


def _etcd_spread(values: Mapping[str, Any]) -> float:
    """Returns the spread for the role: there are few reflectors and everything waits for them, but many nodes."""
    seconds: float | None = values["etcd_spread"]
    if seconds is not None:
        return seconds
    return _NODE_SPREAD if values["role"] is RoleName.NODE else 0.0


def _value(setting: Setting, values: Mapping[str, Any]) -> Any:
    value = values.get(setting.name)
    return setting.parse(setting.default) if value is None and setting.default is not None else value


def _role(values: Mapping[str, Any]) -> ReflectorRole | NodeRole:
    families: tuple[Family, ...] | None = values["families"]
    model = MODELS[_model_name(values).value]
    if values["role"] is RoleName.NODE:
        return NodeRole(values["nodename"] or socket.gethostname(), model, families, values["custom_filters"])
    for name in "ip", "ip6":
        if isinstance(values[name], parsers.Misread):
            raise UsageError(f"{name} is {values[name].text!r}: {values[name].reason}")
    ip: IPv4Address | None = values["ip"]
    ip6: IPv6Address | None = values["ip6"]
    if ip is None:
        raise UsageError("ip is not set: the reflector role needs its IPv4 address, --ip or the variable IP")
    if ip6 is None and Family.IPV6 in (families or ()):
        raise UsageError("ip6 is not set: families has 6, which needs an IPv6 address, --ip6 or the variable IP6")
    addresses = {Family.IPV4: ip, Family.IPV6: ip6}
    own = {family: one for family, one in addresses.items() if one and family in (families or Family)}
    others = tuple(one for one in values["reflectors"] or () if one not in own.values())
    return ReflectorRole(ip, Speaker(own, values["listen_port"], others, values["cluster_id"]), model)


def _model_name(values: Mapping[str, Any]) -> ModelName:
    name: ModelName | None = values["model"]
    return name or MODEL_OF[values["datastore"]]


def records_access_of(values: Mapping[str, Any]) -> tuple[Access, ModelName]:
    """Builds what the commands need that read and write records: a client of etcd, and the data model.

    Raises:
        UsageError: as for `access_of`.
    """
    access = access_of(values)
    return access, _model_name({setting.name: _value(setting, values) for setting in ETCD_SETTINGS})


def access_of(values: Mapping[str, Any]) -> Access:
    """Builds what a client of etcd needs from parsed values; commands that only talk to etcd need no other settings.

    Raises:
        UsageError: two values contradict each other, or the password file cannot be used.
    """
    values = {setting.name: _value(setting, values) for setting in ETCD_SETTINGS}
    endpoints = values["etcd_endpoints"]
    if endpoints is None:
        authority = values["etcd_authority"]
        try:
            endpoints = parsers.endpoints(f"{values['etcd_scheme']}://{authority or '127.0.0.1:2379'}")
        except ValueError:
            shown = parsers.without_password(authority or "")
            raise UsageError(f"etcd_authority is {shown!r}: want host:port") from None
    if bool(values["etcd_cert_file"]) != bool(values["etcd_key_file"]):
        raise UsageError("only one of etcd_cert_file and etcd_key_file is set: want both or none")
    password = values["etcd_password"]
    if password is None and values["etcd_password_file"]:
        password = _password_in(values["etcd_password_file"])
    if bool(values["etcd_username"]) != bool(password):
        raise UsageError("only one of etcd_username and etcd_password is set: want both or none")
    return Access(
        endpoints=endpoints,
        ca_cert=values["etcd_ca_cert_file"],
        cert=values["etcd_cert_file"],
        key=values["etcd_key_file"],
        username=values["etcd_username"],
        password=password,
        watch_timeout=values["etcd_watch_timeout"],
        datastore=values["datastore"].value,
    )


def _password_in(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"etcd_password_file is '{path}': want a file that can be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"etcd_password_file is '{path}': want a text file in UTF-8") from None
