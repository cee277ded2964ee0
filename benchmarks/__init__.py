"""How fast rrwatch is, beside what BIRD itself needs; not shipped."""
