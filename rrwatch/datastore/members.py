"""What all users of etcd in one process know together of its members."""

import random
import threading
import time
from collections.abc import Callable, Sequence

from rrwatch.errors import TransportError

PROOF_LASTS = 10.0
"""Seconds for which a member that was seen to be one of the majority needs no further proof."""


class Members:
    """The order in which to ask, and who is one of the majority.

    A node follows several folders, and a proof for one of them is a proof for all. It is a quorum read, which etcd
    writes to the log of each member as it does a change: of thousands of nodes, one each is enough.
    """

    def __init__(self, endpoints: Sequence[str], proof_lasts: float = PROOF_LASTS) -> None:
        """Knows nothing of them yet.

        Args:
            endpoints: URLs. The order is drawn, so that processes spread over them; the users in one share it.
        """
        self.order = tuple(random.sample(endpoints, len(endpoints)))
        self._proofs = {endpoint: _Proof(proof_lasts) for endpoint in endpoints}

    def prove(self, endpoint: str, ask: Callable[[], str]) -> str:
        """Makes sure that a member is one of the majority; -> the id of its cluster.

        Args:
            ask: a quorum read of this member; -> the same. It is not called where the answer is known.

        Raises:
            TransportError: it is not, or cannot say so.
        """
        return self._proofs[endpoint].get(ask)


class _Proof:
    def __init__(self, lasts: float) -> None:
        self._lasts = lasts
        self._lock = threading.Lock()
        self._cluster_id, self._proven = "", 0.0
        self._error, self._failed = "", 0.0

    def get(self, ask: Callable[[], str]) -> str:
        began = time.monotonic()
        with self._lock:
            if self._cluster_id and self._proven >= began - self._lasts:
                return self._cluster_id
            # Whoever waited for another's question waited for the answer too.
            if self._failed >= began:
                raise TransportError(self._error)
            try:
                self._cluster_id = ask()
            except TransportError as error:
                self._cluster_id, self._error, self._failed = "", str(error), time.monotonic()
                raise
            self._proven = time.monotonic()
            return self._cluster_id
