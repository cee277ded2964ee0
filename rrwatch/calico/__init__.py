"""Calico's data models: the names of its keys and the meaning of their values."""
