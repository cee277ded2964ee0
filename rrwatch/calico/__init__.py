"""What Calico's keys and values mean; all that knows a key's name."""
