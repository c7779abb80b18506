"""Floor 4: the spec, the policy and the check."""
