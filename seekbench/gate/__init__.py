"""The regression gate: results against a baseline, cell by cell (`seekbench check`)."""
