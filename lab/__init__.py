"""Runs a real etcd, BIRD and rrwatch in network namespaces of this machine, for tests and the demonstration."""
