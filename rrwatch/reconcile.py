"""One pass: the cluster as etcd describes it -> sessions -> texts -> what came of applying them."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Debug, Topology
from rrwatch.bird.apply import Applied, apply
from rrwatch.bird.render import ReflectorConfig, Rendered, Templates
from rrwatch.bird.target import Target
from rrwatch.errors import UsageError
from rrwatch.view import ReflectorView, View


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


def render_all(
    view: View, templates: Templates, targets: tuple[Target, ...], topology: Topology, derived: Derived
) -> dict[Target, Rendered]:
    """The configurations of all BIRDs of this host.

    Raises:
        TemplateError: the templates do not allow it.
        UsageError: the view is a node's: its sessions are derived, but no configuration of a node is rendered.
    """
    if not isinstance(view, ReflectorView):
        raise UsageError(
            "role is node: its sessions can be shown, its configuration cannot be rendered: want reflector"
        )
    rendered = {}
    for target in targets:
        sessions = tuple(session for session in derived.sessions if session.family is target.family)
        source = view.addresses[target.family]
        config = ReflectorConfig(view.router_id, source, topology.debug or Debug.OFF, sessions)
        rendered[target] = templates.render_reflector(config)
    return rendered


def apply_all(wanted: Mapping[Target, Rendered], stop: threading.Event) -> dict[Target, Applied]:
    """Brings every BIRD of this host to its configuration, one after the other; none waits for another to succeed.

    Raises:
        Stopping: rrwatch was asked to stop.
    """
    return {target: apply(target, rendered, stop) for target, rendered in wanted.items()}
