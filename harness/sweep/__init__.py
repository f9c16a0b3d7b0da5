"""A grid of runs on one machine or on many: the file, the tree of shared stages, who runs it, and the ledger."""
