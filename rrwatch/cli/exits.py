"""Exit statuses of the commands."""

DONE, FAILED, USAGE, REFUSED, HELD, NO_DAEMON, DEGRADED = 0, 1, 2, 3, 4, 5, 6
"""Wrong settings give USAGE. DEGRADED: `status --strict` where sessions are down, or etcd is stale."""
