"""The rights of the service: `rrwatch check` is run by root, and must not find everything allowed for that reason."""

import grp
import os
import pwd

from rrwatch.errors import UsageError

SERVICE_USER, SERVICE_GROUP = "rrwatch", "bird"
"""`User=` and `Group=` of the unit; the group is the one of BIRD's control socket and of its configuration."""


def service_user() -> str | None:
    """The user that the service runs as on this host; None where there is no such user, as in a container."""
    try:
        return pwd.getpwnam(SERVICE_USER).pw_name
    except KeyError:
        return None


def become(user: str) -> None:
    """Takes on the rights of a user, for good, with the groups that the service manager gives the service.

    Raises:
        UsageError: there is no such user, or this process may not become that user.
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
        raise UsageError(f"--user is {user!r}: want to be root for that") from None


def name() -> str:
    """The user whose rights this process has, and its groups."""
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
