"""Floor 0: errors, verdicts, bounds as types, rounding, random streams, safe writing. Knows nothing of ours."""
