"""Tools for building and releasing rrwatch; not shipped in the wheel."""
