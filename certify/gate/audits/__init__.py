"""Audits that a spec asks for: planned, run, controlled, judged."""
