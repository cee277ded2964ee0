"""How to reach a datastore."""

from dataclasses import dataclass, field
from pathlib import Path

from rrwatch.http import Tls


@dataclass(frozen=True, slots=True)
class Access:
    """The settings of a datastore's client.

    Attributes:
        endpoints: URLs, `http://host:port` or `https://host:port`, at least one.
        ca_cert, cert, key: PEM files; without `ca_cert` the system's authorities are trusted.
        username, password: of a user of etcd; both or none.
        watch_timeout: seconds after which a watch without events is checked. A dead connection is noticed then.
        datastore: which API to use: a name in `factory.ADAPTERS`.
    """

    endpoints: tuple[str, ...]
    ca_cert: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    watch_timeout: float = 20.0
    datastore: str = "etcdv2"

    @property
    def tls(self) -> Tls:
        """The files for connections to an endpoint with https."""
        return Tls(self.ca_cert, self.cert, self.key)
