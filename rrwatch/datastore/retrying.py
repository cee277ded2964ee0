"""A datastore that retries, for commands that run once."""

from collections.abc import Callable
from typing import TypeVar

from rrwatch.datastore.port import Datastore, Snapshot
from rrwatch.errors import TransportError, WrongApi

_T = TypeVar("_T")


class RetryingDatastore:
    """Repeats each call on the next endpoint until one answers; raises TransportError if none does in time."""

    def __init__(self, datastore: Datastore, endpoints: int, timeout: float) -> None:
        """Wraps a datastore.

        Args:
            endpoints: how many it has.
            timeout: seconds after which a call is not retried any more.
        """
        self._datastore, self._endpoints, self._timeout = datastore, endpoints, timeout

    def list(self, prefix: str) -> Snapshot:
        """Returns all keys below the prefix."""
        return self._retry(lambda: self._datastore.list(prefix))

    def swap(self, key: str, before: str | None, after: str | None) -> bool:
        """Writes or deletes a key if nobody else has changed it; returns whether it has the new value now."""
        return self._retry(lambda: self._datastore.swap(key, before, after))

    def _retry(self, call: Callable[[], _T]) -> _T:
        # --help and wrong usage are answered before tenacity is loaded.
        from tenacity import (  # noqa: PLC0415
            RetryCallState,
            Retrying,
            retry_if_exception_type,
            stop_after_delay,
            wait_random_exponential,
        )

        time_is_over = stop_after_delay(self._timeout)

        def give_up(state: RetryCallState) -> bool:
            # An API that is not served is no outage: once every endpoint was asked, waiting does not help.
            error = state.outcome.exception() if state.outcome else None
            return time_is_over(state) or (isinstance(error, WrongApi) and state.attempt_number >= self._endpoints)

        retrying = Retrying(
            retry=retry_if_exception_type(TransportError),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            stop=give_up,
            before_sleep=lambda _: self._datastore.rotate(),
            reraise=True,
        )
        return retrying(call)
