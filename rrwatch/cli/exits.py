"""Exit statuses of the commands."""

DONE, FAILED, USAGE, REFUSED, HELD, NO_DAEMON, DEGRADED = range(7)
"""Wrong settings give USAGE. DEGRADED: `status --strict` where sessions are down, or etcd is stale."""
