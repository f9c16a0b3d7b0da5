"""A report to click through: runs as a static site that opens from a file, from a number to the replies behind it."""
