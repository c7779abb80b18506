"""Floor 1: the exact Gaussian privacy curve, its inversions, and composition."""
