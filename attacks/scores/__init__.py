"""Membership scores: arrays in, one number a record and model out, the higher the more like a member."""
