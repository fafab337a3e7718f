"""Leaderboards with systems that learnt from another split: all systems on the queries without neighbour."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import ttest_rel
from typer.testing import CliRunner

from seekbench import tables
from seekbench.cli.app import app
from seekbench.errors import InputError
from seekbench.leaderboard import records, render, sources, table

IDS = [f"q{i}" for i in range(8)]
#: ndcg@10 of q0 .. q7. Whole means: bm25 .5, dense .5625, gen .75, gen2 .65.
BM25 = [0.2, 0.4, 0.6, 0.8, 0.2, 0.4, 0.6, 0.8]
DENSE = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0]
GEN = [1.0, 1.0, 1.0, 1.0, 0.6, 0.4, 0.6, 0.4]
GEN2 = [0.6, 0.6, 0.6, 1.0, 1.0, 0.5, 0.5, 0.4]
#: gen knows the answers of the first four, gen2 of q3 and q4.
NEAR, NEAR2 = IDS[:4], IDS[3:5]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def put(
    output: Path,
    system: str,
    scores: list[float],
    near: list[str] | None = None,
    *,
    ids: list[str] = IDS,
    dataset: str = "scifact",
    **training: Any,
) -> Path:
    """Writes a record; near: ids of the queries with a neighbour, None for a system that learnt nothing."""
    folder = records.cell_folder(output, dataset, "test", system)
    folder.mkdir(parents=True)
    pq.write_table(
        pa.table({"query_id": ids, "ndcg@10": scores, "num_ret": scores}), folder / "per_query.parquet"
    )
    kept = [s for i, s in zip(ids, scores, strict=True) if i not in (near or [])]
    told = None
    if near is not None:
        told = {
            "split": "train", "threshold": 0.9, "queries_with_neighbour": len(near),
            "queries_without_neighbour": len(kept), "with_neighbour": near,
            "without_neighbour": {"ndcg@10": {"mean": _mean(kept)}} if kept else {}, **training,
        }  # fmt: skip
        told = {k: v for k, v in told.items() if v is not ...}
    record = {
        "dataset": {"id": dataset, "split": "test", "hashes": {"dataset": "x"}, "queries": len(ids)},
        "retriever": {"name": system, "type": "t", "system": system, "details": {}},
        "metrics": {
            "ndcg@10": {"mean": _mean(scores), "aggregate": "mean"},
            "num_ret": {"mean": sum(scores), "aggregate": "sum"},
        },
        "training": told,
        "primary_metric": "ndcg@10",
        "policies": {},
        "comparable": True,
        "recorded_at": "2025-01-01",
        "queries_without_hits": 0,
        "index": {},
        "efficiency": {
            "queries_per_second": 10.0, "latency_ms": {"p95": 1.5}, "index_bytes": 2_000_000, "index_seconds": 1.0,
        },
    }  # fmt: skip
    records.write(folder, record)
    return folder


def board(output: Path, **options: Any) -> table.Leaderboard:
    return table.build(sources.load([output]), **options)


def twins(made: table.Leaderboard, place: int = 0) -> dict[str, float | None]:
    return {r.system: t.score for r in made.rows if (t := r.twins[place]) is not None}


def test_without_a_system_that_learnt_nothing_changes(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25)
    made = board(tmp_path, baseline="bm25")
    assert not made.has_twins
    assert twins(made) == {}
    assert render.header(made) == ["system", "Δ bm25", "scifact ndcg@10", "queries/s", "p95 ms", "index MB"]
    assert made.notes == []
    assert render.as_json(made)["rows"][0]["scores"]["scifact"]["without_neighbour"] is None


def test_all_systems_are_compared_on_the_queries_without_neighbour(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25)
    # The order of queries in a file must not matter.
    put(tmp_path, "dense", DENSE[::-1], ids=IDS[::-1])
    put(tmp_path, "gen", GEN, NEAR)
    made = board(tmp_path, baseline="bm25")
    assert twins(made) == pytest.approx({"gen": 0.5, "dense": 0.625, "bm25": 0.5})
    assert [r.system for r in made.rows] == ["gen", "dense", "bm25"], "ordered by all queries"
    assert {r.system for r in made.rows if r.cells[0].best} == {"gen"}
    assert {r.system for r in made.rows if (t := r.twins[0]) and t.best} == {"dense"}
    (note,) = made.notes
    assert note.startswith("† scifact: without 4 of 8 queries,")
    assert "cosine 0.9 or more" in note
    assert "same ones" not in note
    deltas = {r.system: t.delta for r in made.rows if (t := r.twins[0])}
    assert deltas == {"gen": pytest.approx(0), "dense": pytest.approx(0.125), "bm25": None}


def test_the_twin_of_the_system_that_learnt_is_its_recorded_figure(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25)
    folder = put(tmp_path, "gen", GEN, NEAR)
    recorded = records.read(folder)["training"]["without_neighbour"]["ndcg@10"]["mean"]
    assert twins(board(tmp_path))["gen"] == pytest.approx(recorded)


def test_significance_is_tested_on_the_same_queries(tmp_path: Path) -> None:
    """p-values by scipy; Holm over both columns: the two tests of gen have the factors 2 and 1."""
    put(tmp_path, "bm25", BM25)
    high = [1.0, 1.0, 1.0, 1.0, 0.1, 0.29, 0.48, 0.71]
    put(tmp_path, "gen", high, NEAR)
    made = board(tmp_path, baseline="bm25")
    gen = made.rows[0]
    whole, part = ttest_rel(high, BM25).pvalue, ttest_rel(high[4:], BM25[4:]).pvalue
    assert part < whole
    twin = gen.twins[0]
    assert twin is not None
    assert twin.p == pytest.approx(min(1.0, 2 * part))
    assert gen.cells[0].p == pytest.approx(max(2 * part, whole))
    assert (gen.cells[0].mark, twin.mark) == ("", "▼")
    assert any("▼ worse" in line for line in render.legend(made)), "the only mark is in the second column"


def test_identical_sets_of_two_systems(tmp_path: Path) -> None:
    put(tmp_path, "gen", GEN, NEAR)
    put(tmp_path, "gen2", GEN2, NEAR[::-1])
    made = board(tmp_path)
    assert twins(made) == pytest.approx({"gen": 0.5, "gen2": 0.6})
    assert "not the same ones" not in made.notes[0]


def test_differing_sets_of_two_systems(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25)
    put(tmp_path, "gen", GEN, NEAR)
    put(tmp_path, "gen2", GEN2, NEAR2)
    made = board(tmp_path)
    # q5, q6, q7
    assert twins(made) == pytest.approx({"gen": 1.4 / 3, "gen2": 1.4 / 3, "bm25": 0.6})
    (note,) = made.notes
    assert "without 5 of 8 queries" in note
    assert "not the same ones for all systems: 4 for gen, 2 for gen2" in note


def test_every_query_has_a_neighbour(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25)
    put(tmp_path, "gen", GEN, IDS)
    made = board(tmp_path, baseline="bm25")
    assert twins(made) == {"gen": None, "bm25": None}
    assert "without 8 of 8 queries" in made.notes[0]
    assert len(made.notes) == 1
    assert "–" in render.as_markdown(made)


def test_no_query_has_a_neighbour(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25)
    put(tmp_path, "gen", GEN, [])
    made = board(tmp_path)
    assert twins(made) == pytest.approx({"gen": 0.75, "bm25": 0.5})
    assert "without 0 of 8 queries" in made.notes[0]


def test_sums_are_summed_over_the_queries_left(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25)
    put(tmp_path, "gen", GEN, NEAR)
    made = board(tmp_path, metric="num_ret", baseline="bm25")
    assert twins(made) == pytest.approx({"gen": 2.0, "bm25": 2.0})
    twin = made.rows[0].twins[0]
    assert twin is not None
    assert (twin.delta, twin.p) == (pytest.approx(0.0), None)


def test_a_figure_of_the_whole_run_has_no_part(tmp_path: Path) -> None:
    folder = put(tmp_path, "gen", GEN, NEAR)
    record = records.read(folder)
    record["metrics"]["nauc(of=ndcg@10,by=max)"] = {"mean": 0.5, "aggregate": "run"}
    records.write(folder, record)
    made = board(tmp_path, metric="nauc(of=ndcg@10,by=max)")
    assert not made.has_twins
    assert any("whole run" in note for note in made.notes)


def test_records_that_only_count_are_shown_in_brackets(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25)
    put(tmp_path, "gen", GEN, NEAR)
    put(tmp_path, "old", GEN2, NEAR2, with_neighbour=...)
    made = board(tmp_path, baseline="bm25")
    kept = [s for i, s in zip(IDS, GEN2, strict=True) if i not in NEAR2]
    assert twins(made) == pytest.approx({"gen": 0.5, "bm25": 0.5, "old": _mean(kept)})
    old = next(t for r in made.rows if r.system == "old" and (t := r.twins[0]))
    assert (old.comparable, old.best, old.p, old.delta) == (False, False, None, None)
    assert any("in brackets: old" in note for note in made.notes)
    assert f"({_mean(kept):.4f})" in render.as_markdown(made)


def test_only_records_that_only_count(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25)
    put(tmp_path, "old", GEN, NEAR, with_neighbour=...)
    made = board(tmp_path, baseline="bm25")
    assert twins(made) == pytest.approx({"old": 0.5, "bm25": None})
    assert made.notes[0].startswith("† scifact: without 4 for old of 8 queries,")
    assert not any("no scores for" in note for note in made.notes)
    told = render.as_json(made)
    assert told["without_neighbour"]["scifact"]["queries"] is None
    assert told["rows"][0]["scores"]["scifact"]["without_neighbour"]["comparable"] is False


def test_an_early_record_without_neighbours_names_all_queries(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25)
    put(tmp_path, "old", GEN, [], with_neighbour=...)
    assert twins(board(tmp_path)) == pytest.approx({"old": 0.75, "bm25": 0.5})


def test_scores_per_query_that_are_gone(tmp_path: Path) -> None:
    folders = [put(tmp_path, "bm25", BM25), put(tmp_path, "dense", DENSE), put(tmp_path, "gen", GEN, NEAR)]
    (folders[1] / "per_query.parquet").unlink()
    made = board(tmp_path)
    assert twins(made) == pytest.approx({"bm25": 0.5, "dense": None, "gen": 0.5})
    assert any("dense: no scores for all of these queries" in note for note in made.notes)
    (folders[2] / "per_query.parquet").unlink()
    made = board(tmp_path)
    assert twins(made) == pytest.approx({"bm25": None, "dense": None, "gen": 0.5})
    with pytest.raises(InputError, match="scores per query are gone"):
        board(tmp_path, baseline="bm25")


def test_a_system_that_lacks_queries_has_no_figure(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25[:6], ids=IDS[:6])
    put(tmp_path, "gen", GEN, NEAR)
    made = board(tmp_path)
    assert twins(made) == pytest.approx({"gen": 0.5, "bm25": None})
    assert any("bm25: no scores" in note for note in made.notes)


def test_a_cell_that_failed(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25)
    put(tmp_path, "gen", GEN, NEAR)
    made = board(tmp_path, failures={("scifact", "test", "dense"): "no memory"}, baseline="bm25")
    assert twins(made) == pytest.approx({"gen": 0.5, "bm25": 0.5, "dense": None})
    assert made.rows[-1].system == "dense"
    assert "| failed | failed |" in render.as_markdown(made)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """scifact, where gen learnt from train, and cranfield, which has no training queries."""
    for dataset in ("scifact", "cranfield"):
        put(tmp_path, "bm25", BM25, dataset=dataset)
        put(tmp_path, "gen", GEN, NEAR if dataset == "scifact" else None, dataset=dataset)
    put(tmp_path, "dense", DENSE)
    return tmp_path


def test_means_over_datasets(two: Path) -> None:
    made = board(two, baseline="bm25")
    assert [c.name for c in made.columns] == ["cranfield", "scifact"]
    assert [c.subset is not None for c in made.columns] == [False, True]
    rows = {r.system: r for r in made.rows}
    assert [r.system for r in made.rows] == ["gen", "bm25", "dense"]
    assert (rows["gen"].mean, rows["gen"].mean_twin) == (pytest.approx(0.75), pytest.approx((0.75 + 0.5) / 2))
    assert (rows["bm25"].mean, rows["bm25"].mean_twin) == (pytest.approx(0.5), pytest.approx(0.5))
    assert (rows["dense"].mean, rows["dense"].mean_twin) == (None, None)
    assert rows["gen"].delta_twin == pytest.approx(0.125)
    assert rows["gen"].best_twin
    assert any("† mean: with all queries of the datasets" in note for note in made.notes)
    assert render.header(made) == [
        "system", "mean ndcg@10", "mean†", "Δ bm25", "cranfield", "scifact", "scifact†", "queries/s", "p95 ms",
        "index MB",
    ]  # fmt: skip


def test_a_figure_in_brackets_is_in_no_mean(tmp_path: Path) -> None:
    for dataset in ("scifact", "fiqa"):
        put(tmp_path, "bm25", BM25, dataset=dataset)
        put(tmp_path, "old", GEN, NEAR, dataset=dataset, with_neighbour=...)
    made = board(tmp_path)
    assert [(r.mean, r.mean_twin) for r in made.rows] == [
        (pytest.approx(0.75), None),
        (pytest.approx(0.5), None),
    ]


def show(folder: Path, *options: str) -> str:
    result = CliRunner().invoke(app, ["leaderboard", str(folder), "--baseline", "bm25", *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_figures_on_other_data_are_in_no_mean_rank_or_test(tmp_path: Path) -> None:
    """gen, which learnt, was run on other data of one of the datasets."""
    for dataset in ("scifact", "fiqa", "nq"):
        for system, scores, near in (("bm25", BM25, None), ("dense", DENSE, None), ("gen", GEN, NEAR)):
            put(tmp_path, system, scores, near, dataset=dataset)
    folder = records.cell_folder(tmp_path, "nq", "test", "gen")
    stored = records.read(folder)
    records.write(folder, {**stored, "dataset": {**stored["dataset"], "hashes": {"dataset": "y"}}})
    with pytest.raises(InputError, match="made on different data: nq: 2 different contents"):
        board(tmp_path, baseline="bm25")
    made = board(tmp_path, baseline="bm25", allow_mixed=True)
    (gen,) = (row for row in made.rows if row.system == "gen")
    by_name = dict(zip([c.name for c in made.columns], gen.cells, strict=True))
    assert [by_name[n].comparable for n in ("scifact", "fiqa", "nq")] == [True, True, False]
    assert (by_name["nq"].score, by_name["nq"].delta, by_name["nq"].p) == (pytest.approx(0.75), None, None)
    assert (gen.mean, gen.mean_twin, gen.delta, gen.group) == (None, None, None, None)
    assert gen.borda is not None
    assert gen.borda[2] == 1
    assert by_name["scifact"].p is not None
    shown = render.as_markdown(made)
    assert "(0.7500)" in shown
    assert "in brackets: gen on other data than bm25; such figures are in no mean, rank or test" in shown
    # Without a baseline, the data of most systems are those of the column.
    (gen,) = (row for row in board(tmp_path, allow_mixed=True).rows if row.system == "gen")
    assert [c.comparable for c in gen.cells].count(False) == 1


def test_a_record_without_the_metric_is_said(tmp_path: Path) -> None:
    put(tmp_path, "bm25", BM25)
    folder = put(tmp_path, "gen", GEN)
    stored = records.read(folder)
    records.write(folder, {**stored, "metrics": {"num_ret": stored["metrics"]["num_ret"]}})
    made = board(tmp_path, metric="ndcg@10")
    assert {r.system: r.cells[0].score for r in made.rows} == {"bm25": pytest.approx(0.5), "gen": None}
    assert "gen has no ndcg@10 on scifact: run it again with this metric" in made.notes


def test_formats(two: Path) -> None:
    told = json.loads(show(two, "--format", "json"))
    assert told["without_neighbour"] == {
        "cranfield": None,
        "scifact": {"queries": 4, "of": 8, "thresholds": [0.9], "queries_with_neighbour": {"gen": 4}},
    }
    gen = told["rows"][0]
    assert gen["without_neighbour"]["mean"] == pytest.approx(0.625)
    assert gen["scores"]["cranfield"]["without_neighbour"] is None
    assert gen["scores"]["scifact"]["mean"] == pytest.approx(0.75)
    assert gen["scores"]["scifact"]["without_neighbour"]["mean"] == pytest.approx(0.5)
    (first, *_) = csv.DictReader(io.StringIO(show(two, "--format", "csv")))
    assert float(first["mean ndcg@10 without_neighbour"]) == pytest.approx(0.625)
    assert float(first["scifact"]) == pytest.approx(0.75)
    assert float(first["scifact without_neighbour"]) == pytest.approx(0.5)
    markdown = show(two, "--format", "md")
    assert "| cranfield | scifact | scifact† |" in markdown
    assert "| **0.7500** | 0.5000 |" in markdown
    assert "† scifact: without 4 of 8 queries" in markdown
    latex = show(two, "--format", "latex")
    assert "scifact & scifact† &" in latex
    assert "% † scifact: without 4 of 8 queries" in latex
    terminal = show(two)
    assert "scifact†" in terminal
    assert "† scifact: without 4 of 8 queries" in terminal


def test_one_dataset_fits_into_a_terminal(tmp_path: Path) -> None:
    from rich.console import Console

    for name, scores, near in (
        ("bm25", BM25, None),
        ("generative-semantic", GEN, NEAR),
        ("minilm", DENSE, None),
    ):
        put(tmp_path, name, scores, near)
    made = render.grid(board(tmp_path, baseline="bm25"))
    assert "ndcg@10†" in made.columns
    for width, lines in ((80, 9), (110, 5)):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(tables.as_rich(made, width))
        shown = console.export_text().splitlines()
        assert len(shown) == lines, (
            "a line a system, or one a column where that is narrower; nothing is folded"
        )
        assert max(map(len, shown)) <= width


def test_old_files_are_read_once_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, scores, near in (("bm25", BM25, None), ("gen", GEN, NEAR), ("gen2", GEN2, NEAR2)):
        put(tmp_path, name, scores, near)
    read, calls = pq.read_table, []

    def counting(path: Path, **options: Any) -> Any:
        calls.append(path)
        return read(path, **options)

    monkeypatch.setattr(pq, "read_table", counting)
    board(tmp_path, baseline="bm25")
    assert len(calls) == 3


def generative(output: Path, **changes: Any) -> list[str]:
    """Notes of a table with a generative system of these facts. dataset, details, index, params, k, metric."""
    put(output, "bm25", BM25)
    folder = put(output, "dsi", GEN)
    record = records.read(folder)
    metric = changes.pop("metric", "recall@100")
    record["metrics"][metric] = {"mean": 0.5, "aggregate": "mean"}
    record["k"] = changes.pop("k", 1000)
    record["dataset"]["documents"] = changes.pop("documents", 5000)
    record["retriever"].update(changes)
    record["index"] = record["retriever"].pop("index", {})
    records.write(folder, record)
    other = records.read(records.cell_folder(output, "scifact", "test", "bm25"))
    other["metrics"][metric] = {"mean": 0.5, "aggregate": "mean"}
    records.write(records.cell_folder(output, "scifact", "test", "bm25"), other)
    # There are no scores per query of this metric beside the records.
    return [note for note in board(output, metric=metric).notes if not note.startswith("not tested: ")]


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        ({}, "dsi: at most 20 hits a query (decoding.beams), fewer than recall@100 looks at"),
        ({"params": {"lists": {"most": 5}}}, "dsi: at most 20 hits a query (lists.most), fewer than recall@100 looks "
         "at"),
        ({"metric": "map"}, "dsi: at most 20 hits a query (decoding.beams), fewer than map looks at"),
        ({"metric": "map", "k": 20}, None),
        ({"metric": "p@20"}, None),
        ({"documents": 18}, None),
        ({"metric": "nauc(of=ndcg@10,by=max)"}, None),
        ({"metric": "nauc(of=ndcg@21,by=max)"}, "dsi: at most 20 hits a query (decoding.beams), fewer than nauc("
         "of=ndcg@21,by=max) looks at"),
    ],
)  # fmt: skip
def test_fewer_hits_than_the_metric_looks_at(tmp_path: Path, facts: dict[str, Any], note: str | None) -> None:
    found = generative(tmp_path, details={"most_hits": 20, "invalid_rate": 0.01}, **facts)
    assert found == ([] if note is None else [note])


def test_beams_without_a_docid_and_shared_docids(tmp_path: Path) -> None:
    shared = {"documents": 40, "without_own": 40, "docids": 10, "largest": 9, "rate": 0.3}
    found = generative(
        tmp_path,
        details={"invalid_rate": 0.123},
        index={"docids": {"documents": 100, "collisions": shared}},
    )
    assert found == [
        "dsi: 12% of its beams for queries of scifact were no docid",
        "dsi: 40 of 100 documents of scifact share a docid with another one (collision rate 30%)",
    ]
    shared["rate"] = 0.05
    again = generative(tmp_path / "again", index={"docids": {"documents": 100, "collisions": shared}})
    assert again == []


def test_a_note_on_a_system_is_made_once(tmp_path: Path) -> None:
    for dataset in ("scifact", "fiqa"):
        folder = put(tmp_path, "dsi", GEN, dataset=dataset)
        record = records.read(folder)
        record["retriever"]["details"] = {"most_hits": 1}
        record["dataset"]["documents"] = 30
        records.write(folder, record)
    assert board(tmp_path).notes == [
        "dsi: at most 1 hit a query (decoding.beams), fewer than ndcg@10 looks at"
    ]
