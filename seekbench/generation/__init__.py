"""Queries made of documents by language models, and filters that keep the good ones.

`queries.generate` runs any sequence-to-sequence or causal checkpoint over a corpus; `filters` scores what came out
with a cross-encoder, or by whether a dense encoder finds the document again. Retrievers learn from such queries
(DSI-QG) or append them to documents (docT5query).

Nothing here imports torch before a model is about to run.
"""
