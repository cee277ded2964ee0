"""Measures how fast rrwatch is compared with BIRD alone; not installed."""
