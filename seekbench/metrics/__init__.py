"""Measures, their means over queries, and significance. A run is ranked once (`seekbench.runs`) and joined with
the judgments once (`judged`); every measure is a function of that join."""

#: What is shown where no metric is asked for.
DEFAULT_METRICS = ("ndcg@10", "recall@100", "map", "mrr@10")
