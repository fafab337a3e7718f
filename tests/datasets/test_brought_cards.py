"""Cards whose data the user brings: each reads files in the layout of its source, with texts that were made up here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seekbench.collection import Dataset
from seekbench.datasets import catalogue, suites
from seekbench.datasets.load import load
from seekbench.datasets.resolve import resolve
from seekbench.datasets.validate import validate
from seekbench.errors import InputError

#: name -> subsets
BROUGHT = {
    "apibench": 3, "backtracing": 3, "cosqa": 0, "jobbert": 0, "lbl2vec-ag-news": 0, "metatool": 0, "patents-cpc": 0,
    "stsb": 11, "tatoeba": 112, "tatoeba-pooled": 0, "toolbench": 3, "xquad": 23, "xquad-r": 11,
}  # fmt: skip

Judged = set[tuple[str, str, int]]


def judged(dataset: Dataset) -> Judged:
    queries, documents = dataset.queries.ids(), [*dataset.corpus.ids().to_pylist(), *dataset.qrels.absent_ids]
    return {
        (queries[int(q)].as_py(), documents[int(d)], int(g))
        for q, d, g in zip(
            dataset.qrels.query_rows(), dataset.qrels.doc_rows, dataset.qrels.grades, strict=True
        )
    }


def texts(dataset: Dataset) -> dict[str, str]:
    return dict(zip(dataset.corpus.ids().to_pylist(), dataset.corpus.texts(dataset.template), strict=True))


def asked(dataset: Dataset) -> dict[str, str]:
    return dict(zip(dataset.queries.ids().to_pylist(), dataset.queries.texts("{text}"), strict=True))


def put(folder: Path, files: Mapping[str, Any]) -> Path:
    """Writes files: text as it is, anything else as JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def table(rows: Sequence[Sequence[Any]], separator: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(rows)
    return out.getvalue()


def lines(rows: Sequence[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# --- the mechanism -------------------------------------------------------------------------------------------------


def test_every_brought_card_says_how_to_get_its_data(tmp_path: Path) -> None:
    found = {n for n in catalogue.names() if catalogue.card(n).source.get}
    assert found >= set(BROUGHT)
    for name, subsets in BROUGHT.items():
        card = catalogue.card(name)
        assert len(card.subsets) == subsets, name
        every = catalogue.expanded(name)
        assert every == ([f"{name}:{subset}" for subset in card.subsets] or [name])
        for one in every:
            with pytest.raises(InputError, match="takes data that you bring: ") as caught:
                resolve(one)
            assert "then say where they are: {name: " + one in str(caught.value)
            spec = resolve({"name": one, "path": tmp_path})
            assert (spec.id, spec.split, spec.is_local) == (one, card.default_split, True)
            assert spec.card is not None
            layout = spec.card.layout("x")
            assert layout is not None
            assert "<" not in layout.model_dump_json()
        with pytest.raises(InputError, match=r"is this the right folder\?"):
            spec.source.files()


def test_an_entry_with_a_path_stands_for_all_subsets(tmp_path: Path) -> None:
    specs = catalogue.parse({"name": "backtracing", "path": "./data"}, base=put(tmp_path, {"data/x": ""}))
    assert [s.id for s in specs] == [f"backtracing:{p}" for p in ("lecture", "news", "conversation")]
    assert {s.source.folder for s in specs} == {tmp_path / "data"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "stsb:xx"}, "'stsb' has no subset 'xx'"),
        ({"name": "stbs:en"}, "no dataset 'stbs:en'"),
        ({"name": "beir/scifact", "path": "."}, "come from elsewhere"),
        ({"name": "metatool", "path": "/nowhere"}, "does not exist.*git clone"),
        ({"name": "stsb", "id": "mine", "path": "."}, "means 11 datasets"),
    ],
)
def test_mistakes(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        catalogue.parse(entry)


def test_an_archive_must_be_unpacked(tmp_path: Path) -> None:
    put(tmp_path, {"MetaTool.zip": "PK"})
    with pytest.raises(InputError, match=r"MetaTool\.zip is no folder.*unpack it first"):
        resolve({"name": "metatool", "path": tmp_path / "MetaTool.zip"})


def test_one_dataset_is_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'stsb' has 11 subsets.*e\.g\. stsb:en"):
        load({"name": "stsb", "path": tmp_path})


def test_cards_of_ones_own_are_brought_to(tmp_path: Path) -> None:
    """With subsets, splits of their own, and data that are elsewhere."""
    card = """
id: mine
title: pairs of mine
source:
  format: folder
  get: ask me
  layout: tables
  tables:
    documents: {files: "<subset>.<split>.jsonl", id: "{#}", text: two}
    queries: {files: "<subset>.<split>.jsonl", id: "{#}", text: one}
    qrels: {<split>: {files: "<subset>.<split>.jsonl", query: "{#}", document: "{#}", grade: "<grade>"}}
splits: [test, dev]
default_split: test
languages: [en]
task: retrieval
licence: mine
citation: none
verified: "no"
subsets: {de: {language: de, values: {grade: score}}, en: {values: {grade: other}}}
"""
    put(tmp_path, {"mine.yaml": card, "there/de.dev.jsonl": lines([{"one": "a", "two": "b", "score": 2}])})
    entry = {"card": "./mine.yaml", "path": "./there", "subset": "de", "split": "dev"}
    (spec,) = catalogue.parse(entry, base=tmp_path)
    assert (spec.id, spec.language) == ("mine:de", "de")
    assert judged(load(spec)) == {("0", "0", 2)}
    for entry, said in (
        ({"card": "./mine.yaml", "path": "./there"}, r"'mine' has 2 subsets.*subset: de"),
        ({"card": "./mine.yaml", "path": "./there", "subset": "fr"}, "no subset 'fr'"),
        ({"card": "./mine.yaml", "subset": "de"}, "takes data that you bring: ask me"),
    ):
        with pytest.raises(InputError, match=said):
            catalogue.parse(entry, base=tmp_path)


def test_suites_of_the_catalogue_stay_apart() -> None:
    assert not set(suites.names()) & set(catalogue.names())


# --- the layouts ---------------------------------------------------------------------------------------------------


def test_stsb(tmp_path: Path) -> None:
    """CSV without header; gold values of three decimals, and a few that repeat."""
    put(
        tmp_path,
        {
            "data/stsb-de-test.csv": table(
                [
                    ["Ein Hund rennt.", "Ein Hund, der rennt.", 4.8],
                    ["Eins", "Zwei", 0.0],
                    ["Drei", "Drei", 2.333],
                ]
            ),
            "data/stsb-de-dev.csv": table([["a", "b", "2.33333333333333"], ["c", "d", "1.5"]]),
        },
    )
    found = load({"name": "stsb:de", "path": tmp_path})
    assert (found.id, found.language, found.main_metric) == ("stsb:de", "de", "spearman")
    assert found.qrels.grades.tolist() == [480_000_000, 0, 233_300_000]
    assert found.candidates is not None
    assert (found.candidates.query_rows.tolist(), found.candidates.doc_rows.tolist()) == (
        [0, 1, 2],
        [0, 1, 2],
    )
    assert asked(found)["0"] == "Ein Hund rennt."
    assert texts(found)["0"] == "Ein Hund, der rennt."
    assert "where its card expects 1,379" in str(found.source["unexpected"])
    dev = load({"name": "stsb:de", "path": tmp_path, "split": "dev"})
    assert len(dev.corpus) == 2, "each split has documents of its own"
    assert dev.qrels.grades.tolist() == [233_333_333, 150_000_000]


def test_backtracing(tmp_path: Path) -> None:
    """A JSON file a source; sentences of articles are numbered from 1, targets of the others from 0."""
    sentences = [{"text": f"sentence {i}"} for i in range(3)]
    put(
        tmp_path,
        {
            "data/inquisitive/sources/test/0101.json": sentences,
            "data/inquisitive/query/test/0101.json": [{"text": "Why?", "sentence_id": 1}],
            "data/sight/sources/annotated/aB-1.json": sentences,
            "data/sight/sources/annotated/aB-2.json": sentences[:1],
            "data/sight/query/annotated/aB-1.json": [
                {
                    "file_id": "aB-1",
                    "query_id": 0,
                    "annotatedSourceSentencesIndices": [0, 2, 2],
                    "text": "How?",
                }
            ],
            "data/sight/query/annotated_chunks_window20/aB-1_0.json": [{"text": "not this"}],
            "data/reccon/sources/te_1.json": [
                {"text": "Hello !", "speaker": "A"},
                {"text": "Oh .", "speaker": "B"},
            ],
            "data/reccon/query/te_1.json": [{"text": "Oh .", "emotion": "sadness", "source_sentences": [0]}],
        },
    )
    news, lecture, talk = (
        load({"name": f"backtracing:{part}", "path": tmp_path})
        for part in ("news", "lecture", "conversation")
    )
    assert texts(news)["0101#1"] == "sentence 0"
    assert judged(news) == {("0101#q0", "0101#1", 1)}
    assert judged(lecture) == {("aB-1#q0", "aB-1#0", 1), ("aB-1#q0", "aB-1#2", 1)}
    assert lecture.candidates is not None
    assert len(lecture.candidates) == 3, "of its own lecture"
    assert judged(talk) == {("te_1#q0", "te_1#0", 1)}


def test_metatool(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "dataset/plugin_des.json": {"dice": "rolls dice", "NewsTool": "tells news"},
            "dataset/big_tool_des.json": {"NewsTool": "news, again", "PDF&URLTool": "reads files"},
            "dataset/data/all_clean_data.csv": 'Query,Tool\n"Please, roll a die",dice\nWhat is new?,NewsTool\n'
            "What is new?,NewsTool\n",
            "dataset/data/multi_tool_query_golden.json": [
                {"query": "news as a file", "tool": ["NewsTool", "PDF&URLTool"]}
            ],
        },
    )
    found = load({"name": "metatool", "path": tmp_path})
    assert texts(found) == {
        "dice": "dice rolls dice", "NewsTool": "NewsTool tells news", "PDF&URLTool": "PDF&URLTool reads files",
    }  # fmt: skip
    assert judged(found) == {("s0", "dice", 1), ("s1", "NewsTool", 1), ("s2", "NewsTool", 1)}
    several = load({"name": "metatool", "path": tmp_path, "split": "multi"})
    assert judged(several) == {("m0", "NewsTool", 1), ("m0", "PDF&URLTool", 1)}


def test_toolbench(tmp_path: Path) -> None:
    """Tab-separated tables with an API as JSON; texts and judgments are repeated, and shuffled."""
    api = {
        "category_name": "Social", "tool_name": "Quotes", "api_name": "Love", "api_description": "a quote",
        "required_parameters": [], "optional_parameters": [{"name": "n"}], "method": "GET",
        "template_response": {"quote": "str"},
    }  # fmt: skip
    other = {**api, "api_name": "Luck"}
    apis = [[1, json.dumps(api)], [2, json.dumps(other)], [1, json.dumps(api)]]
    put(
        tmp_path,
        {
            "retriever/G1/corpus.tsv": table([["docid", "document_content"], *apis], "\t"),
            "retriever/G1/test.query.txt": "7\tquotes, please\n7\tquotes, please\n",
            "retriever/G1/train.query.txt": "8\tluck\n",
            "retriever/G1/qrels.test.tsv": "7\t0\t1\t1\n7\t0\t2\t1\n7\t0\t1\t1\n",
            "retriever/G1/qrels.train.tsv": "8\t0\t2\t1\n",
        },
    )
    found = load({"name": "toolbench:G1", "path": tmp_path})
    assert judged(found) == {("7", "1", 1), ("7", "2", 1)}
    assert texts(found)["1"] == (
        'Social, Quotes, Love, a quote, required_params: , optional_params: [{"name":"n"}], '
        'return_schema: {"quote":"str"}'
    )


def test_apibench(tmp_path: Path) -> None:
    """JSON lines in files called .json; an API is known by its call, which has white space."""
    api = {
        "domain": "Speech", "framework": "PyTorch", "functionality": "to text", "api_name": "stt",
        "api_call": "hub.load('a/b', model='stt')", "description": "writes what is said",
    }  # fmt: skip
    said = "###Instruction: Write down\nwhat I say.\n###Output: {'domain': 'Speech'}\n"
    put(
        tmp_path,
        {
            "data/api/torchhub_api.jsonl": lines([api, {**api, "api_name": "the same call"}]),
            "data/apibench/torchhub_eval.json": lines(
                [{"code": said, "api_call": api["api_call"]}, {"code": said, "api_call": "hub.load('gone')"}]
            ),
        },
    )
    found = load({"name": "apibench:torchhub", "path": tmp_path})
    assert asked(found)["0"] == "Write down\nwhat I say."
    assert texts(found) == {"hub.load('a/b',_model='stt')": "stt Speech. to text. writes what is said"}
    assert judged(found) == {("0", "hub.load('a/b',_model='stt')", 1), ("1", "hub.load('gone')", 1)}


def test_jobbert(tmp_path: Path) -> None:
    """Two repositories side by side; labels alone are ranked."""
    uri = "http://data.europa.eu/esco/occupation/"
    header = ["conceptType", "conceptUri", "preferredLabel", "altLabels", "description"]
    put(
        tmp_path,
        {
            "esco/occupations_en.csv": table(
                [
                    header,
                    ["Occupation", f"{uri}1", "baker", "bread maker\npastry cook", "Bakers bake."],
                    ["Occupation", f"{uri}2", "judge", "", "Judges judge."],
                ]
            ),
            "JobBERT/titles.csv": f",vacancyTitle,conceptUri\n0,BAKER (night),{uri}1\n",
            "JobBERT/titles.test.csv": f",vacancyTitle,conceptUri\n0,Judge,{uri}2\n1,Junior judge,{uri}2\n",
        },
    )
    found = load({"name": "jobbert", "path": tmp_path})
    assert texts(found) == {f"{uri}1": "baker", f"{uri}2": "judge"}
    assert judged(found) == {("test-0", f"{uri}2", 1), ("test-1", f"{uri}2", 1)}
    whole = load(
        {"name": "jobbert", "path": tmp_path, "split": "dev", "template": "{title} {altLabels} {text}"}
    )
    assert texts(whole)[f"{uri}1"] == "baker bread maker\npastry cook Bakers bake."


def test_cosqa(tmp_path: Path) -> None:
    """A JSON object of code and its number, called .txt."""
    row = {"code": "def f(): pass", "label": 1}
    put(
        tmp_path,
        {
            "data/search/code_idx_map.txt": {"def f():\n    pass": 0, "def g(): return 1": 1},
            "data/search/cosqa-retrieval-test-500.json": [
                {**row, "idx": "cosqa-train-5", "doc": "python do nothing", "retrieval_idx": 0}
            ],
            "data/search/cosqa-retrieval-dev-500.json": [
                {**row, "idx": "cosqa-train-6", "doc": "python return one", "retrieval_idx": 1}
            ],
        },
    )
    found = load({"name": "cosqa", "path": tmp_path})
    assert texts(found)["0"] == "def f():\n    pass"
    assert judged(found) == {("cosqa-train-5", "0", 1)}


def squad(paragraphs: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    return {
        "version": "1.1",
        "data": [{"title": f"article {i}", "paragraphs": p} for i, p in enumerate(paragraphs)],
    }


def test_xquad(tmp_path: Path) -> None:
    def paragraph(context: str, *questions: tuple[str, str]) -> dict[str, Any]:
        asked = [
            {"id": id, "question": q, "answers": [{"text": "x", "answer_start": 0}]} for id, q in questions
        ]
        return {"context": context, "qas": asked}

    english = [
        [paragraph("A first text.", ("a", "Which?")), paragraph("A second.")],
        [paragraph("A third.", ("b", "What?"))],
    ]
    german = [
        [paragraph("Ein erster.", ("a", "Welcher?")), paragraph("Ein zweiter.")],
        [paragraph("Ein dritter.", ("b", "Was?"))],
    ]
    put(tmp_path, {"xquad.en.json": squad(english), "xquad.de.json": squad(german)})
    own = load({"name": "xquad:de", "path": tmp_path})
    across = load({"name": "xquad:de-en", "path": tmp_path})
    assert judged(own) == judged(across) == {("a", "0-0", 1), ("b", "1-0", 1)}
    assert (own.language, across.language) == ("de", "en")
    assert (texts(own)["1-0"], texts(across)["1-0"]) == ("Ein dritter.", "A third.")
    assert asked(across) == {"a": "Welcher?", "b": "Was?"}


def test_xquad_r(tmp_path: Path) -> None:
    """The sentence that holds the answer, in every language; places count characters of the paragraph."""

    def file(sentences: list[str], answer: int, question: str) -> dict[str, Any]:
        context = " ".join(sentences)
        starts = [context.index(s) for s in sentences]
        breaks = [[at, at + len(s)] for at, s in zip(starts, sentences, strict=True)]
        qas = [
            {"id": "a", "question": question, "answers": [{"answer_start": starts[answer] + 1, "text": "x"}]}
        ]
        return squad([[{"context": context, "qas": qas, "sentence_breaks": breaks, "sentences": sentences}]])

    put(
        tmp_path,
        {
            "xquad-r/en.json": file(["It rains.", "It snows in May."], 1, "When does it snow?"),
            "xquad-r/de.json": file(["Im Mai schneit es.", "Es regnet."], 0, "Wann schneit es?"),
        },
    )
    found = load({"name": "xquad-r:de", "path": tmp_path})
    assert asked(found) == {"a": "Wann schneit es?"}
    assert judged(found) == {("a", "en-0-0-1", 1), ("a", "de-0-0-0", 1)}
    assert texts(found)["en-0-0-1"] == "It snows in May."
    assert set(found.corpus.column("language")) == {"en", "de"}


def test_tatoeba(tmp_path: Path) -> None:
    """Line i of one file translates line i of the other; quotation marks are text."""
    where = "data/tatoeba/v1/tatoeba."
    put(
        tmp_path,
        {
            f"{where}deu-eng.deu": '"Hallo, sagte er.\nGuten Tag\n',
            f"{where}deu-eng.eng": '"Hello, he said.\nGood day\n',
            f"{where}nld-eng.nld": "Goedendag\n",
            f"{where}nld-eng.eng": "Good day\n",
        },
    )
    one = load({"name": "tatoeba:deu", "path": tmp_path})
    assert texts(one) == {"0": '"Hello, he said.', "1": "Good day"}
    assert judged(one) == {("0", "0", 1), ("1", "1", 1)}
    pooled = load({"name": "tatoeba-pooled", "path": tmp_path})
    assert judged(pooled) == {
        ("deu-0", '"Hello,_he_said.', 1),
        ("deu-1", "Good_day", 1),
        ("nld-0", "Good_day", 1),
    }
    assert pooled.queries.column("language") == ["deu", "deu", "nld"]
    assert texts(pooled)["Good_day"] == "Good day"
    assert len(pooled.corpus) == 2, "equal sentences are one"


def test_lbl2vec(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "labels.csv": "class_index;class_name;keywords\n1;World;War Police\n2;Sports;Ball Team\n",
            "test.csv": '"2","A match","The team wins, again."\n',
            "train.csv": '"1","News","Police at work."\n"2","More","A ball."\n',
        },
    )
    found = load({"name": "lbl2vec-ag-news", "path": tmp_path})
    assert asked(found) == {"1": "War Police", "2": "Ball Team"}
    assert judged(found) == {("1", "train-0", 1), ("2", "train-1", 1), ("2", "test-0", 1)}
    assert texts(found)["test-0"] == "A match The team wins, again."


def test_patents(tmp_path: Path) -> None:
    """A column of 0 and 1 for each class: those that share one with the asking patent are relevant."""
    header = ["", "Unnamed: 0", "id", "date", "text", "A01B", "G06F", "Y10T"]
    put(
        tmp_path,
        {
            "Data/df_claim_cpc_train.csv": table(
                [
                    header,
                    [0, 7, 9001, "2016-01-01", "1. A plough.", 1, 0, 1],
                    [1, 1, 9002, "2016-01-01", "1. A computer.", 0, 1, 0],
                    [2, 2, 9003, "2016-01-01", "1. A tool.", 0, 0, 1],
                ]
            ),
            "Data/df_claim_cpc_test.csv": table(
                [
                    header,
                    [0, 5, 9100, "2017-01-01", "1. A harrow.", 1, 0, 1],
                    [1, 6, 9101, "", "1. A screen.", 0, 1, 0],
                ]
            ),
        },
    )
    found = load({"name": "patents-cpc", "path": tmp_path})
    assert judged(found) == {("9100", "9001", 1), ("9100", "9003", 1), ("9101", "9002", 1)}
    assert found.queries.metadata_keys == {"date"}


# --- what the tables can do for them -------------------------------------------------------------------------------


def pairs(folder: Path, **options: Any) -> dict[str, Any]:
    part, gold = {"files": "pairs.*"}, {"grade": "score", "scale": 1000}
    return {
        "path": folder, "format": "tables", "candidates": "judged",
        "tables": {
            "documents": {**part, "id": "{#}", "text": "two"},
            "queries": {**part, "id": "{#}", "text": "one"},
            "qrels": {"test": {**part, "query": "{#}", "document": "{#}", **gold, **options}},
        },
    }  # fmt: skip


def test_gold_values_of_32_bits_are_the_decimals_that_were_meant(tmp_path: Path) -> None:
    values = [3.867, 2.4, 0.0, 5.0]
    columns = {
        "one": pa.array(["a", "b", "c", "d"]), "two": pa.array(["e", "f", "g", "h"]),
        "score": pa.array(values, pa.float32()),
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "pairs.parquet")
    assert load(pairs(tmp_path)).qrels.grades.tolist() == [3867, 2400, 0, 5000]


def rows_of(*scores: Any) -> str:
    return lines([{"one": f"first {i}", "two": f"second {i}", "score": s} for i, s in enumerate(scores)])


def test_gold_values_lose_nothing_silently(tmp_path: Path) -> None:
    put(tmp_path, {"pairs.jsonl": rows_of(1.25, "4.0004", "much", True)})
    with pytest.raises(InputError) as caught:
        load(pairs(tmp_path))
    said = str(caught.value)
    assert "pairs.jsonl:2: grade 4.0004 in parts of 1/1000 is no whole number (raise `scale`" in said
    assert "pairs.jsonl:3: grade 'much' is no number" in said
    assert "pairs.jsonl:4: grade True is no number" in said
    put(tmp_path, {"pairs.jsonl": rows_of(1.25, "4.0004")})
    assert load(pairs(tmp_path, scale=10000)).qrels.grades.tolist() == [12500, 40004]
    assert load(pairs(tmp_path, rounded=True)).qrels.grades.tolist() == [1250, 4000]
    with pytest.raises(InputError, match="out of range"):
        load(pairs(tmp_path, scale=10**12))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounded": True, "scale": None}, "'rounded' goes with 'scale'"),
        ({"grade": 1}, "'scale' is for a column of numbers"),
        ({"labels": {"column": "x"}}, "either 'document' or 'labels'"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(pairs(tmp_path, **options))


def test_pairs_say_nothing_of_equal_texts_nor_of_zeros(tmp_path: Path) -> None:
    put(tmp_path, {"pairs.jsonl": lines([{"one": "a", "two": "b", "score": s} for s in (0, 2)])})
    result = validate(pairs(tmp_path))
    assert result.report.lines() == []
    assert any("grades 0: 1, 2000: 1" in line for line in result.summary())


def test_ids_of_lists_in_templates_and_first_pairs(tmp_path: Path, make_tables: Callable[..., Any]) -> None:
    rows = [{"q": "1", "text": "x", "hits": [1, 2, 1]}, {"q": "1", "text": "x", "hits": [2]}]
    found = make_tables(
        {"d.jsonl": lines([{"n": n, "text": str(n)} for n in (1, 2)]), "q.jsonl": lines(rows)},
        documents={"files": "d.jsonl", "id": "doc-{n}"},
        queries={"files": "q.jsonl", "id": "q", "first": True},
        qrels={
            "test": {"files": "q.jsonl", "query": "q", "document": "doc-{hits}", "grade": 1, "first": True}
        },
    )
    assert judged(found) == {("1", "doc-1", 1), ("1", "doc-2", 1)}


def test_labels_of_a_column(make_tables: Callable[..., Any]) -> None:
    found = make_tables(
        {
            "d.jsonl": lines(
                [{"id": "a", "text": "a", "topics": ["x", "y"]}, {"id": "b", "text": "b", "topics": "y"}]
            ),
            "q.jsonl": lines(
                [{"id": "1", "text": "one", "topics": ["y", "x"]}, {"id": "2", "text": "two", "topics": "z"}]
            ),
        },
        documents={"files": "d.jsonl", "id": "id"},
        queries={"files": "q.jsonl", "id": "id"},
        qrels={"test": {"files": "q.jsonl", "query": "id", "labels": {"column": "topics"}, "grade": 1}},
    )
    assert judged(found) == {("1", "a", 1), ("1", "b", 1)}


def test_places_outside_of_every_part(make_tables: Callable[..., Any]) -> None:
    row = {"id": "1", "text": "x", "at": 9, "parts": [[0, 4], [5, 9]]}
    with pytest.raises(InputError, match=r"q\.jsonl:1: the place 9 is in none of the parts of 'parts'"):
        make_tables(
            {"d.jsonl": lines([{"id": "0", "text": "a"}]), "q.jsonl": lines([row])},
            documents={"files": "d.jsonl", "id": "id"},
            queries={"files": "q.jsonl", "id": "id"},
            qrels={"test": {"files": "q.jsonl", "query": "id", "document": "{span}", "grade": 1,
                            "span": {"offset": "at", "spans": "parts"}}},
        )  # fmt: skip


def test_texts_that_are_not_there(make_tables: Callable[..., Any]) -> None:
    with pytest.raises(
        InputError, match=r"q.jsonl:1: 'text' has nothing like ask: \(.\*\) \(check `extract`\)"
    ):
        make_tables(
            {"d.jsonl": lines([{"id": "0", "text": "a"}]), "q.jsonl": lines([{"id": "1", "text": "x"}])},
            documents={"files": "d.jsonl", "id": "id"},
            queries={"files": "q.jsonl", "id": "id", "extract": "ask: (.*)"},
            qrels={"test": {"files": "q.jsonl", "query": "id", "document": "id", "grade": 1}},
        )


@pytest.mark.parametrize("expression", ["(", "x", "(a)(b)"])
def test_expressions_that_extract_nothing(make_tables: Callable[..., Any], expression: str) -> None:
    with pytest.raises(InputError, match=r"no regular expression|groups"):
        make_tables(
            {},
            documents={"files": "d.jsonl", "id": "id", "extract": expression},
            queries={"files": "q.jsonl"},
            qrels={"test": {"files": "q.jsonl"}},
        )


@pytest.fixture
def make_tables(tmp_path: Path) -> Callable[..., Dataset]:
    def make(files: Mapping[str, Any], **parts: Any) -> Dataset:
        return load({"path": put(tmp_path, files), "format": "tables", "tables": parts})

    return make


def test_xor_retrieve_judges_by_answers(tmp_path: Path) -> None:
    """Words in a row, whatever their case; a question that no passage answers counts, and is never found."""
    put(
        tmp_path,
        {
            "enwiki_20190201_w100.tsv": "id\ttext\ttitle\n"
            "1\tIt opened in MARCH 1912 at last.\tBridge\n"
            "2\tMarch came, and 1912 went.\tNothing\n"
            "3\tIn march 1912, and not before.\tAgain\n",
            "xor_dev_retrieve_eng_span_v1_1.jsonl": "".join(
                json.dumps(row, ensure_ascii=False) + "\n"
                for row in (
                    {
                        "id": "a",
                        "question": "Milloin?",
                        "lang": "fi",
                        "answers": ["March 1912", "the bridge"],
                    },
                    {"id": "b", "question": "Kuka?", "lang": "fi", "answers": ["nobody at all"]},
                )
            ),
        },
    )
    found = load({"name": "xor-retrieve", "path": tmp_path})
    assert found.queries.ids().to_pylist() == ["a", "b"]
    ids = found.corpus.ids().to_pylist()
    rows, grades = found.qrels.of(0)
    assert ({ids[row] for row in rows.tolist()}, set(grades.tolist())) == ({"1", "3"}, {1})
    rows, _ = found.qrels.of(1)
    assert rows.tolist() == [len(ids)], "a document that the corpus lacks"
    assert found.queries.column("lang") == ["fi", "fi"]


def test_answers_are_found_as_by_plain_search() -> None:
    """Against a search through all words of all texts."""
    import random

    from seekbench.datasets.formats.answers import holding, words_of

    rng = random.Random(3)
    words = ["Ab", "ab", "c\u0327a", "\u00e7a", "x", "-", "12", "\u0e01\u0e34"]
    texts = [(str(i), " ".join(rng.choices(words, k=12))) for i in range(60)]
    answers = [" ".join(rng.choices(words, k=rng.randint(1, 3))) for _ in range(30)]
    found = holding(texts, answers)
    for answer in answers:
        wanted = words_of(answer)
        plain = [
            id
            for id, text in texts
            if any(words_of(text)[i : i + len(wanted)] == wanted for i in range(len(words_of(text))))
        ]
        assert found.get(wanted, []) == plain
