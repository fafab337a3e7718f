"""Learned sparse retrieval: weights of vocabulary terms by a neural encoder, and exact search over them."""
