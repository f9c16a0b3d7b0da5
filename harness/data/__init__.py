"""The official data in a folder: fetched, locked, looked at, and compared."""
