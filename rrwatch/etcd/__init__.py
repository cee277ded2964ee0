"""etcd: a mirror of its keys, and the thread that keeps it."""
