"""Indexes of vectors for the highest inner products: exact ones, and faiss's graphs, inverted lists and codes.

Any retriever may build one from a mapped matrix (`build`), open it (`open_index`) and search it (`Index.search`).
Vectors need not be of unit length: every index ranks by inner product itself (faiss's METRIC_INNER_PRODUCT), none by a
distance. A graph whose edges are inner products, and lists whose borders are angles, lose more on vectors of very
different lengths than on unit ones; that is measured by whoever builds one, not corrected here.

Same vectors, parameters, seed and faiss: same index, whatever the threads. faiss documents two exceptions, HNSW and
OPQ on several threads, so both run on one: with n cores a graph takes up to n times as long to build.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import Field

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers import protocol
from seekbench.retrievers.dense.exact import Exact, full_precision
from seekbench.retrievers.protocol import Context
from seekbench.store import atomic_file, write_atomic

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_MATRIX = "vectors.npy"
_INDEX = "index.faiss"
_FACTS = "index.json"
#: Bytes of float32 vectors that are converted, added or multiplied at a time.
_BLOCK_BYTES = 128 << 20
#: Bytes of float32 vectors that an index learns from, where their number is not stated.
_TRAIN_BYTES = 1 << 30
#: Vectors a cluster that are enough to learn from; faiss warns below 39.
_PER_CLUSTER = 64
#: Vectors that the range of scalar codes is learnt from.
_RANGE = 1 << 14
#: Queries of one call to faiss, which can't be interrupted.
_QUERIES = 256
#: Queries that are enough to keep processors busy with a block that does not fit a cache.
_MANY = 32
#: OPQ's rotation is a matrix of dim x dim, made by singular value decompositions.
_LARGEST_ROTATION = 2048
#: Fields that change a search and not the index.
SEARCH_FIELDS = frozenset({"ef_search", "probes"})


class ExactIndex(protocol.Params):
    """Every vector is compared with every query."""

    type: Literal["exact"] = "exact"
    dtype: Literal["float32", "float16"] | None = Field(
        None, description="of the stored vectors; as they come where not stated"
    )


class HnswIndex(protocol.Params):
    """A graph of near vectors (HNSW, Malkov & Yashunin 2018, https://arxiv.org/abs/1603.09320); built on one thread."""

    type: Literal["hnsw"] = "hnsw"
    m: int = Field(32, ge=2, le=256, description="edges a vector on each level, twice as many on the lowest")
    ef_construction: int = Field(
        200, ge=1, description="vectors that are looked at for the edges of a new one"
    )
    ef_search: int = Field(128, ge=1, description="vectors kept while searching; never fewer than asked for")
    codes: Literal["float32", "float16", "int8"] = Field(
        "float32",
        description="how the graph's vectors are stored; int8 is a byte a dimension, from its range",
    )


_LISTS: Any = Field(None, ge=1, description="clusters; 4 sqrt(vectors) where not stated, but 39 vectors each")
_PROBES: Any = Field(16, ge=1, description="clusters that are searched, nearest first")
_TRAIN: Any = Field(
    None,
    ge=1,
    description=f"vectors to learn from, drawn at random; {_PER_CLUSTER} a cluster where not stated, up to 1 GiB",
)
_PQ_DIMS: Any = Field(
    8,
    ge=1,
    description="dimensions of a block that has one code; 8 with `pq_bits` 8 is MUVERA's PQ-256-8, 32x smaller",
)
_PQ_BITS: Any = Field(8, ge=1, le=12, description="bits of a code: 2^bits centroids a block")


class IvfIndex(protocol.Params):
    """Clusters by angle (k-means of unit centroids); the vectors of the nearest ones are compared as they are."""

    type: Literal["ivf"] = "ivf"
    lists: int | None = _LISTS
    probes: int = _PROBES
    train: int | None = _TRAIN


class IvfPqIndex(protocol.Params):
    """Clusters, and product-quantised differences from their centroids (Jégou et al. 2011)."""

    type: Literal["ivf_pq"] = "ivf_pq"
    lists: int | None = _LISTS
    probes: int = _PROBES
    pq_dims: int = _PQ_DIMS
    pq_bits: int = _PQ_BITS
    train: int | None = _TRAIN


class PqIndex(protocol.Params):
    """Product-quantised vectors (Jégou et al. 2011, https://doi.org/10.1109/TPAMI.2010.57), all of them compared.

    Blocks of `pq_dims` dimensions are replaced by the nearest of 2^`pq_bits` centroids, learnt by k-means block by
    block; a score is the sum of the query's products with them. The defaults are MUVERA's PQ-256-8: 256 centroids for
    each 8 dimensions, so a byte instead of 32.
    """

    type: Literal["pq"] = "pq"
    pq_dims: int = _PQ_DIMS
    pq_bits: int = _PQ_BITS
    train: int | None = _TRAIN


class OpqPqIndex(protocol.Params):
    """`pq` after a learnt rotation (Ge et al. 2013, https://doi.org/10.1109/CVPR.2013.379); learnt on one thread."""

    type: Literal["opq_pq"] = "opq_pq"
    pq_dims: int = _PQ_DIMS
    pq_bits: int = _PQ_BITS
    train: int | None = _TRAIN


class Sq8Index(protocol.Params):
    """A byte a dimension, between its lowest and highest learnt value; all vectors compared."""

    type: Literal["sq8"] = "sq8"
    train: int | None = _TRAIN


#: Of a field: `index: IndexParams = Field(..., discriminator="type")`, with `by_name` before it.
IndexParams = ExactIndex | HnswIndex | IvfIndex | IvfPqIndex | PqIndex | OpqPqIndex | Sq8Index


def by_name(value: Any) -> Any:
    """A type's name stands for that type with its defaults: `index: hnsw`."""
    return {"type": value} if isinstance(value, str) else value


def exact_index() -> ExactIndex:
    """The default of a field of type IndexParams."""
    return ExactIndex.model_validate({})


# -- building -------------------------------------------------------------------------------------------------


def build(
    vectors: npt.NDArray[Any],
    folder: Path,
    params: IndexParams,
    *,
    context: Context,
    seed: int = 0,
    owned: Path | None = None,
) -> dict[str, Any]:
    """Builds an index in `folder`, which exists; returns JSON facts: `type`, `vectors`, `dim`, `bytes` of the file,
    `bytes_per_vector`, `seconds`, and of learning `trained_on`, `train_seconds`, `add_seconds`.

    vectors: float32 or float16 [vectors, dim], C-contiguous, mapped or in memory. seed: of what is learnt and of the
    graph's levels. owned: the .npy file behind `vectors`, which becomes the index's own or is removed. Memory: blocks
    of 128 MiB, the vectors that are learnt from, and for all types but `exact` the index itself.

    Raises InputError where the vectors are too few or of the wrong width for the parameters.
    """
    began = time.monotonic()
    count, dim = vectors.shape
    facts: dict[str, Any] = {"type": params.type, "vectors": count, "dim": dim}
    for name in (_FACTS, _MATRIX, _INDEX):
        (folder / name).unlink(missing_ok=True)
    path = folder / (_MATRIX if params.type == "exact" else _INDEX)
    if count:
        if isinstance(params, ExactIndex):
            facts |= _write_matrix(vectors, path, params, context, owned)
        else:
            facts |= _write_faiss(vectors, path, params, seed, context)
    if owned is not None:
        owned.unlink(missing_ok=True)
    facts["bytes"] = path.stat().st_size if count else 0
    facts["bytes_per_vector"] = facts["bytes"] / max(1, count)
    facts["seconds"] = time.monotonic() - began
    write_atomic(folder / _FACTS, orjson.dumps({**facts, "params": fixed(params), "seed": seed}))
    return facts


def fixed(params: IndexParams) -> dict[str, Any]:
    """What of the parameters the index depends on."""
    return params.model_dump(mode="json", exclude=set(SEARCH_FIELDS))


def _rows(dim: int) -> int:
    """Vectors of a block."""
    return max(1, _BLOCK_BYTES // (4 * max(1, dim)))


def wide(block: npt.NDArray[Any]) -> Floats:
    """float32, C-contiguous."""
    if block.dtype == np.float16:
        import torch  # converts on all threads, numpy on one

        return torch.from_numpy(np.array(block)).float().numpy()
    return np.ascontiguousarray(block, dtype=np.float32)


def largest_norm(block: Floats) -> float:
    """Of float32 [rows, dim]. Raises SeekbenchError where a number is not finite."""
    squares = np.einsum("ij,ij->i", block, block, dtype=np.float64)
    if not np.isfinite(squares).all():
        raise SeekbenchError(
            f"vector {int(np.argmin(np.isfinite(squares)))} of a block has a number that is not finite"
        )
    return float(np.sqrt(squares.max(initial=0.0)))


def _write_matrix(
    vectors: npt.NDArray[Any], path: Path, params: ExactIndex, context: Context, owned: Path | None
) -> dict[str, Any]:
    stored = np.dtype(params.dtype or vectors.dtype).newbyteorder("<")
    moved = owned is not None and vectors.dtype == stored
    norm, step = 0.0, _rows(vectors.shape[1])
    with (
        context.progress.stage("store vectors", total=len(vectors), unit="vectors") as stage,
        atomic_file(path) as part,
    ):
        with part.open("wb") as handle:
            header = {"descr": stored.str, "fortran_order": False, "shape": vectors.shape}
            if not moved:
                np.lib.format.write_array_header_1_0(handle, header)
            for at in range(0, len(vectors), step):
                block = np.ascontiguousarray(vectors[at : at + step], dtype=stored)
                norm = max(norm, largest_norm(wide(block)))
                if not moved:
                    handle.write(block.tobytes())
                stage.advance(len(block))
        if moved and owned is not None:
            owned.replace(part)
    return {"dtype": stored.name, "largest_norm": norm}


def _write_faiss(
    vectors: npt.NDArray[Any], path: Path, params: IndexParams, seed: int, context: Context
) -> dict[str, Any]:
    faiss = _faiss()

    count, dim = vectors.shape
    began = time.monotonic()
    index, clusters, keep = _made(params, count, dim, seed)
    facts: dict[str, Any] = {}
    if not index.is_trained:
        sample = _sample(vectors, getattr(params, "train", None), clusters, seed)
        largest_norm(sample)
        with (
            context.progress.stage("train index", total=len(sample), unit="vectors") as stage,
            _threads(1 if params.type == "opq_pq" else context.threads),
        ):
            index.train(sample)
            stage.advance(len(sample))
        facts = {"trained_on": len(sample)}
        del sample
    del keep
    trained = time.monotonic()
    step = _rows(dim)
    with (
        context.progress.stage("add vectors", total=count, unit="vectors") as stage,
        _threads(1 if params.type == "hnsw" else context.threads),
    ):
        # The graph depends on the blocks' borders, which depend on the width alone.
        for at in range(0, count, step):
            block = wide(vectors[at : at + step])
            largest_norm(block)
            index.add(block)
            stage.advance(len(block))
    with atomic_file(path) as part:
        faiss.write_index(index, str(part))
    lists = {"lists": int(index.nlist)} if hasattr(index, "nlist") else {}
    return {**facts, **lists, "train_seconds": trained - began, "add_seconds": time.monotonic() - trained}


def _faiss() -> Any:
    """The library; its types are generated and of little help."""
    import faiss

    return faiss


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """faiss's threads; 0 for all of them."""
    faiss = _faiss()

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _sample(vectors: npt.NDArray[Any], wanted: int | None, clusters: int, seed: int) -> Floats:
    """float32 [rows, dim]: vectors drawn without repetition, in their order."""
    count, dim = vectors.shape
    enough = min(_PER_CLUSTER * clusters or _RANGE, _TRAIN_BYTES // (4 * dim))
    rows = wanted or max(1, clusters, enough)
    if rows < clusters:
        raise InputError(f"`train` of {rows:,} vectors is less than one for each of {clusters:,} clusters")
    if rows >= count:
        return wide(vectors)
    chosen = np.sort(np.random.default_rng(seed).choice(count, rows, replace=False))
    return wide(vectors[chosen])


def _made(params: IndexParams, count: int, dim: int, seed: int) -> tuple[Any, int, Any]:
    """(an empty faiss index, clusters of its largest k-means, what must live until it is trained); 0: no k-means."""
    faiss = _faiss()

    metric, scalar = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer
    if isinstance(params, HnswIndex):
        if params.codes == "float32":
            graph = faiss.IndexHNSWFlat(dim, params.m, metric)
        else:
            kind = scalar.QT_fp16 if params.codes == "float16" else scalar.QT_8bit
            graph = faiss.IndexHNSWSQ(dim, kind, params.m, metric)
        graph.hnsw.efConstruction = params.ef_construction
        graph.hnsw.rng = faiss.RandomGenerator(seed)
        return graph, 0, None
    if isinstance(params, Sq8Index):
        return faiss.IndexScalarQuantizer(dim, scalar.QT_8bit, metric), 0, None
    if isinstance(params, PqIndex):
        blocks = _pq_blocks(params, count, dim)
        index = faiss.IndexPQ(dim, blocks, params.pq_bits, metric)
        _learn(index.pq.cp, seed)
        return index, 1 << params.pq_bits, None
    if isinstance(params, OpqPqIndex):
        blocks = _pq_blocks(params, count, dim)
        if dim > _LARGEST_ROTATION:
            raise InputError(
                f"index opq_pq: a rotation of {dim:,} dimensions can't be learnt in reasonable time",
                remedy=f"`type: pq`, or at most {_LARGEST_ROTATION:,} dimensions",
            )
        rotation, inner = faiss.OPQMatrix(dim, blocks), faiss.IndexPQ(dim, blocks, params.pq_bits, metric)
        within = faiss.ProductQuantizer(dim, blocks, params.pq_bits)
        _learn(within.cp, seed)
        _learn(inner.pq.cp, seed)
        rotation.pq = within
        return faiss.IndexPreTransform(rotation, inner), 1 << params.pq_bits, within
    if isinstance(params, ExactIndex):
        raise SeekbenchError("an exact index is no index of faiss")
    lists = params.lists or max(1, min(round(4 * math.sqrt(count)), count // 39))
    if lists > count:
        raise InputError(
            f"index {params.type}: {lists:,} lists for {count:,} vectors", remedy="take fewer `lists`"
        )
    coarse = faiss.IndexFlatIP(dim)
    if isinstance(params, IvfIndex):
        index = faiss.IndexIVFFlat(coarse, dim, lists, metric)
        _learn(index.cp, seed)
        return index, lists, None
    blocks = _pq_blocks(params, count, dim)
    index = faiss.IndexIVFPQ(coarse, dim, lists, blocks, params.pq_bits, metric)
    _learn(index.cp, seed)
    _learn(index.pq.cp, seed)
    return index, max(lists, 1 << params.pq_bits), None


def _pq_blocks(params: IvfPqIndex | PqIndex | OpqPqIndex, count: int, dim: int) -> int:
    if dim % params.pq_dims:
        raise InputError(
            f"index {params.type}: {dim:,} dimensions are not blocks of {params.pq_dims}",
            remedy="change `pq_dims`",
        )
    if count < 1 << params.pq_bits:
        raise InputError(
            f"index {params.type}: {params.pq_bits} bits are {1 << params.pq_bits:,} centroids, for {count:,} vectors",
            remedy="take fewer `pq_bits`, or `type: exact`",
        )
    return dim // params.pq_dims


def _learn(clustering: Any, seed: int) -> None:
    """k-means takes the seed, and all of what it is given; faiss would print a warning where that is little."""
    clustering.seed = seed
    clustering.min_points_per_centroid = 1
    clustering.max_points_per_centroid = 1 << 30


# -- searching ------------------------------------------------------------------------------------------------


def open_index(folder: Path, params: IndexParams, *, context: Context) -> Index:
    """Opens what `build` made, with the `ef_search` or `probes` of these parameters; the others must be those that it
    was built with. Matrices and codes are mapped, not read."""
    try:
        facts = orjson.loads((folder / _FACTS).read_bytes())
    except (OSError, ValueError) as error:
        raise SeekbenchError(f"no index of vectors in {folder}") from error
    if facts["params"] != fixed(params):
        raise SeekbenchError(f"{folder} holds an index of {facts['params']}, not {fixed(params)}")
    count, device = int(facts["vectors"]), "cpu"
    if isinstance(params, ExactIndex):
        matrix = (
            np.load(folder / _MATRIX, mmap_mode="r")
            if count
            else np.empty((0, int(facts["dim"])), np.float32)
        )
        device = _device(context)
        return Index(
            count, int(facts["dim"]), context.threads, device, matrix, float(facts.get("largest_norm", 0))
        )
    index = None
    if count:
        faiss = _faiss()

        # An older faiss reads the codes into memory instead; results are the same.
        index = faiss.read_index(str(folder / _INDEX), getattr(faiss, "IO_FLAG_MMAP_IFC", 0))
        if isinstance(params, HnswIndex):
            index.hnsw.efSearch = params.ef_search
        elif isinstance(params, IvfIndex | IvfPqIndex):
            index.nprobe = params.probes
    return Index(count, int(facts["dim"]), context.threads, device, index=index)


def _device(context: Context) -> str:
    """Where exact products are made: on CUDA where the context says so, else on the CPU."""
    if context.device == "cpu":
        return "cpu"
    from seekbench.retrievers.dense.encode import pick_device

    device = pick_device(context.device)
    return device if device.startswith("cuda") else "cpu"


@dataclass
class Index:
    """An opened index of `vectors` vectors of `dim` dimensions.

    compared: vectors that queries were compared with so far (for a graph and for lists, as faiss counts them).
    """

    vectors: int
    dim: int
    threads: int = 0
    device: str = "cpu"
    matrix: npt.NDArray[Any] | None = None
    largest: float = 0.0
    index: Any = None
    compared: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self.vectors

    def search(
        self, queries: Floats, count: int, advance: Callable[[int], None] | None = None
    ) -> tuple[Ints, Floats]:
        """(int64 rows, float32 inner products) [queries, min(count, vectors)], highest first, the lower row first
        where they are equal; -1 and -inf where an approximate index found fewer.

        queries: float32 [queries, dim]. advance: called with the number of queries that were done. A float32 `exact`
        index decides ranks exactly (`exact`), so they do not depend on which queries are asked together; with float16
        and with `ivf` and `ivf_pq` the last bits of a product of matrices may decide between equals.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise SeekbenchError(f"queries of shape {queries.shape} for vectors of {self.dim} dimensions")
        count = min(count, self.vectors)
        if not count or not len(queries):
            return np.empty((len(queries), count), np.int64), np.empty((len(queries), count), np.float32)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if self.matrix is not None:
            return self._exact(self.matrix, queries, count, advance)
        rows = np.empty((len(queries), count), dtype=np.int64)
        scores = np.empty((len(queries), count), dtype=np.float32)
        with _threads(self.threads):
            for at in range(0, len(queries), _QUERIES):
                part = slice(at, min(at + _QUERIES, len(queries)))
                before = self._counted()
                found, where = self.index.search(queries[part], count)
                self.compared += self._counted() - before or len(where) * self.vectors
                rows[part], scores[part] = _ordered(where, np.where(where >= 0, found, -np.inf))
                if advance:
                    advance(len(where))
        return rows, scores

    def _counted(self) -> int:
        """What faiss counted in this process."""
        faiss = _faiss()

        if hasattr(self.index, "hnsw"):
            return int(faiss.cvar.hnsw_stats.ndis)
        return int(faiss.cvar.indexIVF_stats.ndis) if hasattr(self.index, "nlist") else 0

    def _exact(
        self, matrix: npt.NDArray[Any], queries: Floats, count: int, advance: Callable[[int], None] | None
    ) -> tuple[Ints, Floats]:
        self.compared += len(queries) * self.vectors
        if matrix.dtype == np.float32:
            run = _exact(matrix, self.largest, self.device, self.threads).search(queries, count, advance)
            return run.doc_rows.astype(np.int64), run.scores
        rows = np.empty((len(queries), count), dtype=np.int64)
        scores = np.empty((len(queries), count), dtype=np.float32)
        step = max(_QUERIES, _BLOCK_BYTES // (12 * count))
        for at in range(0, len(queries), step):
            part = slice(at, min(at + step, len(queries)))
            best: tuple[Ints, Floats] | None = None
            # Few queries are done with a block sooner than it comes from memory: theirs stay in the cache.
            width = max(count, _rows(self.dim) // (1 if part.stop - part.start >= _MANY else 32))
            for start in range(0, self.vectors, width):
                block = wide(matrix[start : start + width])
                where, found = self._highest(queries[part], block, min(count, len(block)))
                best = _merged(best, _ordered(where + start, found), count)
            assert best is not None
            rows[part], scores[part] = best
            if advance:
                advance(part.stop - part.start)
        return rows, scores

    def _highest(self, queries: Floats, block: Floats, count: int) -> tuple[Ints, Floats]:
        if self.device == "cpu":
            faiss = _faiss()

            with _threads(self.threads):
                found, where = faiss.knn(queries, block, count, metric=faiss.METRIC_INNER_PRODUCT)
            return where, found
        import torch

        with full_precision(), torch.inference_mode():
            left, right = torch.from_numpy(queries).to(self.device), torch.from_numpy(block).to(self.device)
            values, rows = (left @ right.T).topk(count, dim=1)
            return rows.cpu().numpy(), values.cpu().numpy()


def nearest(
    queries: Floats,
    blocks: Iterable[tuple[int, Floats]],
    count: int,
    *,
    largest: float,
    context: Context,
) -> tuple[Ints, Floats]:
    """The highest inner products over vectors that are no matrix, such as a store of token vectors, in one pass.

    blocks: (number of its first vector, float32 [vectors, dim]), ascending; largest: no vector is longer. Returns
    int64 and float32 [queries, <= count], ordered and decided exactly, as by a float32 `exact` index. Memory: one
    block, and some 30 bytes x queries x count.
    """
    best: tuple[Ints, Floats] | None = None
    device = _device(context)
    for start, block in blocks:
        if not len(block):
            continue
        run = _exact(block, largest, device, context.threads).search(queries, count)
        best = _merged(best, (run.doc_rows.astype(np.int64) + start, run.scores), count)
    return best or (np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32))


def _exact(vectors: Floats, largest: float, device: str, threads: int) -> Exact:
    """Of equal scores the lower row comes first."""
    return Exact(vectors, np.arange(len(vectors), dtype=np.int64)[::-1], largest, device, threads)


def _ordered(rows: Ints, scores: Floats) -> tuple[Ints, Floats]:
    """Hits by score, then row; those of -inf, which are none, last."""
    by = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(rows, by, axis=1), np.take_along_axis(scores, by, axis=1)


def _merged(best: tuple[Ints, Floats] | None, new: tuple[Ints, Floats], count: int) -> tuple[Ints, Floats]:
    """Both ordered; all rows of `new` are higher, so a stable sort keeps the lower of equals first."""
    if best is None:
        return new
    rows, scores = np.concatenate([best[0], new[0]], axis=1), np.concatenate([best[1], new[1]], axis=1)
    by = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(rows, by, axis=1), np.take_along_axis(scores, by, axis=1)
