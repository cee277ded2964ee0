"""The rights of the service's user. `rrwatch check` takes them on, because everything is permitted to root."""

import grp
import os
import pwd

from rrwatch.errors import UsageError

SERVICE_USER, SERVICE_GROUP = "rrwatch", "bird"
"""`User=` and `Group=` of the unit. The group is that of BIRD's control socket and of its configuration."""


def service_user() -> str | None:
    """Returns the user that the service runs as; None if this host has no such user, as in a container."""
    try:
        return pwd.getpwnam(SERVICE_USER).pw_name
    except KeyError:
        return None


def become(user: str) -> None:
    """Takes on the rights of a user irrevocably, with the groups that the service manager gives the service.

    Raises:
        UsageError: there is no such user, or this process is not permitted to become that user.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise UsageError(f"--user is {user!r}: want a user of this host") from None
    if os.geteuid() == entry.pw_uid:
        return
    try:
        group = grp.getgrnam(SERVICE_GROUP).gr_gid if user == SERVICE_USER else entry.pw_gid
    except KeyError:
        group = entry.pw_gid
    try:
        os.setgroups(os.getgrouplist(user, group))
        os.setgid(group)
        os.setuid(entry.pw_uid)
    except PermissionError:
        raise UsageError(f"--user is {user!r}: only root can check with the rights of another user") from None


def name() -> str:
    """Returns the user whose rights this process has, and its groups, for messages."""
    groups = sorted({os.getegid(), *os.getgroups()})
    return f"{_user(os.geteuid())} ({', '.join(map(_group, groups))})"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
