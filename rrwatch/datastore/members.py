"""What all datastores in one process know about the members of their cluster."""

import random
import threading
import time
from collections.abc import Callable, Sequence

from rrwatch.errors import TransportError

PROOF_LIFETIME = 10.0
"""Seconds for which a member that was in touch with a majority is not asked again."""


class Members:
    """The order in which endpoints are asked, and which of them were in touch with a majority lately.

    A node follows several prefixes, and a proof for one of them is a proof for all. etcd v2 writes each quorum read to
    the log of every member, as it does a change; with thousands of nodes, one read for each of them is enough.
    """

    def __init__(self, endpoints: Sequence[str], proof_lifetime: float = PROOF_LIFETIME) -> None:
        """Knows nothing about them yet.

        Args:
            endpoints: URLs. Their order is random, so that processes spread over them.
        """
        self.order = tuple(random.sample(endpoints, len(endpoints)))
        self._proofs = {endpoint: _Proof(proof_lifetime) for endpoint in endpoints}

    def prove(self, endpoint: str, ask: Callable[[], str]) -> str:
        """Makes sure that a member is in touch with a majority; returns the id of its cluster.

        Args:
            ask: reads from this member with a quorum and returns its cluster's id. It is not called if the last
                proof is recent.

        Raises:
            TransportError: the member is not in touch with a majority, or does not answer.
        """
        return self._proofs[endpoint].get(ask)


class _Proof:
    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._cluster_id, self._proven = "", 0.0
        self._error, self._failed = "", 0.0

    def get(self, ask: Callable[[], str]) -> str:
        began = time.monotonic()
        with self._lock:
            if self._cluster_id and self._proven >= began - self._lifetime:
                return self._cluster_id
            # The threads that waited for the lock take the failure of the one that asked.
            if self._failed >= began:
                raise TransportError(self._error)
            try:
                self._cluster_id = ask()
            except TransportError as error:
                self._cluster_id, self._error, self._failed = "", str(error), time.monotonic()
                raise
            self._proven = time.monotonic()
            return self._cluster_id
