"""Training of retrievers: one loop for all of them. It samples tasks by ratio, can be killed and continued with the
same curve, stops early, and draws its curves."""
