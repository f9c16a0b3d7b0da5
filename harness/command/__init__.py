"""The command line: flags, plans, checks, progress and printing."""
