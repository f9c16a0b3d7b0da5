"""One file per data set: the official loader and its generated twin, marked by one scorer."""
