"""What one pass did, as one value that logs, history, status and metrics are views of."""

from collections.abc import Mapping
from dataclasses import dataclass

from rrwatch.bgp.sessions import Derived
from rrwatch.bird.apply import Applied
from rrwatch.bird.render import Rendered
from rrwatch.bird.target import Target


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one pass did.

    Attributes:
        cause: the etcd keys that changed since the pass before, sorted; empty where something else was the reason.
        derived: what was wanted.
        wanted, applied: by target.
        took: seconds for all of it.
    """

    cause: tuple[str, ...]
    derived: Derived
    wanted: Mapping[Target, Rendered]
    applied: Mapping[Target, Applied]
    took: float
