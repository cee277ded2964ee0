"""How rrwatch talks to etcd."""
