"""A few lines of Java without a compiler: a search function put together from method handles.

A hit read across the bridge costs about 10 microseconds, 1,000 hits of a query ten times as long as Lucene
takes to find them. So a query's hits are packed on the Java side and come over as one byte array. The JDK
wheel has no compiler, and a binary class has no place in a source tree; java.lang.invoke can compose the same
function from existing methods, and the JIT compiles it. In Java it would read:

    byte[] search(String text) {
        ScoreDoc[] hits = searcher.search(generator.buildQuery(fields, analyzer, text), k).scoreDocs;
        ByteBuffer out = ByteBuffer.allocate(8 * hits.length);
        for (ScoreDoc hit : hits) out.putInt(hit.doc).putFloat(hit.score);
        return out.array();
    }
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.retrievers.bm25.jvm import cast, java, lucene

_BUFFER = "java.nio.ByteBuffer"
_HIT = "org.apache.lucene.search.ScoreDoc"
_HITS = f"[L{_HIT};"
_TOP = "org.apache.lucene.search.TopDocs"
_QUERY = "org.apache.lucene.search.Query"

#: One packed hit: ByteBuffer writes big-endian.
HIT = np.dtype([("doc", ">i4"), ("score", ">f4")])


def _class(name: str) -> Any:
    boxed = {"int": "Integer", "float": "Float", "void": "Void"}.get(name)
    return java(f"java.lang.{boxed}").TYPE if boxed else java("java.lang.Class").forName(name)


def _type(returns: str, *parameters: str) -> Any:
    return java("java.lang.invoke.MethodType").methodType(_class(returns), [_class(p) for p in parameters])


def _lookup() -> Any:
    return java("java.lang.invoke.MethodHandles").publicLookup()


def _method(owner: str, name: str, returns: str, *parameters: str) -> Any:
    return _lookup().findVirtual(_class(owner), name, _type(returns, *parameters))


def _static(owner: str, name: str, returns: str, *parameters: str) -> Any:
    return _lookup().findStatic(_class(owner), name, _type(returns, *parameters))


def _getter(owner: str, name: str, returns: str) -> Any:
    return _lookup().findGetter(_class(owner), name, _class(returns))


def _pack() -> Any:
    """Handle (ScoreDoc[]) -> byte[]."""
    handles = java("java.lang.invoke.MethodHandles")
    put_doc = handles.filterArguments(
        _method(_BUFFER, "putInt", _BUFFER, "int"), 1, _getter(_HIT, "doc", "int")
    )
    put_score = handles.filterArguments(
        _method(_BUFFER, "putFloat", _BUFFER, "float"), 1, _getter(_HIT, "score", "float")
    )
    # (buffer, hit) -> buffer
    put = handles.permuteArguments(
        handles.collectArguments(put_score, 0, put_doc), _type(_BUFFER, _BUFFER, _HIT), 0, 1, 1
    )
    # (buffer, i, hits) -> buffer
    body = handles.permuteArguments(
        handles.collectArguments(put, 1, handles.arrayElementGetter(_class(_HITS))),
        _type(_BUFFER, _BUFFER, "int", _HITS), 0, 2, 1,
    )  # fmt: skip
    length = handles.arrayLength(_class(_HITS))
    eight = java("java.lang.Integer")(HIT.itemsize)
    times = handles.insertArguments(_static("java.lang.Math", "multiplyExact", "int", "int", "int"), 1, eight)
    allocate = handles.filterReturnValue(
        handles.filterReturnValue(length, times), _static(_BUFFER, "allocate", _BUFFER, "int")
    )
    loop = handles.countedLoop(length, allocate, body)
    return handles.filterReturnValue(loop, _method(_BUFFER, "array", "[B"))


def search_function(searcher: Any, generator: Any, fields: Any, analyzer: Any, k: int) -> Any:
    """A java.util.function.Function that takes a query's text and returns its packed hits (dtype `HIT`),
    best first, ties by document number. Safe to call from several threads.

    fields: the name of one field, or a java.util.Map of names to boosts.
    """
    handles = java("java.lang.invoke.MethodHandles")
    kind = "java.lang.String" if isinstance(fields, str) else "java.util.Map"
    build = _method(
        "io.anserini.search.query.QueryGenerator", "buildQuery", _QUERY,
        kind, "org.apache.lucene.analysis.Analyzer", "java.lang.String",
    ).bindTo(generator)  # fmt: skip
    build = handles.insertArguments(handles.insertArguments(build, 1, analyzer), 0, fields)
    search = _method("org.apache.lucene.search.IndexSearcher", "search", _TOP, _QUERY, "int").bindTo(searcher)
    search = handles.insertArguments(search, 1, java("java.lang.Integer")(k))
    whole = build
    for step in (search, _getter(_TOP, "scoreDocs", _HITS), _pack()):
        whole = handles.filterReturnValue(whole, step)
    function = java("java.lang.Class").forName("java.util.function.Function")
    return cast(
        "java.util.function.Function",
        java("java.lang.invoke.MethodHandleProxies").asInterfaceInstance(function, whole),
    )


def batch_function(function: Any) -> Any:
    """Handle (Collection) -> Object[] that applies a Function to all elements, in parallel in whichever
    fork-join pool it is called from; answers keep the order."""
    handles = java("java.lang.invoke.MethodHandles")
    stream = "java.util.stream.Stream"
    apply = handles.insertArguments(
        _method(stream, "map", stream, "java.util.function.Function"), 1, function
    )
    whole = _method("java.util.Collection", "parallelStream", stream)
    for step in (apply, _method(stream, "toArray", "[Ljava.lang.Object;")):
        whole = handles.filterReturnValue(whole, step)
    return whole


def task(batch: Any, elements: list[str]) -> Any:
    """A java.util.concurrent.FutureTask of `batch_function` on these strings."""
    handles = java("java.lang.invoke.MethodHandles")
    # The list is passed as one element of the variable arguments.
    call = handles.insertArguments(batch, 0, java("java.util.Arrays").asList(*elements))
    callable_type = java("java.lang.Class").forName("java.util.concurrent.Callable")
    body = java("java.lang.invoke.MethodHandleProxies").asInterfaceInstance(callable_type, call)
    return java("java.util.concurrent.FutureTask")(cast("java.util.concurrent.Callable", body))


def unpack(packed: Any) -> npt.NDArray[Any]:
    """The hits of `search_function`'s answer, as a structured array of dtype `HIT`."""
    return np.frombuffer(packed.tostring() if len(packed) else b"", dtype=HIT)


def query_generator() -> Any:
    """Anserini's bag of words: a SHOULD clause a distinct term, boosted by its count in the query."""
    return java("io.anserini.search.query.BagOfWordsQueryGenerator")()


def similarity(name: str, k1: float, b: float, mu: float) -> Any:
    if name == "qld":
        return lucene("search.similarities.LMDirichletSimilarity")(mu)
    return lucene("search.similarities.BM25Similarity")(k1, b)
