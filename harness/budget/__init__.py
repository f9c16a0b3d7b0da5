"""What training and evaluation take on given hardware: memory, disk and time from a stated model. Pure functions."""
