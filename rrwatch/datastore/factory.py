"""Opens datastores: the only module that knows which adapters there are.

A new adapter needs a class that implements `port.Datastore`, a function here that imports it, and an entry in
`ADAPTERS`. The imports are inside the functions: only commands that use a datastore load its client library.
"""

from collections.abc import Callable

from rrwatch.datastore.access import Access
from rrwatch.datastore.members import Members
from rrwatch.datastore.port import Datastore
from rrwatch.datastore.retrying import RetryingDatastore

Adapter = Callable[[Access, Members], Datastore]


def _etcd_v2() -> Adapter:
    from rrwatch.datastore.etcd_v2 import EtcdV2  # noqa: PLC0415

    return EtcdV2


def _etcd_v3() -> Adapter:
    from rrwatch.datastore.etcd_v3 import EtcdV3  # noqa: PLC0415

    return EtcdV3


ADAPTERS: dict[str, Callable[[], Adapter]] = {"etcdv2": _etcd_v2, "etcdv3": _etcd_v3}
"""Name, as in `Access.datastore` -> a function that imports the adapter."""


def load(access: Access) -> Adapter:
    """Imports the adapter now, for a process that may not be able to read its modules later."""
    return ADAPTERS[access.datastore]()


def open_datastore(access: Access, members: Members | None = None) -> Datastore:
    """Makes a datastore for one user. It connects with the first call.

    Args:
        members: what other datastores of this process know about the same cluster, if they share that.
    """
    return load(access)(access, members or Members(access.endpoints))


def open_retrying(access: Access, timeout: float) -> RetryingDatastore:
    """Makes a datastore for a command that runs once. It connects with the first call.

    Args:
        timeout: seconds after which a call is not retried any more.
    """
    return RetryingDatastore(open_datastore(access), len(access.endpoints), timeout)
