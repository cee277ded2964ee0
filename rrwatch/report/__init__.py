"""What rrwatch tells: events, history, status, metrics."""
