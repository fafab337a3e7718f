"""The study `muvera`: how many candidates MUVERA's encodings, the single-vector heuristic and PLAID need to hold the
documents that exact late interaction ranks first.

The curves are those of Dhulipala et al. 2024, "MUVERA" (https://arxiv.org/abs/2405.19504, section 3): recall of the
exact top k among the first N candidates, before they are re-ranked (for k = 1 the paper's "1@N"). Every method works on
the same token vectors, is asked once for as many candidates as the study looks at, and cut for smaller numbers; those
whose first n candidates depend on how many are asked for are asked for each number.

Vectors of documents and queries, the exact search, indexes of candidates, candidates and figures are artifacts of the
store, so that an interrupted study continues. `muvera_file.load` checks a study file, `execute` gives a `Result`;
`muvera_table` shows it.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seekbench import hashing
from seekbench import plan as plans
from seekbench.errors import InputError
from seekbench.studies.muvera_file import EXACT, TARGETS, Point, Study
from seekbench.studies.muvera_file import check_resolvable as check_resolvable
from seekbench.studies.muvera_file import load as load

if TYPE_CHECKING:
    from seekbench.collection import Dataset
    from seekbench.datasets.resolve import DatasetSpec
    from seekbench.plan import CellPlan, Stage
    from seekbench.progress import Progress
    from seekbench.retrievers.multi_vector.maxsim import Packed
    from seekbench.retrievers.multi_vector.passages import Passages
    from seekbench.retrievers.multi_vector.tokens import Tokens
    from seekbench.retrievers.protocol import Context, TextView
    from seekbench.runner import Outcome
    from seekbench.runs import Run
    from seekbench.store import Artifact, Store

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

#: Queries that are asked at a time, and those that warm a method up.
_BLOCK, _WARM_UP = 1024, 16


# -- results --------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """A point on a dataset. recall: k -> N -> share of the exact top k among the first N candidates. needed: k ->
    level of recall -> the fewest candidates that reach it (None: never). scores: metric -> N -> figure of the
    re-ranked candidates. found: N -> candidates a query that there were. milliseconds: N -> of a query, the time to
    get N candidates, in batches; cut numbers have that of the greatest one alone."""

    dataset: str
    split: str
    system: str
    method: str
    parameters: dict[str, Any]
    fde_dim: int | None = None
    recall: dict[int, dict[int, float]] = field(default_factory=dict)
    needed: dict[int, dict[float, int | None]] = field(default_factory=dict)
    ratio: dict[int, dict[float, float | None]] = field(default_factory=dict)
    scores: dict[str, dict[int, float | None]] = field(default_factory=dict)
    lost: dict[str, dict[int, float | None]] = field(default_factory=dict)
    found: dict[int, float] = field(default_factory=dict)
    milliseconds: dict[int, float] = field(default_factory=dict)
    bytes_per_document: float | None = None
    index_seconds: float | None = None
    failure: str | None = None


@dataclass
class Corpus:
    """A dataset of the study. candidates: those numbers that are no more than its passages. exact: metric -> figure
    of the exact search."""

    dataset: str
    split: str
    documents: int
    passages: int
    queries: int
    dim: int
    vectors: int
    bytes_per_document: float
    candidates: tuple[int, ...]
    exact: dict[str, float | None]
    exact_milliseconds: float
    notes: list[str]


@dataclass
class Result:
    """rows: by dataset, in the order of the study. reference: the heuristic that `ratio` compares with."""

    name: str
    metrics: tuple[str, ...]
    candidates: tuple[int, ...]
    recall_at: tuple[int, ...]
    reference: str | None
    corpora: list[Corpus]
    rows: list[Row]
    outcome: Outcome


# -- running --------------------------------------------------------------------------------------------------


class _Bench:
    """What all points of a dataset share. Everything that takes time is an artifact of the store."""

    def __init__(
        self, study: Study, dataset: Dataset, store: Store, context: Context, explained: list[str]
    ) -> None:
        self.study, self.dataset, self.store, self._explained = study, dataset, store, explained
        self.documents, self.queries = plans.documents_view(dataset), plans.queries_view(dataset)
        self.exact: Any = study.config.retriever(EXACT).retriever
        self.identity = dict(self.exact.identity(context=context))
        #: Documents that a metric may look at, with those that are excluded.
        self.depth = study.config.k + dataset.exclusion.most
        self.context = replace(context, shared=self._shared, stored=self._stored)

    # -- recipes

    def index_recipe(self, retriever: Any) -> dict[str, Any]:
        return plans.index_recipe("multi_vector", retriever, self.documents, self.identity, self.context)

    def _search_recipe(self, subject: str, retriever: Any, **more: Any) -> dict[str, Any]:
        k = len(self.documents)
        whole = plans.run_recipe("multi_vector", retriever, self.dataset, self.identity, k, {}, self.context)
        kept = {name: part for name, part in whole.items() if name not in ("k", "exclude", "needs")}
        return {**kept, "subject": subject, **more, "study": hashing.of_code(__name__)}

    def queries_recipe(self) -> dict[str, Any]:
        return self._search_recipe("multi_vector queries", self.exact)

    def exact_recipe(self) -> dict[str, Any]:
        most = max(*self.study.candidates, *self.study.recall_at, self.depth)
        return self._search_recipe("multi_vector exact", self.exact, hits=min(most, len(self.documents)))

    def candidates_recipe(self, point: Point) -> dict[str, Any]:
        counts = self.study.candidates if point.apart else self.study.candidates[-1:]
        more = {"k": self.study.recall_at[-1]} if point.method == "plaid" else {}  # its defaults depend on it
        return self._search_recipe(
            "multi_vector candidates", self.retriever(point), asked=list(counts), **more
        )

    def figures_recipe(self, point: Point) -> dict[str, Any]:
        modules = ("judged", "evaluate", "measure", "prefix")
        return {
            "subject": "muvera figures",
            "exact": hashing.of_json(self.exact_recipe()),
            "candidates": hashing.of_json(self.candidates_recipe(point)),
            "counts": list(self.study.candidates),
            "recall_at": list(self.study.recall_at),
            "metrics": [m.name for m in self.study.config.measures],
            "depth": self.study.config.k,
            "dataset": dict(self.dataset.hashes),
            "code": hashing.of_code(__name__, *(f"seekbench.metrics.{name}" for name in modules)),
        }

    def retriever(self, point: Point) -> Any:
        return self.study.config.retriever(point.name).retriever

    # -- artifacts

    def _get(
        self, kind: str, recipe: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]], name: str = ""
    ) -> Artifact:
        def wait() -> None:
            self.context.progress.note("another run is making this; waiting for it")

        made = self.store.get(kind, recipe, make, on_wait=wait, label=self.dataset.id)
        if name:
            how = "reused" if made.reused else "made"
            self._explained.append(f"{self.dataset.id} {name} {how} ({made.why})")
        return made

    def _stored(
        self, kind: str, recipe: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]]
    ) -> Path:
        return self._get(kind, recipe, make).folder

    def _shared(self, type: str, other: Any, texts: TextView) -> tuple[Path, Mapping[str, Any]]:
        """The token vectors: of one model and one corpus, so always the same."""
        base = self.base()
        return base.folder, base.facts

    def index(self, retriever: Any, name: str = "") -> Artifact:
        from seekbench.runner import indexed

        # What there is to say of the documents is said when they are encoded.
        told = replace(self.context, progress=_Stages(self.context.progress))
        context = self.context if retriever is self.exact else told
        return self._get(
            "index",
            self.index_recipe(retriever),
            lambda folder: indexed(retriever, self.documents, folder, context),
            name,
        )

    def base(self) -> Artifact:
        return self.index(self.exact)

    def prepare(self) -> None:
        """Token vectors, queries' vectors, the exact search."""
        self.index(self.exact, f"{EXACT}: token vectors")
        self._get("queries", self.queries_recipe(), self._encode, f"{EXACT}: queries")
        self._get("run", self.exact_recipe(), self._search, f"{EXACT}: run")
        self.exact.release()  # what follows needs no model

    def _encode(self, folder: Path) -> dict[str, Any]:
        began = time.perf_counter()
        searcher = self.exact.open(self.base().folder, self.documents, context=self.context)
        packed = searcher.encoded(self.queries, context=self.context)
        searcher.close()
        np.save(folder / "vectors.npy", packed.vectors)
        np.save(folder / "indptr.npy", packed.indptr)
        return {
            "queries": len(packed),
            "vectors": len(packed.vectors),
            "seconds": time.perf_counter() - began,
        }

    def _search(self, folder: Path) -> dict[str, Any]:
        from seekbench.retrievers.multi_vector import maxsim

        packed, hits = self.packed(), int(self.exact_recipe()["hits"])
        tokens, passages = self.opened()
        options: dict[str, Any] = {"device": self.device, "threads": self.context.threads}
        few = packed.take(0, 1)
        maxsim.search(few, tokens, passages, self.documents.order, 1, **options)  # kernels are compiled
        began = time.perf_counter()
        with self.context.progress.stage("score all", total=len(packed), unit="queries") as stage:
            run = maxsim.search(
                packed, tokens, passages, self.documents.order, hits, advance=stage.advance, **options
            )
        seconds = time.perf_counter() - began
        run.save(folder)
        return {"seconds": seconds, "queries": len(packed), "units": len(packed)}

    @property
    def device(self) -> str:
        from seekbench.retrievers.dense.encode import pick_device

        return pick_device(self.context.device)

    def packed(self) -> Packed:
        from seekbench.retrievers.multi_vector.maxsim import Packed

        folder = self._get("queries", self.queries_recipe(), self._encode).folder
        return Packed(np.load(folder / "vectors.npy"), np.load(folder / "indptr.npy"))

    def opened(self) -> tuple[Tokens, Passages]:
        from seekbench.retrievers.multi_vector.passages import Passages
        from seekbench.retrievers.multi_vector.tokens import Tokens

        base = self.base()
        return Tokens(base.folder / "tokens"), Passages.load(base.folder / "passages.npy")

    def exact_run(self) -> tuple[Run, Artifact]:
        from seekbench.runs import Run

        made = self._get("run", self.exact_recipe(), self._search)
        return Run.load(made.folder), made

    # -- candidates

    def counts(self, passages: int) -> tuple[int, ...]:
        """The study's numbers of candidates that this corpus has. Raises InputError where it has none of them."""
        there = tuple(n for n in self.study.candidates if n <= passages)
        if not there:
            where, line = self.study.marked.where(("candidates",))
            raise InputError(
                f"candidates: {self.dataset.id} has {passages:,} different documents", where=where, line=line,
                remedy="ask for fewer",
            )  # fmt: skip
        return there

    def candidates(self, point: Point) -> tuple[dict[int, Ints], Artifact]:
        """N -> int64 [queries, <= N] passages, -1 padded."""
        made = self._get(
            "candidates",
            self.candidates_recipe(point),
            lambda folder: self._propose(point, folder),
            f"{point.name}: candidates",
        )
        asked = [int(n) for n in made.facts["asked"]]
        arrays = {n: np.load(made.folder / f"first-{n}.npy", mmap_mode="r") for n in asked}
        wanted = self.counts(int(made.facts["passages"]))
        return {n: arrays[n] if n in arrays else arrays[asked[-1]][:, :n] for n in wanted}, made

    def _propose(self, point: Point, folder: Path) -> dict[str, Any]:
        from seekbench.progress import NoProgress
        from seekbench.retrievers.multi_vector import candidates as methods

        retriever = self.retriever(point)
        index = self.index(retriever, f"{point.name}: index")
        tokens, packed = self.opened()[0], self.packed()
        counts = self.counts(len(tokens))
        asked = counts if point.apart else counts[-1:]
        facts: dict[str, dict[str, Any]] = {"seconds": {}, "found": {}, "per_query": {}}
        quiet = replace(self.context, progress=NoProgress())
        with self.context.progress.stage(point.name, total=len(packed) * len(asked), unit="queries") as stage:
            for count in asked:
                params = retriever.params.candidates
                if point.method == "plaid" and point.apart:
                    params = params.model_copy(update={"ndocs": 4 * count})  # stage 3 keeps a quarter
                method = methods.open_method(params, tokens, index.folder / "candidates", context=quiet)
                k = self.study.recall_at[-1]
                method.candidates(packed.take(0, _WARM_UP), count, context=quiet, k=k)
                before, parts, seconds = dict(method.counts), [], 0.0
                for at in range(0, len(packed), _BLOCK):
                    began = time.perf_counter()
                    found = method.candidates(packed.take(at, at + _BLOCK), count, context=quiet, k=k)
                    seconds += time.perf_counter() - began
                    parts.append(np.pad(found, ((0, 0), (0, count - found.shape[1])), constant_values=-1))
                    stage.advance(len(found))
                where = np.concatenate(parts).astype(np.int32)
                np.save(folder / f"first-{count}.npy", where)
                facts["seconds"][str(count)] = seconds
                facts["per_query"][str(count)] = {
                    name: (total - before.get(name, 0)) / len(packed) for name, total in method.counts.items()
                }
        return {**facts, "asked": list(asked), "passages": len(tokens), "queries": len(packed)}

    # -- figures

    def figures(self, point: Point) -> tuple[Mapping[str, Any], Artifact | None]:
        """JSON figures of a point, and its index where it is stored."""
        made = self._get("figures", self.figures_recipe(point), lambda folder: self._measure(point))
        index = self.store.find("index", self.index_recipe(self.retriever(point)))
        return made.facts, index

    def _measure(self, point: Point) -> dict[str, Any]:
        found, made = self.candidates(point)
        tokens, passages = self.opened()
        best = _Best.of(self.exact_run()[0], passages)
        out: dict[str, Any] = {"recall": {}, "needed": {}, "scores": {}, "found": {}}
        last = max(found)
        for k in self.study.recall_at:
            whole = best.curve(k, found[last])
            curves = {n: best.curve(k, where) for n, where in found.items()} if point.apart else {}
            recall = {str(n): float(curves.get(n, whole)[n - 1]) for n in found}
            out["recall"][str(k)] = recall
            out["needed"][str(k)] = {
                str(t): fewest(recall, t) if point.apart else _first(whole, t) for t in TARGETS
            }
        scores = {} if point.apart else {last: self._scores(found[last], list(found), best, tokens)}
        for n, where in found.items():
            of = self._scores(where, [n], best, tokens) if point.apart else scores[last][:, :n]
            out["found"][str(n)] = float((np.asarray(where) >= 0).sum(axis=1).mean())
            out["scores"][str(n)] = self._evaluated(self._ranked(of, where, passages))
        queries = max(1, len(self.queries))
        out["milliseconds"] = {n: 1000 * s / queries for n, s in made.facts["seconds"].items()}
        return out

    def _scores(self, where: Ints, cuts: Sequence[int], best: _Best, tokens: Tokens) -> Floats:
        """float32 of the shape of `where`: exact scores, -inf for what comes among the first `depth` of no cut.

        The exact search has scored its hits. Another passage ranks behind all of them, so it needs a score only where
        fewer than `depth` hits are among the candidates.
        """
        from seekbench.retrievers.multi_vector import maxsim

        scores = best.scores(where)
        known = np.isfinite(scores)
        wanted = np.asarray(where) >= 0
        for start, stop in itertools.pairwise([0, *cuts]):
            wanted[:, start:stop] &= (known[:, :stop].sum(axis=1) < self.depth)[:, None]
        who, place = np.nonzero(wanted & ~known)
        scores[who, place] = maxsim.score_pairs(
            self.packed(), tokens, who, np.asarray(where[who, place], dtype=np.int64), device=self.device,
            threads=self.context.threads,
        )  # fmt: skip
        return scores

    def _ranked(self, scores: Floats, where: Ints, passages: Passages) -> Run:
        from seekbench.retrievers.multi_vector import maxsim

        return maxsim.rank(
            scores, np.asarray(where, dtype=np.int64), passages, self.documents.order,
            min(self.depth, len(self.documents)),
        )  # fmt: skip

    def _evaluated(self, run: Run) -> dict[str, float | None]:
        """Figures of a run, without excluded documents, to the study's depth."""
        from seekbench.metrics.evaluate import score

        cut = run.without(self.dataset.exclusion, min(self.study.config.k, len(self.documents)))
        measures = self.study.config.measures
        ids = self.dataset.queries.ids().to_pylist()
        means = score(cut, self.dataset.qrels, measures, query_ids=ids).means.tolist()
        return {m.name: v if math.isfinite(v) else None for m, v in zip(measures, means, strict=True)}

    def exact_figures(self) -> dict[str, float | None]:
        return self._evaluated(self.exact_run()[0].cut(self.depth))


class _Stages:
    """Progress without notes."""

    def __init__(self, inner: Progress) -> None:
        self.stage = inner.stage

    def note(self, message: str, **facts: object) -> None:
        return


@dataclass(frozen=True)
class _Best:
    """Hits of the exact search as passages. rows: int64 [queries, hits], -1 where there is none or where the passage
    came before; at: int64, ascending, query * passages + passage; known: float32, their scores."""

    every: Ints
    size: int
    at: Ints
    known: Floats

    @classmethod
    def of(cls, run: Run, passages: Passages) -> _Best:
        rows = np.asarray(run.doc_rows)
        every = np.where(rows >= 0, passages.of[np.maximum(rows, 0)], -1).astype(np.int64)
        query, place = np.nonzero(every >= 0)
        keys = query * np.int64(max(1, len(passages))) + every[query, place]
        at, first = np.unique(keys, return_index=True)
        return cls(every, max(1, len(passages)), at, np.asarray(run.scores)[query, place][first])

    def scores(self, where: npt.NDArray[Any]) -> Floats:
        """float32 of the shape of `where`: what the exact search scored, -inf for what is no hit of it."""
        keys = np.arange(len(where))[:, None] * np.int64(self.size) + where
        place = np.minimum(np.searchsorted(self.at, keys), max(0, len(self.at) - 1))
        if not len(self.at):
            return np.full(where.shape, -np.inf, dtype=np.float32)
        hit = (np.asarray(where) >= 0) & (self.at[place] == keys)
        return np.where(hit, self.known[place], np.float32(-np.inf))

    def curve(self, k: int, where: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """float64 [width]: mean share of a query's first k hits (documents) whose passages are among its first 1, 2,
        ... candidates; a query without hits does not count."""
        top, width = self.every[:, :k], where.shape[1]
        hits = (top >= 0).sum(axis=1)
        query = np.arange(len(where))[:, None] * np.int64(self.size)
        keys = np.where(np.asarray(where) >= 0, query + where, -1).ravel()
        by = np.argsort(keys, kind="stable")
        wanted = np.where(top >= 0, query + top, -2)
        place = by[np.minimum(np.searchsorted(keys, wanted, sorter=by), len(by) - 1)]
        there = keys[place] == wanted
        weight = np.broadcast_to(1 / np.maximum(hits, 1)[:, None], top.shape)
        gained = np.bincount(place[there] % width, weights=weight[there], minlength=width)
        return np.minimum(np.cumsum(gained) / max(1, int((hits > 0).sum())), 1.0)


def _first(curve: npt.NDArray[np.float64], level: float) -> int | None:
    """The fewest candidates that reach a level of recall."""
    reached = np.flatnonzero(curve >= level - 1e-9)
    return int(reached[0]) + 1 if len(reached) else None


def fewest(recall: Mapping[Any, float], level: float) -> int | None:
    """The fewest candidates that reach a level, between measured numbers on a straight line, rounded up; the lowest
    measured number where that reaches it; None where none does."""
    before: tuple[int, float] | None = None
    for n, value in sorted((int(n), value) for n, value in recall.items()):
        if value >= level - 1e-9:
            if before is None:
                return n
            m, low = before
            return m + math.ceil((n - m) * (level - low) / max(value - low, 1e-12) - 1e-9)
        before = (n, value)
    return None


def execute(
    study: Study,
    *,
    output: Path,
    store: Store,
    context: Context,
    on_error: Callable[[BaseException], None] = lambda error: None,
) -> Result:
    """Runs and gathers. Raises InputError before any work for defective local data; a point that fails is a row that
    says so, a dataset that fails has such rows only."""
    from seekbench.progress import Labelled, NoProgress
    from seekbench.runner import Outcome, check_local_data, failure, load_dataset, stop_if_hopeless

    check_local_data(study.config, store, context)
    outcome = Outcome()
    corpora: list[Corpus] = []
    rows: list[Row] = []

    def failed(spec: DatasetSpec, name: str, error: Exception) -> str:
        on_error(error)
        stop_if_hopeless(error)
        outcome.failures.append(failure(spec.id, spec.split, name, error))
        return outcome.failures[-1].cause

    for spec in study.config.datasets:
        own = replace(context, progress=Labelled(context.progress, spec.id))
        bench, cause, exact = None, "", {}
        try:
            quiet = replace(context, progress=NoProgress()) if spec.is_local else context
            dataset = load_dataset(spec, store=store, context=quiet)
            bench = _Bench(study, dataset, store, own, outcome.explained)
            bench.prepare()
            corpora.append(_corpus(bench))
            exact = corpora[-1].exact
        except Exception as error:
            bench, cause = None, failed(spec, EXACT, error)
        found: list[Row] = []
        for point in study.points.values():
            row = Row(
                spec.id, spec.split, point.name, point.method, dict(point.chosen), failure=cause or None
            )
            if bench is not None:
                try:
                    _fill(row, *bench.figures(point), len(bench.documents), exact)
                    outcome.records.append({"dataset": spec.id, "split": spec.split, "system": point.name})
                except Exception as error:
                    row.failure = failed(spec, point.name, error)
            found.append(row)
        _compare(found, study.reference)
        rows += found
    names = tuple(m.name for m in study.config.measures)
    return Result(
        study.name, names, study.candidates, study.recall_at, study.reference, corpora, rows, outcome
    )


def _corpus(bench: _Bench) -> Corpus:
    facts = bench.base().facts
    _, run = bench.exact_run()
    passages = int(facts["passages"])
    counts = bench.counts(passages)
    notes = []
    if passages < len(bench.documents):
        notes.append(
            f"{passages:,} of {len(bench.documents):,} documents differ in text; a candidate is a text, which stands "
            "for all its documents"
        )
    left = [n for n in bench.study.candidates if n > passages]
    if left:
        notes.append(f"left out, being more than there are documents: {', '.join(f'{n:,}' for n in left)}")
    if len(bench.dataset.exclusion.query_rows):
        notes.append("recall counts documents that are excluded for a query, too; metrics do not")
    queries = len(bench.queries)
    return Corpus(
        bench.dataset.id, bench.dataset.split, len(bench.documents), passages, queries, int(facts["dim"]),
        int(facts["vectors"]), float(facts["bytes_per_document"]), counts, bench.exact_figures(),
        1000 * float(run.facts["seconds"]) / max(1, queries), notes,
    )  # fmt: skip


def _fill(
    row: Row,
    facts: Mapping[str, Any],
    index: Artifact | None,
    documents: int,
    exact: Mapping[str, float | None],
) -> None:
    from seekbench.metrics.measure import parse

    row.recall = {int(k): {int(n): r for n, r in of.items()} for k, of in facts["recall"].items()}
    row.needed = {int(k): {float(t): n for t, n in of.items()} for k, of in facts["needed"].items()}
    row.found = {int(n): found for n, found in facts["found"].items()}
    row.milliseconds = {int(n): ms for n, ms in facts["milliseconds"].items()}
    for metric, best in exact.items():
        of = {int(n): figures[metric] for n, figures in facts["scores"].items()}
        sign = -1 if parse(metric).definition.lower else 1
        row.scores[metric] = of
        row.lost[metric] = {
            n: None if v is None or best is None else sign * (best - v) for n, v in of.items()
        }
    if index is not None:
        row.bytes_per_document = index.facts["bytes_by_part"]["candidates"] / max(1, documents)
        row.index_seconds = index.facts["parts_seconds"]["candidates"]
        row.fde_dim = index.facts["candidates"].get("fde_dim")


def _compare(rows: Sequence[Row], reference: str | None) -> None:
    """How many times as many candidates the heuristic needs for the same recall."""
    base = next((r for r in rows if r.system == reference), None)
    for row in rows:
        for k, needed in row.needed.items():
            other = base.needed.get(k, {}) if base is not None else {}
            row.ratio[k] = {
                level: None if n is None or other.get(level) is None else (other[level] or 0) / n
                for level, n in needed.items()
            }


# -- the plan -------------------------------------------------------------------------------------------------


def plan(study: Study, *, output: Path, store: Store, context: Context) -> tuple[list[str], list[CellPlan]]:
    """(lines, plan of every point and of the exact search), without reading a dataset that the store lacks."""
    from seekbench.datasets.load import stored
    from seekbench.plan import CellPlan, Stage
    from seekbench.runner import load_dataset

    cells: list[CellPlan] = []
    for spec in study.config.datasets:
        there, why = stored(spec, store=store, offline=context.offline)
        bench = None
        problem = None
        if there:
            dataset = load_dataset(spec, store=store, context=context)
            try:
                bench = _Bench(study, dataset, store, context, [])
            except (
                Exception
            ) as error:  # a plan tells of what can't be resolved now; running reports it in full
                problem = str(error)
        for name in (EXACT, *study.points):
            cell = CellPlan(spec.id, spec.split, name, problem=problem)
            if not there:
                cell.stages.append(Stage("collection", "missing", why))
            elif bench is not None:
                cell.stages += _stages(bench, study.points.get(name))
            cells.append(cell)
    counts = ", ".join(f"{n:,}" for n in study.candidates)
    return [
        f"recall of the exact top {', '.join(map(str, study.recall_at))} among {counts} candidates"
    ], cells


def _stages(bench: _Bench, point: Point | None) -> list[Stage]:
    from seekbench.plan import status

    label, documents, queries = bench.dataset.id, len(bench.documents), len(bench.queries)
    if point is None:
        wanted: list[tuple[str, dict[str, Any], int, str]] = [
            ("index", bench.index_recipe(bench.exact), documents, "documents to encode"),
            ("queries", bench.queries_recipe(), queries, "queries to encode"),
            ("run", bench.exact_recipe(), queries, "queries to search"),
        ]
    else:
        wanted = [
            ("index", bench.index_recipe(bench.retriever(point)), documents, "documents to index"),
            ("candidates", bench.candidates_recipe(point), queries, "queries to find candidates for"),
            ("figures", bench.figures_recipe(point), queries, "queries to measure"),
        ]
    return [status(bench.store, kind, recipe, n, what, label) for kind, recipe, n, what in wanted]
