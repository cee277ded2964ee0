"""The command line: commands, options and tables. What the commands do is in `rrwatch.commands`."""
