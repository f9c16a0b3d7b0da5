"""What holds TRL's trainers: their repairs, the order of presentation, resume."""
