"""A small network on this machine, for tests and the demonstration: real etcd, real BIRD, real rrwatch."""
