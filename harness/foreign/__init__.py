"""Other people's trainers: data as they read it, a command as a learner, and weights taken in from what it leaves."""
