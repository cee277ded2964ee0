"""rrwatch keeps BIRD's BGP sessions equal to what Calico's keys in etcd ask for."""

__version__ = "0.1.0"
