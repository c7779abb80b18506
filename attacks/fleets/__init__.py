"""Shadow models: trained, unlearned and looked at in blocks of many at once."""
