"""Benchmarks that outside libraries ask and mark, each in a child process that the harness starts and ends."""
