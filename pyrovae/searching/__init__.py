"""Searches over declarations: spaces of choices, trials, sweeps and comparisons with errors."""
