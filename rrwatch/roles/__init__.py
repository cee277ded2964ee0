"""Whose sessions are wanted: those of a route reflector, or those of a node."""

from rrwatch.roles.node import NodeRole
from rrwatch.roles.reflector import ReflectorRole

Role = ReflectorRole | NodeRole

__all__ = ["NodeRole", "ReflectorRole", "Role"]
