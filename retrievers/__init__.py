"""Retrievers: one module or folder a family, found by name through `registry`."""
