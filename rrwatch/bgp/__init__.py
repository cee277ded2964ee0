"""BGP in a Calico cluster: the topology and the sessions that follow from it, without I/O or names of keys."""
