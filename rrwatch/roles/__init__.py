"""What this host is, a route reflector or a Calico node, and so which sessions its BIRDs must hold."""

from rrwatch.roles.node import NodeRole
from rrwatch.roles.reflector import ReflectorRole
from rrwatch.roles.role import Role, derive

__all__ = ["NodeRole", "ReflectorRole", "Role", "derive"]
