"""Measures of topics as queries: each document belongs to the topic that scores it highest (Lbl2Vec)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from seekbench.errors import InputError
from seekbench.metrics.judged import Judged
from seekbench.metrics.measure import register

#: macro: mean over topics; micro: over all documents
Average = Literal["macro", "micro"]


@register(aggregate="run", needs=("doc_rows",))
def topic_f1(judged: Judged, *, k: None = None, average: Average = "macro", rel: int = 1) -> float:
    """F1 of classifying every document as the query (topic) that scores it highest, among all hits of the run.

    Of equal scores the earlier query's counts; a document that is no hit of any query has no topic. average=macro is
    the mean of the topics' F1, micro that of all pairs of a document and a topic. Rank all documents (k: the corpus's
    size). Equal to sklearn's f1_score where each document has one topic. Source: Lbl2Vec (Schopf et al. 2021).
    """
    scores = judged.hits.top_scores()
    rows = judged.hits.top_rows(scores.shape[1])
    if rows is None:
        raise InputError("topic_f1 needs the documents' places in the corpus, which a run file lacks")
    query, column = np.nonzero(np.asarray(rows) >= 0)
    doc, score = np.asarray(rows)[query, column].astype(np.int64), np.asarray(scores)[query, column]
    by = np.lexsort((query, -score, doc))
    doc, query = doc[by], query[by]
    first = np.ones(len(doc), dtype=np.bool_)
    first[1:] = doc[1:] != doc[:-1]
    relevant = judged.qrels.grades >= rel
    size = int(max(doc.max(initial=0), judged.qrels.doc_rows.max(initial=0))) + 1
    wanted = judged.qrels.query_rows()[relevant]
    right = np.isin(query[first] * size + doc[first], wanted * size + judged.qrels.doc_rows[relevant])
    topics = judged.num_queries
    predicted = np.bincount(query[first], minlength=topics)
    true = np.bincount(query[first][right], minlength=topics)
    total = predicted + np.bincount(wanted, minlength=topics)
    if average == "micro":
        return float(2 * true.sum() / total.sum()) if total.sum() else float("nan")
    return float(np.divide(2.0 * true, total, out=np.zeros(topics), where=total > 0).mean())
