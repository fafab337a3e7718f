"""Cards by name: each layout read from a small collection of our own in the exact form of its source."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
import test_datasets_hub as hub
from test_tables import judged

from seekbench.datasets import catalogue, suites
from seekbench.datasets.formats import hub as hub_format
from seekbench.datasets.load import load
from seekbench.datasets.validate import validate
from seekbench.errors import InputError

Serve = Callable[[dict[str, tuple[str, dict[str, bytes]]]], list[str]]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """serve({repository: (its commit, or the beginning of it, {file: bytes})}) -> the paths that are asked for."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with hub.serving() as (endpoint, requests):
        before = hub_format.Hub.__init__

        def here(self: Any, *args: Any, **options: Any) -> None:
            before(self, *args, **{**options, "endpoint": endpoint, "cache": tmp_path / "cache"})

        def start(repos: dict[str, tuple[str, dict[str, bytes]]]) -> list[str]:
            commits = {repo: commit.ljust(40, "0") for repo, (commit, _) in repos.items()}
            commit_of = hub.commit_of
            monkeypatch.setattr(hub, "commit_of", lambda repo: commits.get(repo) or commit_of(repo))
            for repo, (_, files) in repos.items():
                monkeypatch.setitem(hub.REPOS, repo, files)
            return requests

        monkeypatch.setattr(hub_format.Hub, "__init__", here)
        yield start


def revision(card: str, *, qrels: bool = False) -> str:
    source = catalogue.card(card).source
    found = source.qrels_revision if qrels else source.revision
    assert found is not None
    return found


def write(path: Path, data: bytes | str | Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")


def test_trec_dl_counts_grades_from_two(serve: Serve) -> None:
    """MTEB's hub layout; documents whose id is a query's stay; binary measures take -l 2, nDCG all grades."""
    files = dict(hub.MTEB)
    files["corpus.jsonl"] = hub.jsonl([{"_id": f"{i}", "title": "", "text": f"text {i}"} for i in range(6)])
    grades = {"1": {"0": 1, "1": 2, "2": 0, "3": 3}, "2": {"4": 1, "5": 1}}
    files["qrels/test.jsonl"] = hub.jsonl(
        [{"query-id": q, "corpus-id": d, "score": g} for q, row in grades.items() for d, g in row.items()]
    )
    serve({"whybe-choi/trec-dl-2019": (revision("trec-dl-2019"), files)})
    found = load("trec-dl-2019")
    assert (found.exclusion.kind, found.qrels.relevance_level) == ("none", 2)
    assert len([w for w in found.source["unexpected"] if "its card expects" in w]) == 2

    from seekbench.metrics.evaluate import score
    from seekbench.metrics.measure import parse
    from seekbench.runs import Run

    run = {"1": {"0": 4.0, "2": 3.0, "3": 2.0, "1": 1.0}, "2": {"4": 2.0, "0": 1.0}}
    rows = {id: row for row, id in enumerate(found.corpus.ids().to_pylist())}
    ranked = Run(
        np.array([[rows[d] for d in run[q]] + [-1] * (4 - len(run[q])) for q in ("1", "2")]),
        np.array([[*run[q].values(), *[-np.inf] * (4 - len(run[q]))] for q in ("1", "2")], np.float32),
    )
    names = {"map": "map", "mrr": "recip_rank", "p@5": "P_5", "recall@5": "recall_5", "bpref": "bpref",
             "success@1": "success_1", "rprec": "Rprec", "ndcg@10": "ndcg_cut_10", "set_f": "set_F"}  # fmt: skip
    ours = score(ranked, found.qrels, [parse(n) for n in names], query_ids=["1", "2"])
    theirs = pytrec_eval.RelevanceEvaluator(grades, set(names.values()), relevance_level=2).evaluate(run)
    for name, other in names.items():
        np.testing.assert_allclose(ours.of(name), [theirs[q][other] for q in ("1", "2")], atol=1e-9)
    assert ours.ties["map"] is not None
    assert ours.ties["map"].best == pytest.approx(ours.mean["map"])

    plain = load({"name": "trec-dl-2019", "relevance_level": 1})
    assert plain.qrels.relevance_level == 1
    assert plain.hashes["qrels"] == found.hashes["qrels"]
    assert plain.hashes["dataset"] != found.hashes["dataset"], "so that their figures are not compared"
    assert catalogue.card("trec-dl-2020").relevance_level == 2
    assert catalogue.card("trec-dl-2020-document").relevance_level == 1, "the cut is that of passages"


def test_msmarco_keeps_the_passage_of_the_querys_number(serve: Serve) -> None:
    readme = hub.MTEB_README.replace(b"split: test", b"split: dev").replace(b"qrels/test", b"qrels/dev")
    files = {**hub.MTEB, "README.md": readme, "qrels/dev.jsonl": hub.jsonl(hub.QRELS)}
    serve({"mteb/msmarco": (revision("msmarco"), files)})
    assert load("msmarco").exclusion.kind == "none"
    assert load("beir/msmarco").exclusion.kind == "identical_id"
    assert (catalogue.card("msmarco").main_metric, catalogue.card("beir/msmarco").main_metric) == (
        "mrr@10",
        "ndcg@10",
    )


def test_loco_reads_two_repositories(serve: Serve) -> None:
    texts, asked = [], []
    for task in ("qmsum", "qasper_title"):
        texts.append([{"pid": f"{task}_P{i}", "passage": f"long {i}", "dataset": task} for i in range(3)])
        asked.append([{"qid": f"{task}_Q", "query": "which", "answer_pids": [f"{task}_P1"], "dataset": task}])
    documents = {f"documents/{n}_test.jsonl": hub.jsonl(rows) for n, rows in zip("ab", texts, strict=True)}
    queries = {f"documents/{n}_test.jsonl": hub.jsonl(rows) for n, rows in zip("ab", asked, strict=True)}
    serve(
        {
            "hazyresearch/LoCoV1-Documents": (revision("loco/qmsum"), {**documents, "x.py": b"raise"}),
            "hazyresearch/LoCoV1-Queries": (revision("loco/qmsum", qrels=True), queries),
        }
    )
    found = load("loco/qmsum")
    assert found.corpus.ids().to_pylist() == ["qmsum_P0", "qmsum_P1", "qmsum_P2"]
    assert judged(found) == {("qmsum_Q", "qmsum_P1", 1)}
    assert found.source["qrels_revision"] == "8b55e17".ljust(40, "0"), "the whole commit is recorded"
    assert judged(load("loco/qasper-title")) == {("qasper_title_Q", "qasper_title_P1", 1)}
    assert len(suites.suite("loco").datasets) == 12


def test_esci_grades_its_pairs(serve: Serve) -> None:
    columns = ("example_id", "query", "query_id", "product_id", "product_locale", "esci_label", "small_version",
               "large_version", "product_title", "product_brand", "product_color", "product_text")  # fmt: skip
    pairs = [
        (0, "shoes", 7, "B1", "us", "Exact", 1, 1, "Shoe", "A", "red", "Shoe red"),
        (1, "shoes", 7, "B2", "us", "Substitute", 1, 1, "Boot", None, None, "Boot"),
        (2, "shoes", 7, "B3", "us", "Complement", 1, 1, "Lace", None, None, "Lace"),
        (3, "hats", 8, "B1", "us", "Irrelevant", 1, 1, "Shoe", "A", "red", "Shoe red"),
        (4, "caps", 9, "B9", "us", "Exact", 0, 1, "Cap", None, None, "Cap"),
        (5, "zapatos", 10, "B1", "es", "Exact", 1, 1, "Zapato", None, None, "Zapato"),
    ]
    rows = [dict(zip(columns, pair, strict=True)) for pair in pairs]
    serve({"tasksource/esci": (revision("esci/us"), {"data/test-00000-of-00001.parquet": hub.parquet(rows)})})
    found = load("esci/us")
    assert judged(found) == {("7", "B1", 3), ("7", "B2", 2), ("7", "B3", 1), ("8", "B1", 0)}
    assert found.corpus.texts("{text}") == ["Shoe red", "Boot", "Lace"]
    assert load("esci/es").corpus.texts("{text}") == ["Zapato"]


def test_juristcu_has_three_groups(serve: Serve) -> None:
    files = {
        "doc.csv": b'KEY,AREA,TEMA,SUBTEMA,ENUNCIADO,EXCERTO\nJ-1,a,t,s,"um, dois",e\nJ-2,a,t,s,tres,e\n',
        "query.csv": b"ID,TEXT,SOURCE\n50,sobre um,search log\n51,tres,other\n150,que e tres,other\n",
        "qrel.csv": b"QUERY_ID,DOC_ID,SCORE,ENGINE,RANK\n50,J-1,3,x,1\n50,J-2,0,x,2\n51,J-2,2,x,1\n150,J-2,1,x,1\n",
    }
    serve({"LeandroRibeiro/JurisTCU": (revision("juristcu/g1"), files)})
    found = {name: load(name) for name in suites.suite("juristcu").datasets}
    assert judged(found["juristcu/g1"]) == {("50", "J-1", 3), ("50", "J-2", 0)}
    assert judged(found["juristcu/g2"]) == {("51", "J-2", 2)}
    assert judged(found["juristcu/g3"]) == {("150", "J-2", 1)}
    assert {d.source["collection"] for d in found.values()} == {found["juristcu/g1"].source["collection"]}
    assert found["juristcu/g1"].queries.column("SOURCE") == ["search log"]


@pytest.mark.parametrize("form", ["lines", "array"])
def test_headlines_ask_for_the_rest_of_their_group(serve: Serve, form: str) -> None:
    rows = [
        {"headline": text, "group_id": group, "date": "May-14-1952", "state": "kansas"}
        for text, group in [
            ("Flood", 4),
            ("Town flooded", 4),
            ("Alone", 5),
            ("Budget", 6),
            ("River", 4),
            ("Tax", 6),
        ]
    ]
    data = hub.jsonl(rows) if form == "lines" else json.dumps(rows).encode()
    other = {"1953_headlines.json": b"not fetched"}
    asked = serve(
        {
            "dell-research-harvard/headlines-semantic-similarity": (
                revision("headlines"),
                {"1952_headlines.json": data, **other},
            )
        }
    )
    found = load("headlines")
    assert found.corpus.texts("{text}") == ["Town flooded", "River", "Tax"]
    assert found.queries.texts("{text}") == ["Flood", "Budget"], "one alone asks nothing"
    assert judged(found) == {("4", "1", 1), ("4", "4", 1), ("6", "5", 1)}
    assert not [path for path in asked if "1953" in path]
    assert "our protocol" in catalogue.card("headlines").title


def test_kilt_finds_pages_in_provenance(tmp_path: Path) -> None:
    pages = [
        {
            "_id": f"{i}",
            "wikipedia_id": f"{i}",
            "wikipedia_title": f"Page {i}",
            "text": [f"Page {i}\n", "Body"],
        }
        for i in range(3)
    ]
    tasks = [
        {
            "id": "a-1",
            "input": "who",
            "output": [
                {
                    "answer": "x",
                    "provenance": [{"wikipedia_id": "1", "title": "Page 1", "start_paragraph_id": 1}],
                },
                {"answer": "y", "provenance": [{"wikipedia_id": "1"}, {"wikipedia_id": "2"}]},
                {"answer": "z"},
            ],
        },
        {"id": "b-2", "input": "what", "output": [{"answer": "x"}]},
    ]
    write(tmp_path / "kilt_knowledgesource.json", hub.jsonl(pages))
    write(tmp_path / "nq-dev-kilt.jsonl", hub.jsonl(tasks))
    found = load({"name": "kilt/nq", "path": tmp_path})
    assert judged(found) == {("a-1", "1", 1), ("a-1", "2", 1)}
    assert found.corpus.texts("{title}: {text}")[0] == "Page 0: Page 0\n\nBody"
    layout = catalogue.card("kilt/nq").source.tables
    assert layout is not None
    for part, name, said in (
        ("qrels", "document", "no judgments"),
        ("queries", "text", "nq-dev-kilt.jsonl:1: there is no"),
    ):
        wrong = layout.model_dump(mode="json")
        (wrong["qrels"]["dev"] if part == "qrels" else wrong[part])[0][name] = (
            "output.provenance.wikipedia_ids"
        )
        with pytest.raises(InputError, match=said):
            load({"path": tmp_path, "format": "tables", "tables": wrong})
    (spec, *others) = catalogue.parse({"name": "kilt", "path": str(tmp_path)})
    assert (spec.id, len(others), spec.main_metric) == ("kilt/fever", 10, "success@1")
    with pytest.raises(InputError, match=r"no file is called fever-dev\*-kilt.jsonl"):
        load(spec)


def test_musers_candidates_scores_and_threshold(tmp_path: Path) -> None:
    cases = {
        id: {
            "uid": id,
            "content": {"本院查明": ["事实一。", f"事实{id}。"], "本院认为": ["意见。"], "法条": []},
        }
        for id in ("6", "7", "8", "9", "91")
    }
    write(tmp_path / "cases/cases_pool.json", cases)
    write(tmp_path / "cases/cands_by_query.json", {"6": [7, 8], "91": [9, 8]})
    write(tmp_path / "labels/top30_dict.json", {"6": {"7": 8, "8": 2}, "91": {"9": 5}})
    found = load({"name": "muser", "path": tmp_path})
    assert judged(found) == {("6", "7", 8), ("6", "8", 2), ("91", "9", 5)}
    assert found.qrels.relevance_level == 5
    assert found.candidates is not None
    ids = found.corpus.ids().to_pylist()
    assert [ids[row] for row in found.candidates.of(0)] == ["7", "8"]
    assert found.exclusion.kind == "identical_id"
    assert found.corpus.texts("{text}")[0] == "事实一。\n事实6。 意见。"
    assert load({"name": "muser", "path": tmp_path, "split": "test"}).queries.ids().to_pylist() == ["6"]
    whole = load({"name": "muser", "path": tmp_path, "candidates": "none"})
    assert whole.candidates is None
    write(tmp_path / "labels/top30_dict.json", {"6": {"7": "much"}})
    with pytest.raises(InputError, match=r"top30_dict.json:1"):
        load({"name": "muser", "path": tmp_path})


def test_mr_tydi_and_mmarco_come_from_ir_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own readers, on files in the archives' form."""
    import ir_datasets
    from ir_datasets.datasets.mr_tydi import MrTydiDocs
    from ir_datasets.formats import TrecQrels, TsvDocs, TsvQueries
    from ir_datasets.util import GzipExtract, LocalDownload

    def file(name: str, data: bytes) -> Any:
        write(tmp_path / name, data)
        return LocalDownload(tmp_path / name)

    docs = gzip.compress(b'{"id": "1#0", "contents": "moja"}\n{"id": "1#1", "contents": "mbili"}\n')
    tydi = ir_datasets.Dataset(
        MrTydiDocs(GzipExtract(file("docs.jsonl.gz", docs)), "sw"),
        TsvQueries(file("topic.tsv", b"7\tnini\n"), lang="sw"),
        TrecQrels(file("qrels.txt", b"7 Q0 1#1 1\n"), {1: "yes"}),
    )
    marco = ir_datasets.Dataset(
        TsvDocs(file("collection.tsv", b"0\teen\n1\ttwee\n"), lang="nl"),
        TsvQueries(file("queries.tsv", b"1048585\twat\n"), lang="nl"),
        TrecQrels(file("qrels.small.txt", b"1048585\t0\t1\t1\n"), {1: "yes"}),
    )
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    known = {"mr-tydi/sw/test": tydi, "mmarco/v2/dt/dev/small": marco}
    for made in known.values():
        made.metadata = dict  # the registry's own datasets have counts
    monkeypatch.setattr(ir_datasets, "load", lambda name: known[name])
    swahili, dutch = load("mr-tydi/sw"), load("mmarco/nl")
    assert (swahili.split, swahili.language, judged(swahili)) == ("test", "sw", {("7", "1#1", 1)})
    assert (dutch.split, dutch.language, judged(dutch)) == ("dev", "nl", {("1048585", "1", 1)})
    assert swahili.corpus.texts("{text}") == ["moja", "mbili"]


def test_cards_of_ir_datasets_are_known_to_the_package() -> None:
    import ir_datasets

    cards = [card for n in catalogue.names() if (card := catalogue.card(n)).source.irds]
    assert len(cards) == 13 + 11 + 3
    for card in cards:
        assert card.source.irds is not None
        found = ir_datasets.load(card.source.irds)
        assert found.has_docs() and found.has_queries() and found.has_qrels(), card.id  # noqa: PT018
        documents = (found.metadata() or {})["docs"]
        count = documents.get("count") or ir_datasets.load(documents["_ref"]).metadata()["docs"]["count"]
        assert card.expected.documents in (None, count), card.id
        queries = found.metadata()["queries"]["count"]
        assert card.expected.queries == {card.default_split: queries}, card.id


def test_private_ones_of_beir_are_read_from_a_folder(make_beir: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_beir()
    found = load({"name": "beir/robust04", "path": folder})
    assert (found.id, len(found.corpus)) == ("beir/robust04", 3)
    assert any("its card expects 528,155" in w for w in found.source["unexpected"])
    (spec,) = catalogue.parse({"name": "beir/robust04", "path": folder.name}, base=folder.parent)
    assert spec.is_local
    with pytest.raises(
        InputError, match=r"'beir/bioasq' takes data that you bring: it is not public; register"
    ):
        load("beir/bioasq")
    with pytest.raises(InputError, match=r"nowhere does not exist .*needs: it is not public"):
        load({"name": "beir/bioasq", "path": tmp_path / "nowhere"})
    with pytest.raises(InputError, match=r"the data of 'beir/scifact' come from elsewhere"):
        load({"name": "beir/scifact", "path": folder})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bioasq", "did you mean 'beir/bioasq'"),
        ("nq", "did you mean 'beir/nq' or 'kilt/nq'"),
        ("Mr.TyDi", "did you mean 'mr-tydi'"),
        ("mrtydi", "did you mean 'mr-tydi'"),
        ("xquad_r", "did you mean 'xquad-r'"),
        ("SciFact", "did you mean 'beir/scifact'"),
        ("MIRACLRetrieval", "did you mean 'mteb/MIRACLRetrieval'"),
        ("dl19", "did you mean 'trec-dl-2019'"),
        ("LoCoV1", "did you mean 'loco'"),
        ("headline", "did you mean 'headlines'"),
        ("xor-tydi", "did you mean 'xor-retrieve'"),
        ("XOR", "did you mean 'xor-retrieve'"),
    ],
)
def test_other_names_lead_there(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        catalogue.expanded(name)
    if "XOR" not in said:
        assert said in str(validate(name).report.problems[0])


def test_one_name_means_all_parts() -> None:
    counts = {"miracl": 18, "mr-tydi": 11, "mmarco": 13, "loco": 12, "kilt": 11, "esci": 3, "juristcu": 3,
              "trec-dl": 2}  # fmt: skip
    assert {name: len(catalogue.expanded(name)) for name in counts} == counts
    for name in ("msmarco", "trec-dl-2019", "trec-dl-2020", "muser", "headlines"):
        assert catalogue.expanded(name) == [name]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"group": "g"}, "'group' and 'take' come together"),
        ({"group": "g", "take": "last"}, "'first' or 'rest'"),
    ],
)
def test_groups_are_whole(part: dict[str, str], said: str, tmp_path: Path) -> None:
    rows = {"files": "a.jsonl", "id": "id", "text": "t"}
    tables = {
        "documents": {**rows, **part},
        "queries": rows,
        "qrels": {"test": {"files": "a.jsonl", "query": "id", "document": "id", "grade": 1}},
    }
    with pytest.raises(InputError, match=said):
        load({"path": tmp_path, "format": "tables", "tables": tables})
    write(tmp_path / "a.jsonl", b'{"id": "1", "t": "x"}\n')
    tables["documents"] = {**rows, "group": "g", "take": "rest"}
    with pytest.raises(InputError, match=r"a.jsonl:1: there is no 'g' \(for group\)"):
        load({"path": tmp_path, "format": "tables", "tables": tables})
