"""Scores that papers report and that have no null of their own, each beside its value for retrained models."""
