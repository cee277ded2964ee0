"""Types of values that only settings have."""

from dataclasses import dataclass, field
from enum import Enum


class RoleName(Enum):
    """The role of the BIRD that rrwatch configures."""

    REFLECTOR = "reflector"
    NODE = "node"


class DatastoreName(Enum):
    """The API that serves Calico's keys, by its name in `factory.ADAPTERS`."""

    ETCD_V2 = "etcdv2"
    ETCD_V3 = "etcdv3"


class ModelName(Enum):
    """What Calico's keys mean, by its name in `models.MODELS`."""

    CALICO_V1 = "calico-v1"
    CALICO_V3 = "calico-v3"


class LogFormat(Enum):
    """The format of log lines."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(Enum):
    """The lowest level of events that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class HookEvent(Enum):
    """A log event that hooks can be told of."""

    HELD = "held"
    REFUSED = "refused"
    SESSION_LOST = "session_lost"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class HookSettings:
    """Who is told of events, and of which.

    Attributes:
        command: a program, as an absolute path or a name, and its arguments; empty if there is none.
        url: where events are posted to; empty if that is nowhere.
        events: the events.
        timeout: seconds that each of them may take for one event.
    """

    command: tuple[str, ...] = ()
    url: str = field(default="", repr=False)
    events: frozenset[HookEvent] = frozenset(HookEvent)
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to serve HTTP on; port 0 picks a free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


OFF = Listen("", 0)
"""The value of a setting that turns the status pages off; None means that it is not set."""
