"""What each command does, whoever calls it."""
