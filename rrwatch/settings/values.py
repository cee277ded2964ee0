"""The types of settings that are nothing but settings."""

from dataclasses import dataclass
from enum import Enum


class RoleName(Enum):
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


OFF = Listen("", 0)  # None is for what is not set
