"""Exit statuses of the commands."""

DONE, FAILED, USAGE, REFUSED, HELD, NO_DAEMON, DEGRADED = 0, 1, 2, 3, 4, 5, 6
"""Wrong settings give USAGE. DEGRADED: `status --strict` where sessions are down, or etcd is stale."""

DECLINED, MISSING = HELD, NO_DAEMON
"""What somebody was asked and did not want; a configuration that there is not."""
