"""etcd for the commands that ask it once: every endpoint is tried until one answers, or until the time is over."""

from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from rrwatch.errors import TransportError, WrongApi
from rrwatch.etcd.access import Access
from rrwatch.etcd.mirror import Snapshot
from rrwatch.etcd.v2 import EtcdV2

_T = TypeVar("_T")


class PatientEtcd:
    """One user of an etcd cluster. Every method raises TransportError where no endpoint answers in time."""

    def __init__(self, access: Access, timeout: float) -> None:
        """Connects to nothing yet.

        Args:
            timeout: seconds after which no further attempt is begun.
        """
        self._access, self._timeout = access, timeout
        self._etcd = EtcdV2(access)

    def list(self, prefix: str) -> Snapshot:
        """Everything below a folder."""
        return self._patiently(lambda: self._etcd.list(prefix))

    def put(self, key: str, value: str) -> None:
        """Writes a key."""
        self._patiently(lambda: self._etcd.put(key, value))

    def remove(self, key: str) -> None:
        """Deletes a key; one that is not there counts as deleted."""
        self._patiently(lambda: self._etcd.remove(key))

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        time_is_over = stop_after_delay(self._timeout)
        retrying = Retrying(
            retry=retry_if_exception_type(TransportError),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            stop=lambda state: time_is_over(state) or self._asked_all_in_vain(state),
            before_sleep=lambda _: self._etcd.rotate(),
            reraise=True,
        )
        return retrying(ask)

    def _asked_all_in_vain(self, state: RetryCallState) -> bool:
        """An API that is not served is no outage: once every endpoint had its turn, waiting does not help."""
        error = state.outcome.exception() if state.outcome else None
        return isinstance(error, WrongApi) and state.attempt_number >= len(self._access.endpoints)
