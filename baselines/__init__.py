"""The paradigms: one file per family, a variant is one line. Learning is TRL's, thinly held."""
