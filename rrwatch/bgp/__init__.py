"""BGP as Calico keeps it: keys, the cluster that they describe, the sessions that follow; no I/O."""
