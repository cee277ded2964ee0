"""Types of values that only settings have."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to serve HTTP on; port 0 picks a free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


OFF = Listen("", 0)
"""The value of a setting that turns the status pages off; None means that it is not set."""
