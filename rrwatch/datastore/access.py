"""How to reach an etcd cluster."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Access:
    """What a client of etcd needs.

    Attributes:
        endpoints: URLs, `http://host:port` or `https://host:port`, at least one.
        ca_cert, cert, key: PEM files; without `ca_cert` the system's authorities count.
        username, password: basic authentication; both or none.
        watch_timeout: seconds until a watch without news is asked again, and so until a dead connection is noticed.
    """

    endpoints: tuple[str, ...]
    ca_cert: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    watch_timeout: float = 20.0
