"""Floor 1: losses, the objective, proven arithmetic, and the bounds on the distance to the retrained model."""
