"""Generative retrieval: a model that is trained to write the identifier of a document that answers a query.

`docids` makes the identifiers.
"""
