"""Floor 1: weights, loaded without running code."""
