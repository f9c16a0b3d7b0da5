"""How a model is asked and its replies are marked."""
