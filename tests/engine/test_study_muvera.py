"""The study of candidates: recall and figures against their definition, what is asked once, tables, mistakes."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner
from typer.testing import Result as Called

sys.path.insert(0, str(Path(__file__).parents[1] / "retrievers"))
import tiny_checkpoints as tiny
import tiny_multi_vector

from seekbench.api import load_dataset
from seekbench.cli.app import app
from seekbench.errors import InputError
from seekbench.metrics.evaluate import score
from seekbench.retrievers.multi_vector import candidates as methods
from seekbench.retrievers.multi_vector import maxsim
from seekbench.retrievers.multi_vector.muvera import Muvera
from seekbench.retrievers.multi_vector.passages import Passages
from seekbench.retrievers.protocol import Context
from seekbench.runs import Run
from seekbench.store import Store
from seekbench.studies import muvera, muvera_file, muvera_table

DOCUMENTS, QUERIES = 40, 6
STUDY = """\
study: muvera
datasets: [{path: ./data, language: en}]
system: {model: ./model}
candidates: [4, 8, 16, 32]
recall_at: [1, 5]
fde: {repetitions: [1, 6], simhash_bits: [2], projection_dim: [4, 8]}
heuristic: [{}, {dedup: false}]
plaid: {centroids: 16, ncells: 2}
metrics: [ndcg@5, mrr@5]
k: 5
"""
POINTS = ["muvera-R1-b2-p4", "muvera-R1-b2-p8", "muvera-R6-b2-p4", "muvera-R6-b2-p8",
          "heuristic", "heuristic-dedup=false", "plaid-centroids=16-ncells=2"]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, a collection of 40 documents (two of equal text) and a study."""
    folder = tmp_path_factory.mktemp("muvera")
    tiny_multi_vector.colbert(folder / "model")
    texts = tiny.texts(DOCUMENTS - 1, seed=3, longest=20)
    texts.append(texts[0])
    data = folder / "data"
    (data / "qrels").mkdir(parents=True)
    rows = [{"_id": f"d{i}", "text": t} for i, t in enumerate(texts)]
    (data / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    asked = [{"_id": f"q{i}", "text": " ".join(texts[i].split()[:5])} for i in range(QUERIES)]
    (data / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in asked))
    judged = "".join(f"q{i}\td{j}\t{g}\n" for i in range(QUERIES) for j, g in ((i, 2), (i + 7, 1)))
    (data / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    (folder / "s.yaml").write_text(STUDY)
    return folder


def context() -> Context:
    return Context(threads=1, device="cpu", offline=True)


@pytest.fixture(scope="module")
def result(made: Path) -> muvera.Result:
    study = muvera.load(made / "s.yaml")
    return muvera.execute(study, output=made / "out", store=Store(made / "store"), context=context())


def call(made: Path, *args: str) -> Called:
    where = (
        "--store",
        str(made / "store"),
        "--output",
        str(made / "out"),
        "--threads",
        "1",
        "--device",
        "cpu",
    )
    return CliRunner().invoke(app, ["study", "muvera", str(made / "s.yaml"), "--offline", *where, *args])


# -- figures ----------------------------------------------------------------------------------------------------


class _Plain:
    """What the study should find, in float64 and loops, from the vectors in the store."""

    def __init__(self, made: Path) -> None:
        self.study = muvera.load(made / "s.yaml")
        self.dataset = load_dataset({"path": str(made / "data"), "language": "en"}, store=made / "store")
        self.bench = muvera._Bench(self.study, self.dataset, Store(made / "store"), context(), [])
        packed, (tokens, self.passages) = self.bench.packed(), self.bench.opened()
        texts = [tokens.block(i, i + 1).astype(np.float64) for i in range(len(tokens))]
        queries = [
            packed.vectors[packed.indptr[q] : packed.indptr[q + 1]].astype(np.float64)
            for q in range(len(packed))
        ]
        of = self.passages.of
        self.scores = np.array(
            [[(q @ texts[of[d]].T).max(axis=1).sum() for d in range(len(of))] for q in queries]
        )
        self.order = np.asarray(self.bench.documents.order)

    def best(self, q: int) -> list[int]:
        """Documents by the ranking rule."""
        return sorted(
            range(len(self.order)), key=lambda d: (np.float32(self.scores[q, d]), self.order[d]), reverse=True
        )

    def among(self, q: int, passages: Any) -> list[int]:
        chosen = {int(p) for p in passages if p >= 0}
        return [d for d in self.best(q) if int(self.passages.of[d]) in chosen]

    def ask(self, name: str, count: int) -> Any:
        """The candidates of a point, asked for `count`, without the study."""
        retriever: Any = self.study.config.retriever(name).retriever
        params = retriever.params.candidates
        if params.type == "plaid":
            params = params.model_copy(update={"ndocs": 4 * count})
        folder = self.bench.index(retriever).folder / "candidates"
        method = methods.open_method(params, self.bench.opened()[0], folder, context=context())
        return method.candidates(self.bench.packed(), count, context=context(), k=5)


def test_recall_and_rank_of_every_point_are_those_of_loops(made: Path, result: muvera.Result) -> None:
    plain = _Plain(made)
    ids = [f"q{i}" for i in range(QUERIES)]
    assert [r.system for r in result.rows] == POINTS
    assert not result.outcome.failures
    for row in result.rows:
        for n in (4, 8, 16, 32):
            where = plain.ask(row.system, n)
            for k in (1, 5):
                top = [plain.best(q)[:k] for q in range(QUERIES)]
                shares = [np.mean([d in plain.among(q, where[q]) for d in top[q]]) for q in range(QUERIES)]
                assert row.recall[k][n] == pytest.approx(np.mean(shares)), (row.system, n, k)
            ranked = np.full((QUERIES, 5), -1, np.int32)
            for q in range(QUERIES):
                docs = plain.among(q, where[q])[:5]
                ranked[q, : len(docs)] = docs
            run = Run(ranked, np.where(ranked >= 0, -np.arange(5, dtype=np.float32), np.float32(-np.inf)))
            for name, value in score(
                run, plain.dataset.qrels, plain.study.config.measures, query_ids=ids
            ).mean.items():
                assert row.scores[name][n] == pytest.approx(value), (row.system, n)
                assert row.lost[name][n] == pytest.approx(result.corpora[0].exact[name] - value)  # type: ignore[operator]
            assert row.found[n] == pytest.approx((where >= 0).sum(axis=1).mean())


def test_fewest_candidates_are_the_first_that_reach_a_level(made: Path, result: muvera.Result) -> None:
    plain = _Plain(made)
    for row in result.rows:
        if row.system in ("heuristic-dedup=false", POINTS[-1]):  # asked for each number anew
            expected = {t: muvera.fewest(row.recall[5], t) for t in muvera_file.TARGETS}
            assert row.needed[5] == expected
            continue
        where = plain.ask(row.system, 32)
        curve = [
            np.mean(
                [
                    np.mean([d in plain.among(q, where[q, :n]) for d in plain.best(q)[:5]])
                    for q in range(QUERIES)
                ]
            )
            for n in range(1, 33)
        ]
        for level in muvera_file.TARGETS:
            reached = [n for n, r in enumerate(curve, 1) if r >= level - 1e-9]
            assert row.needed[5][level] == (reached[0] if reached else None)
    base = next(r for r in result.rows if r.system == "heuristic")
    for row in result.rows:
        for level, n in row.needed[5].items():
            other = base.needed[5][level]
            assert row.ratio[5][level] == (None if n is None or other is None else other / n)


def test_fewest_interpolates_upward() -> None:
    recall = {10: 0.5, 20: 0.9, 50: 0.9, 100: 0.96}
    assert [muvera.fewest(recall, t) for t in (0.3, 0.5, 0.8, 0.9, 0.93, 0.97)] == [10, 10, 18, 20, 75, None]
    assert muvera.fewest({10: 0.0, 13: 1.0}, 0.5) == 12
    assert muvera.fewest({}, 0.5) is None


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_curve_is_that_of_loops(data: st.DataObject) -> None:
    queries, documents = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
    of = np.array(sorted(data.draw(st.lists(st.integers(0, 3), min_size=documents, max_size=documents))))
    of = np.unique(of, return_inverse=True)[1].astype(np.int32)
    passages = Passages(of)
    hits = [data.draw(st.permutations(range(documents)))[: data.draw(st.integers(0, documents))]
            for _ in range(queries)]  # fmt: skip
    rows = np.full((queries, documents), -1, np.int32)
    for q, found in enumerate(hits):
        rows[q, : len(found)] = found
    where = np.full((queries, len(passages)), -1, np.int32)
    for q in range(queries):
        found = data.draw(st.permutations(range(len(passages))))[: data.draw(st.integers(0, len(passages)))]
        where[q, : len(found)] = found
    run = Run(rows, np.where(rows >= 0, -np.arange(documents, dtype=np.float32), np.float32(-np.inf)))
    best, k = muvera._Best.of(run, passages), data.draw(st.integers(1, documents))
    expected = []
    for n in range(1, len(passages) + 1):
        shares = [np.mean([of[d] in where[q, :n] for d in h[:k]]) for q, h in enumerate(hits) if h]
        expected.append(np.mean(shares) if shares else 0.0)
    np.testing.assert_allclose(best.curve(k, where), expected, atol=1e-12)


# -- what is done once ------------------------------------------------------------------------------------------


def test_everything_is_kept_and_methods_are_asked_once(
    made: Path, result: muvera.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = muvera.execute(
        muvera.load(made / "s.yaml"), output=made / "out", store=Store(made / "store"), context=context()
    )
    assert [r.recall for r in again.rows] == [r.recall for r in result.rows]
    assert all("reused" in line for line in again.outcome.explained)

    asked: list[int] = []
    whole = Muvera.candidates

    def counted(self: Any, queries: Any, count: int, **more: Any) -> Any:
        asked.append(count)
        return whole(self, queries, count, **more)

    def forbidden(*args: Any, **more: Any) -> Any:
        raise AssertionError("the exact search is stored")

    monkeypatch.setattr(Muvera, "candidates", counted)
    monkeypatch.setattr(maxsim, "search", forbidden)
    text = STUDY.replace("[1, 6]", "[3]").replace("[4, 8]", "[4]")
    (made / "more.yaml").write_text(text)
    more = muvera.execute(
        muvera.load(made / "more.yaml"), output=made / "out2", store=Store(made / "store"), context=context()
    )
    assert asked == [32, 32]  # to warm up, and once
    assert not more.outcome.failures
    assert more.rows[0].fde_dim == 3 * 4 * 4


def test_a_failing_point_is_a_row(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, *args: Any, **more: Any) -> Any:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(Muvera, "candidates", broken)
    (made / "broken.yaml").write_text(STUDY.replace("[1, 6]", "[2]").replace("[4, 8]", "[4]"))
    found = muvera.execute(
        muvera.load(made / "broken.yaml"),
        output=made / "out3",
        store=Store(made / "store"),
        context=context(),
    )
    assert [f.cause for f in found.outcome.failures] == ["RuntimeError: no such luck"]
    assert found.rows[0].failure
    assert found.rows[1].recall
    shown = muvera_table.grids(found)
    assert any("no such luck" in line for grid in shown for line in grid.notes)
    assert [p.name for p in muvera_table.write(made / "out3", found)][-1] == "muvera-data-test.png"


def test_numbers_beyond_the_corpus_are_left_out(made: Path) -> None:
    (made / "far.yaml").write_text(STUDY.replace("16, 32]", "39, 4000]").replace("[1, 6]", "[1]"))
    found = muvera.execute(
        muvera.load(made / "far.yaml"), output=made / "out4", store=Store(made / "store"), context=context()
    )
    assert found.corpora[0].candidates == (4, 8, 39)
    assert any("4,000" in note for note in found.corpora[0].notes)
    assert found.rows[0].recall[5][39] == pytest.approx(1.0)
    text = STUDY.replace("[4, 8, 16, 32]", "[4000]")
    (made / "far.yaml").write_text(text)
    found = muvera.execute(
        muvera.load(made / "far.yaml"), output=made / "out4", store=Store(made / "store"), context=context()
    )
    assert "39 different documents" in found.outcome.failures[0].cause
    assert muvera_table.grids(found)[0].rows


# -- the command --------------------------------------------------------------------------------------------------


def test_command_in_five_formats(made: Path, result: muvera.Result) -> None:
    table = call(made)
    assert table.exit_code == 0, table.output
    assert "recall@5" in table.stdout
    assert "muvera-R6-b2-p8 (192)" in table.stdout
    assert "tables and pictures" in table.stdout
    assert "records" not in table.stdout
    written = {p.name for p in (made / "out").iterdir()}
    assert {"muvera.json", "muvera.md", "muvera.tex", "muvera.csv", "muvera-data-test.png"} <= written
    found = json.loads(call(made, "-f", "json").stdout)
    assert [r["system"] for r in found["rows"]] == POINTS
    assert found["rows"][0]["recall"]["5"]["32"] == result.rows[0].recall[5][32]
    lines = list(csv.DictReader(io.StringIO(call(made, "-f", "csv").stdout)))
    assert [line["system"] for line in lines] == POINTS
    assert float(lines[0]["recall@5_of_32"]) == result.rows[0].recall[5][32]
    assert call(made, "-f", "md").stdout == (made / "out" / "muvera.md").read_text()
    assert "\\begin{tabular}" in call(made, "-f", "latex").stdout
    one = json.loads(call(made, "-f", "json", "-m", "MRR@5").stdout)
    assert list(one["rows"][0]["scores"]) == one["metrics"] == ["mrr@5"]


def test_dry_run(made: Path, result: muvera.Result) -> None:
    done = call(made, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "8 cells: 8 stored, 0 to do" in done.stdout
    fewer = call(made, "--dry-run", "--set", "fde.repetitions=[9]", "-f", "json")
    cells = json.loads(fewer.stdout)["cells"]
    assert [s["state"] for s in cells[1]["stages"]] == ["missing"] * 3
    assert [s["state"] for s in cells[-1]["stages"]] == ["cached"] * 3


# -- mistakes -----------------------------------------------------------------------------------------------------


def test_all_mistakes_with_their_lines(made: Path) -> None:
    (made / "bad.yaml").write_text(
        """\
study: muvera
datasets: [{path: ./data, language: en}]
system:
  model: ./model
  document_lenght: 40
  compression: int8
candidates: [4, 4, none]
recall_at: [0]
fde:
  repetitions: [1, 0]
  simhash_bit: [2]
  depth: 5
heuristic: [{}, {}]
plaid: {ncells: many}
metrics: [ndcg@50]
k: 10
extra: 1
"""
    )
    with pytest.raises(InputError) as caught:
        muvera.load(made / "bad.yaml")
    said = {(p.line, p.message.partition(":")[0]) for p in caught.value.report.problems}
    lines = [p.line for p in caught.value.report.problems]
    assert {5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 17} == set(lines), said
    assert lines.count(7) == 2
    assert lines.count(5) == 1
    text = str(caught.value)
    assert "fde has no key 'simhash_bit' (did you mean 'simhash_bits'" in text
    assert "plaid.ncells: " in text
    assert all(str(p.where).endswith("bad.yaml") for p in caught.value.report.problems)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("system: {model: ./model}\n", "", "the key 'system' is missing"),
        ("system: {model: ./model}", "system: {model: ./model, type: dense}", "the type is multi_vector"),
        ("repetitions: [1, 6]", "repetitions: []", "0 combinations"),
        ("simhash_bits: [2]", f"simhash_bits: {list(range(30))}, seed: {list(range(30))}", "1 to 200"),
        ("simhash_bits: [2]", "projection: none", "projection_dim"),
        ("study: muvera", "study: scaling", "this is a scaling study"),
    ],
)
def test_one_mistake(made: Path, old: str, new: str, said: str) -> None:
    (made / "wrong.yaml").write_text(STUDY.replace(old, new))
    with pytest.raises(InputError, match=said):
        muvera.load(made / "wrong.yaml")


def test_a_model_that_is_not_there_is_said_once(made: Path) -> None:
    study = muvera.load(made / "s.yaml", ["system.model=./nothing"])
    report = muvera.check_resolvable(study, context())
    assert len(report.problems) == 1
    assert "nothing" in report.problems[0].message


def test_the_shipped_study_is_valid() -> None:
    study = muvera.load(Path(__file__).parents[2] / "configs" / "studies" / "muvera.yaml")
    assert study.reference == "heuristic"
    assert len(study.points) == 14
