"""From observations of models to findings: games, nulls, controls and verdicts."""
