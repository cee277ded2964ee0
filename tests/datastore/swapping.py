"""Several writers of one key, each with a connection of its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from rrwatch.datastore.port import Datastore

WRITERS, TIMES = 4, 8

_ATTEMPTS = 100 * WRITERS * TIMES
_TIMEOUT = 30.0  # seconds


def count_together(connect: Callable[[], Datastore], key: str) -> int:
    """Increments the number in a key from several threads; returns the number that it has in the end.

    It is `WRITERS * TIMES` if no writer overwrote what another one had written meanwhile.
    """
    folder = key.rsplit("/", 1)[0]
    all_have_read = Barrier(WRITERS, timeout=_TIMEOUT)

    def count(writer: int) -> None:
        datastore = connect()
        before = datastore.list(folder).items.get(key)
        all_have_read.wait()
        done = 0
        for _ in range(_ATTEMPTS):
            number = int(before.split()[0]) if before else 0
            done += datastore.swap(key, before, f"{number + 1} by {writer}")
            if done == TIMES:
                return
            before = datastore.list(folder).items.get(key)
        raise AssertionError(f"{done} of {TIMES} after {_ATTEMPTS} attempts")

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(count, range(WRITERS)))
    return int(connect().list(folder).items[key].split()[0])
