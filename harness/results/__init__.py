"""What is read off the cells: matrix, metrics, publication, leaderboard."""
