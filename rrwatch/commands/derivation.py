"""Derives sessions from keys for the commands that show or check them, asking BIRD the same questions as the daemon."""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rrwatch import roles
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Family, Topology
from rrwatch.bird.capabilities import CapabilityProbe
from rrwatch.bird.config import Capabilities
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.control import connect
from rrwatch.bird.target import BirdPaths, Target
from rrwatch.bird.version import Grammar
from rrwatch.calico.store import RecordStore
from rrwatch.daemon.birds import installed_passwords
from rrwatch.daemon.passwords import Passwords
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdError
from rrwatch.roles import NodeRole, ReflectorRole
from rrwatch.settings.model import Settings

_CONNECT_TIMEOUT = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Derivation:
    """What follows from keys and values on this host.

    Attributes:
        topology: the cluster that the keys describe.
        capabilities: what BIRD said it can do. If no BIRD could be asked, tunnels are unknown and no filter is refused.
        derived: the sessions, and the records that are rejected or have a warning.
        unanswered: one line for people if a record depends on BIRD and no BIRD could be asked about it, else empty.
        passwords: the files of the passwords that sessions ask for, and why each cannot be used; empty if it can.
    """

    topology: Topology
    capabilities: Capabilities
    derived: Derived
    unanswered: str
    passwords: Mapping[Path, str]

    def likely_capabilities(self, bird_paths: BirdPaths) -> Capabilities:
        """Returns the capabilities with a guess about tunnels if they are unknown.

        BIRD 2 is expected to support tunnels. Of BIRD 1.6 only Calico's fork does, which shows in the installed file.
        """
        grammar = self.capabilities.grammar
        if self.capabilities.tunnels is not None:
            return self.capabilities
        used = any(ConfigFile(target.config).mentions("krt_tunnel") for target in bird_paths.targets(grammar))
        return replace(self.capabilities, tunnels=grammar is Grammar.BIRD2 or used)


def derive(settings: Settings, items: Mapping[str, str]) -> Derivation:
    """Derives sessions from keys and values.

    The questions to BIRD are those that the daemon asks: whether it supports tunnels, and whether it accepts each
    custom filter. BIRD answers with `configure check`, which changes nothing in it.
    """
    role = settings.role
    topology = RecordStore.of(items, role.model).topology()
    probe = CapabilityProbe(settings.bird_paths, settings.grammar, threading.Event())
    capabilities = probe.learn(topology, filters=role.takes_filters) or Capabilities(Grammar.BIRD2)
    derived = roles.derive(role, topology, capabilities)
    passwords = Passwords(settings.passwords, partial(installed_passwords, settings.bird_paths))
    if isinstance(role, ReflectorRole):  # those of a node are calico-node's
        derived = passwords.resolve(derived, topology)
    unanswered = _unanswered(settings, topology, capabilities.grammar)
    return Derivation(topology, capabilities, derived, unanswered, passwords.files)


def _unanswered(settings: Settings, topology: Topology, grammar: Grammar) -> str:
    if not isinstance(settings.role, NodeRole):
        return ""
    for target in settings.bird_paths.targets(grammar):
        questions = []
        if settings.role.takes_filters and any(one.family in target.families for one in topology.custom_filters):
            questions.append("accepts the custom filters")
        if Family.IPV4 in target.families and any(pool.tunnel for pool in topology.pools):
            questions.append("supports the pools' tunnels")
        if questions and (reason := _why_not_asked(target)):
            return f"not known whether {target.name} {' and '.join(questions)}: it could not be asked: {reason}"
    return ""


def _why_not_asked(target: Target) -> str:
    try:
        with connect(target.socket, Deadline(_CONNECT_TIMEOUT, threading.Event())):
            pass
    except BirdError as error:
        return str(error)
    # BIRD reads what it is asked about from a file beside its own.
    return "" if os.access(target.config.parent, os.W_OK) else f"no permission to write in {target.config.parent}"
