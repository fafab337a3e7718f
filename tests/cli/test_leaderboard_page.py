"""The folder of pages, read without a browser; test_leaderboard_browser looks at it."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pages
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from typer.testing import CliRunner

from seekbench.cli.app import app
from seekbench.errors import InputError
from seekbench.leaderboard import sources
from seekbench.leaderboard.page import boards, libraries, queries, write
from seekbench.leaderboard.page.links import file_names
from seekbench.leaderboard.page.scripts import data_script, json_text


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEKBENCH_HOME", str(tmp_path_factory.mktemp("store")))
        return pages.results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def page(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "out"
    with pytest.MonkeyPatch.context() as patch:
        # Not the store of the run: the dataset is read again from its folder.
        patch.setenv("SEEKBENCH_HOME", str(tmp_path_factory.mktemp("store")))
        write.write(folder, boards.of_all_metrics(sources.load([results])), most=6)
    return folder


def own(page: Path) -> list[Path]:
    """All files but the scripts and styles, which are the same for all results."""
    return [f for f in sorted(page.rglob("*")) if f.is_file() and "assets" not in f.parts]


class Read(html.parser.HTMLParser):
    """Elements with their attributes, the visible text, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.scripts if self._inside == "script" else self.text).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(file: Path) -> Read:
    return Read(file.read_text(encoding="utf-8"))


def data(page: Path, name: str) -> Any:
    text = (page / "data" / f"{name}.js").read_text(encoding="utf-8")
    match = re.fullmatch(r"seekbench\.put\((\".*?\"), (.*)\);\n", text)
    assert match, name
    assert json.loads(match.group(1)) == name
    return json.loads(match.group(2))


def test_which_files_there_are(page: Path) -> None:
    names = {str(f.relative_to(page)) for f in own(page)}
    assert names == {
        "index.html", "datasets/odd.html", "datasets/plain.html", "systems/good.html", "systems/middling.html",
        "systems/poor.html", "systems/img-src-x-onerror-window.broken-2.html", "data/tables/recall@100.js",
        "data/tables/mrr@10.js",
        *(f"data/{d}/{n}.js" for d in ("odd", "plain") for n in (
            "queries", "documents", "scores-ndcg@10", "scores-recall@100", "scores-mrr@10")),
    }  # fmt: skip


def test_nothing_is_loaded_from_elsewhere(page: Path) -> None:
    for file in [*own(page), *(f for f in (page / "assets").iterdir() if f.suffix in (".css", ".js"))]:
        if file.name in ("datatables.js", "plotly.js"):
            continue
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text), file
        assert "@import" not in text, file
        assert "url(" not in text, file
    for file in page.rglob("*.html"):
        (policy,) = [m["content"] for m in read(file).all("meta") if m.get("http-equiv")]
        assert policy is not None
        assert policy.startswith("default-src 'none'; script-src 'self' file:;")


def test_all_links_lead_to_something(page: Path) -> None:
    ids = {f: {a["id"] for _, a in read(f).tags if "id" in a} for f in page.rglob("*.html")}
    count = 0
    for file in ids:
        found = read(file)
        for tag, attributes in found.tags:
            target = attributes.get("href") or attributes.get("src")
            if tag not in ("a", "link", "script") or target is None or target == "data:,":
                continue
            parts = urlsplit(target)
            to = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            assert to.is_file(), (file, target)
            assert not parts.fragment or parts.fragment in ids[to], (file, target)
            count += 1
    assert count > 60


def test_texts_from_data_are_escaped(page: Path) -> None:
    allowed = {"page.js", "datatables.js", "plotly.js", "tables.js", "plots.js", "board.js", "dataset.js"}
    for file in page.rglob("*.html"):
        found = read(file)
        for attributes in found.all("script"):
            if "src" in attributes:
                assert Path(str(attributes["src"])).name in allowed
            else:
                assert attributes == {"type": "application/json", "id": "about"}
        assert not found.all("img"), file
        assert not [name for _, a in found.tags for name in a if name.startswith("on")], file
        for text in found.scripts:
            json.loads(text)
    shown = "".join(read(page / "systems" / "img-src-x-onerror-window.broken-2.html").text)
    assert pages.NASTY in shown, "the exact inputs"
    assert pages.IMAGE in shown, "the name"


def test_data_scripts_hold_json_that_ends_no_script(page: Path) -> None:
    for file in page.rglob("data/**/*.js"):
        text = file.read_text(encoding="utf-8")
        assert not set("<>&\u2028\u2029") & set(text), file
        data(page, str(file.relative_to(page / "data").with_suffix("")))
    assert data(page, "odd/queries")["texts"][0].startswith(f"query number 0 {pages.SCRIPT}")
    first = data(page, "odd/documents")["documents"][0]
    assert pages.IMAGE in first[1], "the title"
    assert pages.SCRIPT in first[2], "the text"


@given(
    st.recursive(
        st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists, max_leaves=8
    )
)
def test_any_json_survives(value: Any) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_lacks_is_null(value: float) -> None:
    assert data_script("x", [value]) == b'seekbench.put("x", [null]);\n'


@given(st.lists(st.text(max_size=90), unique=True, max_size=30))
def test_file_names_are_plain_and_differ(names: list[str]) -> None:
    found = file_names(names)
    assert list(found) == names
    assert len({f.lower() for f in found.values()}) == len(names)
    for file in found.values():
        assert re.fullmatch(r"[a-z0-9@_][a-z0-9@._-]{0,90}", file), file


def test_the_first_table_is_the_leaderboard(page: Path, results: Path) -> None:
    board = boards.of_all_metrics(sources.load([results]))[0]
    found = read(page / "index.html")
    orders = [a["data-order"] for tag, a in found.tags if tag == "td" and "data-order" in a]
    means = [str(row.mean) for row in board.rows]
    assert [o for o in orders if o in means] == means
    assert [a for a in found.all("th") if a.get("scope") == "row" and "data-order" in a] == [
        {"scope": "row", "data-order": row.system} for row in board.rows
    ]
    text = "".join(found.text)
    assert "▲ better, ▼ worse than middling" in text
    assert "4 systems on 2 datasets" in text


def test_scores_of_queries_are_the_records(page: Path, results: Path) -> None:
    import pyarrow.parquet as pq

    found = data(page, "odd/scores-ndcg@10")
    about = json.loads(read(page / "datasets" / "odd.html").scripts[-1])
    names = [s["name"] for s in about["systems"]]
    ids = data(page, "odd/queries")["ids"]
    assert len(ids) == pages.QUERIES
    values = {}
    for name in ("good", "middling", "poor"):
        table = pq.read_table(results / "odd" / "test" / name / "per_query.parquet")
        by_id = dict(zip(table["query_id"].to_pylist(), table["ndcg@10"].to_pylist(), strict=True))
        values[name] = [by_id[i] for i in ids]
        assert found["scores"][names.index(name)] == pytest.approx(values[name], abs=5e-5)
    a, b = names.index("good"), names.index("poor")
    (p,) = [p for i, j, p in found["pairs"] if {i, j} == {a, b}]
    raw = ttest_rel(values["good"], values["poor"]).pvalue
    assert raw <= p <= 6 * raw * (1 + 1e-9), "adjusted over the six pairs"


def test_documents_are_those_of_the_runs_with_grades(page: Path, results: Path) -> None:
    found = data(page, "odd/documents")
    about = json.loads(read(page / "datasets" / "odd.html").scripts[-1])
    ids = data(page, "odd/queries")["ids"]
    assert len(about["chosen"]) == 6
    assert {int(q) for q in found["hits"]} == set(about["chosen"])
    place = [s["name"] for s in about["systems"]].index("good")
    runs: dict[str, list[str]] = {}
    for line in (results.parent / "runs" / "good.odd").read_text().splitlines():
        query, _, document, *_ = line.split()
        runs.setdefault(query, []).append(document)
    for query in about["chosen"]:
        hits = found["hits"][str(query)][place]
        assert [found["documents"][d][0] for d, _ in hits] == runs[ids[query]][:10]
        q = int(ids[query][1:])
        wanted = {f"d{q}": 2, f"d{q + 1}": 1, f"d{q + 2}": 0}
        assert [g for _, g in hits] == [wanted.get(found["documents"][d][0]) for d, _ in hits]
        (d, grade, ranks), second = found["relevant"][str(query)]
        assert (found["documents"][d][0], grade, second[1]) == (f"d{q}", 2, 1)
        here = runs[ids[query]][:10]
        assert ranks[place] == (here.index(f"d{q}") + 1 if f"d{q}" in here else 0)


def test_queries_are_chosen_in_turn() -> None:
    scores = np.array([[1.0, 0.0, 0.5, 0.0, 1.0], [0.0, 0.0, 0.5, 0.9, 1.0]])
    assert queries.most_different(scores, 2) == [1, 0], "the hardest, the largest difference"
    assert queries.most_different(scores, 0) == []
    assert sorted(queries.most_different(scores, 9)) == [0, 1, 2, 3, 4]


def test_without_texts(results: Path, tmp_path: Path) -> None:
    write.write(tmp_path, boards.of_all_metrics(sources.load([results])), texts=False)
    for file in own(tmp_path):
        text = file.read_text(encoding="utf-8")
        assert "document number" not in text, file
        assert "query number" not in text, file
        assert "window.broken = 1" not in text, file
    assert "left out of this page" in "".join(read(tmp_path / "datasets" / "odd.html").text)
    assert data(tmp_path, "odd/documents")["documents"][0] == [
        data(tmp_path, "odd/documents")["documents"][0][0]
    ]


def test_a_dataset_that_is_gone_or_changed(results: Path, tmp_path: Path) -> None:
    """The store is another one than that of the run."""
    collection = results.parent / "collections" / "plain"
    moved = collection.rename(collection.with_name("moved"))
    try:
        made = write.write(tmp_path / "gone", boards.of_all_metrics(sources.load([results])))
    finally:
        moved.rename(collection)
    assert "its dataset can't be read again" in made.without_texts["plain"]
    assert data(tmp_path / "gone", "plain/queries")["texts"] is None
    assert data(tmp_path / "gone", "plain/documents")["judged"] is False
    assert "Texts are not included" in "".join(read(tmp_path / "gone" / "datasets" / "plain.html").text)
    corpus = collection / "corpus.jsonl"
    before = corpus.read_bytes()
    try:
        corpus.write_bytes(before.replace(b"number 7", b"number seven"))
        made = write.write(tmp_path / "changed", boards.of_all_metrics(sources.load([results])))
    finally:
        corpus.write_bytes(before)
    assert "it was made on other corpus than plain (test) has now" in made.without_texts["plain"]


def test_the_same_results_give_the_same_bytes(results: Path, page: Path, tmp_path: Path) -> None:
    write.write(tmp_path, boards.of_all_metrics(sources.load([results])), most=6)
    for file in page.rglob("*"):
        if file.is_file():
            assert (tmp_path / file.relative_to(page)).read_bytes() == file.read_bytes(), file


def test_an_earlier_page_is_replaced_and_nothing_else(results: Path, tmp_path: Path) -> None:
    made = boards.of_all_metrics(sources.load([results]))
    write.write(tmp_path, made)
    (tmp_path / "systems" / "old.html").touch()
    write.write(tmp_path, made)
    assert not (tmp_path / "systems" / "old.html").exists()
    (tmp_path / "index.html").write_text("<p>mine</p>")
    with pytest.raises(InputError, match="holds other files"):
        write.write(tmp_path, made)
    assert (tmp_path / "systems" / "good.html").exists()


def test_damaged_and_missing_files_beside_the_records(results: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    for run in copy.glob("odd/test/*/run.trec.gz"):
        run.unlink()
    for scores in copy.glob("plain/test/*/per_query.parquet"):
        scores.unlink()
    found = [(f, {**r, "baseline": None}) for f, r in sources.load([copy])]
    write.write(tmp_path / "page", boards.of_all_metrics(found))
    (hits,) = {str(h) for h in data(tmp_path / "page", "odd/documents")["hits"].values()}
    assert hits == "[None, None, None, None]"
    assert "no scores of single queries" in "".join(read(tmp_path / "page" / "datasets" / "plain.html").text)


def test_published_figures_alone(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("system,dataset,ndcg@10,recall@100\na,x,0.5,0.9\nb,x,0.6,0.8\na,y,0.4,0.7\n")
    write.write(tmp_path / "page", boards.of_all_metrics(sources.load([table]), metric="ndcg@10"))
    text = "".join(read(tmp_path / "page" / "index.html").text)
    assert "0.6000" in text
    assert "read from published results" in "".join(read(tmp_path / "page" / "systems" / "a.html").text)
    assert data(tmp_path / "page", "tables/recall@100")["plot"]["quality"] == "mean recall@100"


def test_the_bundle_of_datatables_became_a_classic_script() -> None:
    text = libraries.datatables()
    assert text.startswith('(()=>{"use strict";')
    assert text.endswith("})();\n")
    assert text.count("window.DataTable=") == 1
    assert not re.search(r"export\s*\{", text)
    told = libraries.licences()
    assert told.count("Permission is hereby granted") == 2


def cli(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["leaderboard", *map(str, arguments)])


def test_on_the_command_line(results: Path, tmp_path: Path) -> None:
    done = cli(results, "--html", tmp_path / "page", "--html-title", "Ours & <others>", "-m", "recall@100")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("7 pages, ")
    assert done.stdout.endswith("page/index.html\n")
    found = read(tmp_path / "page" / "index.html")
    assert "Ours & <others>" in found.text
    about = json.loads(found.scripts[-1])
    assert [m["name"] for m in about["metrics"]] == ["recall@100", "ndcg@10", "mrr@10"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--html", "FOLDER", "--format", "json"], "--format: pages are written"),
        (["--no-texts"], "belong to --html"),
        (["--html-queries", "3"], "belong to --html"),
        (["--html", "FILE"], "this is a file"),
        (["--html", "FULL"], "the folder holds other files"),
        (["--html", "FOLDER", "-m", "ndcg@5"], "no result has the metric 'ndcg@5'"),
    ],
)
def test_mistakes(results: Path, tmp_path: Path, options: list[str], said: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    places = {"FOLDER": tmp_path / "page", "FILE": tmp_path / "file", "FULL": tmp_path / "full"}
    done = cli(results, *(places.get(o, o) for o in options))
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "page").exists()
