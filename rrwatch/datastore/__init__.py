"""The connection to etcd: a port, its adapters, and what follows the keys."""
