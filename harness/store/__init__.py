"""What is kept on disk: checkpoints, replies, records, and how files are written."""
