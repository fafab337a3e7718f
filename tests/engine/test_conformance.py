"""Every value that trec_eval prints in its own test outputs, and pytrec_eval's values for the same files.

trec_eval's outputs are those of version 10 (../shared/conformance/trec_eval/SOURCE.md has the commands); its
interpolated precision rounds recall * R to the nearest number, pytrec_eval's (9) up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seekbench import evaluate
from seekbench.errors import InputError
from seekbench.metrics.measure import Measure, parse, parse_all

SHARED = Path(__file__).parents[3] / "shared"
#: what trec_eval prints and we do not have, and why
LEFT_OUT = {
    "runid": "the run's tag, no figure",
    "relstring": "a picture of the ranking, no figure",
    "relstring_20": "a picture of the ranking, no figure",
}

# output: run, judgments, grade that counts as relevant, depth, whether all judged queries count (-c)
OUTPUTS: dict[str, tuple[str, str, int, int | None, bool]] = {
    "out.test": ("results.test", "qrels.test", 1, None, False),
    "out.test.a": ("results.test", "qrels.test", 1, None, False),
    "out.test.aq": ("results.test", "qrels.test", 1, None, False),
    "out.test.aqc": ("results.trunc", "qrels.test", 1, None, True),
    "out.test.aqcM": ("results.trunc", "qrels.test", 1, 100, True),
    "out.test.aql": ("results.test", "qrels.rel_level", 2, None, False),
    "out.test.meas_params": ("results.test", "qrels.test", 1, None, False),
}


@pytest.fixture
def conformance() -> Path:
    folder = SHARED / "conformance"
    if not folder.is_dir():
        pytest.skip("needs ../shared/conformance")
    return folder


def read_run(path: Path) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        query, _, document, _, score, *_ = line.split()
        out.setdefault(query, {})[document] = float(score)
    return out


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        query, _, document, grade = line.split()
        out.setdefault(query, {})[document] = int(grade)
    return out


def cut(run: dict[str, dict[str, float]], depth: int | None) -> dict[str, dict[str, float]]:
    """trec_eval -M. The ids are ASCII: characters sort as their bytes."""
    return {
        query: dict(sorted(hits.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)[:depth])
        for query, hits in run.items()
    }


def with_parameter(measure: Measure, key: str, value: Any) -> Measure:
    if key not in measure.definition.parameters:
        return measure
    return parse(Measure(measure.base, measure.k, (*measure.args, (key, value))).name)


def lines(path: Path) -> Iterator[tuple[str, str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        name, query, value = line.split(None, 2)
        yield name, query, value.strip()


@pytest.mark.parametrize("output", OUTPUTS)
def test_equal_to_what_trec_eval_prints(conformance: Path, output: str) -> None:
    run_file, qrels_file, rel, depth, complete = OUTPUTS[output]
    folder = conformance / "trec_eval"
    run, qrels = cut(read_run(folder / run_file), depth), read_qrels(folder / qrels_file)
    printed = list(lines(folder / output))
    measures: dict[str, Measure] = {}
    for name in {name for name, _, _ in printed} - LEFT_OUT.keys():
        measure = with_parameter(parse(name), "rounding", "nearest")
        if rel > 1 and measure.base != "rbp":  # trec_eval's rbp takes the gains alone
            measure = with_parameter(measure, "rel", rel)
        measures[name] = measure
    scores = evaluate(
        run,
        qrels,
        [m.name for m in measures.values()],
        missing_queries="zero" if complete else "drop",
    )
    ids, compared = list(scores.query_ids), 0
    for name, query, value in printed:
        if name in LEFT_OUT:
            continue
        of = measures[name].name
        ours = scores.mean[of] if query == "all" else scores.of(of)[ids.index(query)]
        digits = len(value.partition(".")[2])
        assert float(f"{ours:.{digits}f}") == float(value), (output, name, query, ours, value)
        compared += 1
    assert compared >= len(printed) - 9


def test_only_these_are_left_out(conformance: Path) -> None:
    refused = set()
    for output in OUTPUTS:
        for name, _, _ in lines(conformance / "trec_eval" / output):
            try:
                parse(name)
            except InputError:
                refused.add(name)
    assert refused == LEFT_OUT.keys()


def test_groups_are_trec_evals(conformance: Path) -> None:
    """`-m official` and `-m all_trec` stand for what trec_eval prints for them."""
    for group, output in (("official", "out.test"), ("all_trec", "out.test.a")):
        printed = [name for name, _, _ in lines(conformance / "trec_eval" / output) if name not in LEFT_OUT]
        assert {m.name for m in parse_all([group])} == {parse(name).name for name in printed}


@pytest.mark.parametrize("folder", ["trec_eval_pytrec", "ir_measures_compat"])
def test_equal_to_pytrec_eval(conformance: Path, folder: str) -> None:
    """To 1e-9 (pytrec_eval-terrier 0.5.11; its interpolated precision is trec_eval 9's)."""
    files = conformance / folder
    run, qrels = read_run(files / "run.txt"), read_qrels(files / "qrels.txt")
    expected = json.loads((files / "pytrec_eval_per_query.json").read_text(encoding="utf-8"))
    names = sorted({name for row in expected.values() for name in row})
    scores = evaluate(run, qrels, names)
    ids = list(scores.query_ids)
    for query, row in expected.items():
        for name, value in row.items():
            ours = scores.of(parse(name).name)[ids.index(query)]
            assert ours == pytest.approx(value, abs=1e-9), (query, name)
    mean = json.loads((files / "pytrec_eval_mean.json").read_text(encoding="utf-8"))["mean_over_evaluated"]
    means = evaluate(run, qrels, sorted(mean), missing_queries="drop")
    for name, value in mean.items():
        figure = parse(name)
        ours = (
            means.of(figure.name).mean() if figure.definition.aggregate == "sum" else means.mean[figure.name]
        )
        assert ours == pytest.approx(value, abs=1e-9), name
