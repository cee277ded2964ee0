"""All settings of rrwatch: what they are called, how their texts are read, and the one value that they make."""
