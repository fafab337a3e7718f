"""Measures, the mean over queries, and significance."""
