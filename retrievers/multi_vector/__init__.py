"""Multi-vector retrieval: a vector a token, scored by late interaction (MaxSim).

`checkpoint` reads recipes, `encode` makes token vectors, `tokens` stores them, `maxsim` scores exactly; `candidates`
lists what finds documents to score without scoring all (`fde`, `plaid`, `heuristic`); `retriever` joins them.
"""
