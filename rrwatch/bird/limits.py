"""Limits of CPU time and memory for code that may not end, such as an operator's template.

The limits are the kernel's. A timer signal, whose handler raises an exception in the main thread, also interrupts
Python's long arithmetic and regular expressions; RLIMIT_AS makes an allocation fail with MemoryError. Both cost 20 us
together, while a child process for each rendering would cost milliseconds. Not covered are single calls of C code that
run long on little memory; `range` could lead to some, so templates get one with a maximum.
"""

import contextlib
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rrwatch.errors import LimitExceeded, Stopping

_TICK = 0.1  # seconds of CPU time between two checks
_REST = 60.0  # seconds until code that took long before it reached a limit is run again
_LONG = 0.1  # of the limit


class Limits:
    """Limits of CPU time and memory; calling it gives a context manager for the code to be limited.

    Code that took long before it reached a limit is not run again for a minute, but fails at once with the same error:
    otherwise every change in etcd would have to wait for an endless template.
    """

    def __init__(self, seconds: float, memory: int, asked_to_stop: Callable[[], bool] = lambda: False) -> None:
        """Creates limits.

        Args:
            seconds: of CPU time. It is measured only in the main thread, where Python runs signal handlers.
            memory: bytes that the whole process may allocate beyond what it has.
            asked_to_stop: is called meanwhile, in a signal handler.
        """
        self._seconds, self._memory, self._asked_to_stop = seconds, memory, asked_to_stop
        self._failure: Exception | None = None
        self._rest_ends = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Runs the block of a `with` statement under the limits.

        Raises:
            LimitExceeded: the time is up; raised from any line of the block.
            MemoryError: the memory is used up; likewise.
            Stopping: rrwatch was asked to stop; likewise.
        """
        if self._failure and time.monotonic() < self._rest_ends:
            raise self._failure.with_traceback(None)
        began = time.thread_time()
        try:
            with _limited_memory(self._memory), self._limited_time(began + self._seconds):
                yield
        except Exception as error:
            at_a_limit = any(isinstance(each, LimitExceeded | MemoryError) for each in (error, error.__cause__))
            if at_a_limit and time.thread_time() - began > _LONG * self._seconds:
                error.__cause__ = error.__context__ = None  # they would keep alive what has been rendered
                self._failure, self._rest_ends = error, time.monotonic() + _REST
            raise
        self._failure = None

    @contextmanager
    def _limited_time(self, end: float) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        is_over = False

        def check(*_: object) -> None:
            if is_over:
                return
            if self._asked_to_stop():
                raise Stopping("rrwatch is stopping")
            if time.thread_time() > end:
                raise LimitExceeded(f"takes more than {self._seconds:g} s of CPU time")

        # The handler stays, because the default action for a signal that is still on its way is to terminate.
        signal.signal(signal.SIGVTALRM, check)
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, _TICK, _TICK)
            yield
        finally:
            is_over = True
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)


@contextmanager
def _limited_memory(memory: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        with contextlib.suppress(OSError):  # without /proc there is only the limit of time
            in_use = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
            limits = [limit for limit in (soft, hard, in_use + memory) if limit != resource.RLIM_INFINITY]
            _set_address_space((min(limits), hard))
        yield
    finally:
        _set_address_space((soft, hard))


def _set_address_space(limits: tuple[int, int]) -> None:
    with contextlib.suppress(OSError):  # a filter of system calls may forbid it; systemd's @default has prlimit
        resource.prlimit(0, resource.RLIMIT_AS, limits)
