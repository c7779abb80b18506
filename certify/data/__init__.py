"""Floor 1: records with stable ids, readers, and digests of what was read."""
