"""What counts and scores prove: intervals, bands, tests, lower bounds on epsilon."""
