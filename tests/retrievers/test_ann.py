"""Indexes of vectors against brute force: exact ones are equal to it, the others keep most of it, and all are the same
when they are built or opened again."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers import protocol
from seekbench.retrievers.dense import ann
from seekbench.retrievers.protocol import Context

CONTEXT = Context(device="cpu", threads=2)
_ANY: TypeAdapter[Any] = TypeAdapter(ann.IndexParams)

#: Parameters, and the least share of the true 10 best that is found among 10 on `clustered`.
KINDS = [
    ({"type": "exact"}, 1.0),
    ({"type": "exact", "dtype": "float16"}, 0.99),
    ({"type": "hnsw", "m": 16}, 0.99),
    ({"type": "hnsw", "m": 16, "codes": "float16"}, 0.99),
    ({"type": "hnsw", "m": 16, "codes": "int8"}, 0.95),
    ({"type": "ivf", "lists": 32, "probes": 8}, 0.95),
    ({"type": "ivf_pq", "lists": 32, "probes": 8, "pq_dims": 2}, 0.85),
    ({"type": "pq", "pq_dims": 2}, 0.85),
    ({"type": "pq"}, 0.6),
    ({"type": "opq_pq", "pq_dims": 4, "pq_bits": 6}, 0.6),
    ({"type": "sq8"}, 0.95),
]
NAMES = ["-".join(str(v) for v in kind.values()) for kind, _ in KINDS]


def made(fields: Any) -> Any:
    return _ANY.validate_python(ann.by_name(fields))


def clustered(count: int = 1500, dim: int = 32, queries: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around 30 centres, of lengths that differ, and queries near some of them."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((30, dim))
    vectors = centres[rng.integers(0, 30, count)] + 0.5 * rng.standard_normal((count, dim))
    vectors *= rng.uniform(0.7, 1.3, (count, 1))
    asked = vectors[rng.choice(count, queries)] + 0.3 * rng.standard_normal((queries, dim))
    return vectors.astype(np.float32), asked.astype(np.float32)


def brute(vectors: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return rows, np.take_along_axis(scores, rows, axis=1)


def built(folder: Path, vectors: np.ndarray, fields: Any, **more: Any) -> ann.Index:
    folder.mkdir(exist_ok=True)
    ann.build(vectors, folder, made(fields), context=CONTEXT, **more)
    return ann.open_index(folder, made(fields), context=CONTEXT)


@pytest.mark.parametrize(("fields", "floor"), KINDS, ids=NAMES)
def test_most_of_the_best_are_found(tmp_path: Path, fields: Any, floor: float) -> None:
    vectors, queries = clustered()
    index = built(tmp_path, vectors, fields)
    rows, scores = index.search(queries, 10)
    expected, _ = brute(vectors, queries, 10)
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32
    found = np.mean(
        [len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), expected.tolist(), strict=True)]
    )
    assert found >= floor
    assert (np.diff(scores, axis=1) <= 0).all()
    assert 0 < index.compared <= len(queries) * len(vectors) * 2
    # Codes give scores near the inner product, not a distance.
    true = np.take_along_axis(queries.astype(np.float64) @ vectors.T.astype(np.float64), rows, axis=1)
    assert np.corrcoef(scores.ravel(), true.ravel())[0, 1] > 0.5


@pytest.mark.parametrize(("fields", "floor"), KINDS, ids=NAMES)
def test_built_and_opened_again_it_is_the_same(tmp_path: Path, fields: Any, floor: float) -> None:
    vectors, queries = clustered(700)
    first = built(tmp_path / "a", vectors, fields, seed=3)
    expected = first.search(queries, 25)
    again = ann.open_index(tmp_path / "a", made(fields), context=Context(device="cpu", threads=1))
    (tmp_path / "b").mkdir()
    ann.build(vectors, tmp_path / "b", made(fields), context=Context(device="cpu", threads=1), seed=3)
    other = ann.open_index(tmp_path / "b", made(fields), context=CONTEXT)
    for index in (again, other):
        rows, scores = index.search(queries, 25)
        np.testing.assert_array_equal(rows, expected[0])
        np.testing.assert_array_equal(scores, expected[1])
    name = "vectors.npy" if fields["type"] == "exact" else "index.faiss"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


_PRINT = """
import sys, hashlib
from pathlib import Path
from tests.retrievers.test_ann import built, clustered
for kind in ("hnsw", "ivf", "sq8"):
    built(Path(sys.argv[1]), clustered(700)[0], kind, seed=1)
    print(hashlib.sha256((Path(sys.argv[1]) / "index.faiss").read_bytes()).hexdigest())
"""


def test_the_same_in_every_process(tmp_path: Path) -> None:
    expected = []
    for kind in ("hnsw", "ivf", "sq8"):
        built(tmp_path, clustered(700)[0], kind, seed=1)
        expected.append(hashlib.sha256((tmp_path / "index.faiss").read_bytes()).hexdigest())
    command = [sys.executable, "-c", _PRINT, str(tmp_path)]
    root = Path(__file__).parents[2]
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert other.stdout.split() == expected
    built(tmp_path, clustered(700)[0], "hnsw", seed=2)
    assert hashlib.sha256((tmp_path / "index.faiss").read_bytes()).hexdigest() != expected[0]


@given(
    count=st.integers(1, 60),
    dim=st.integers(1, 9),
    wanted=st.integers(1, 70),
    dtype=st.sampled_from(["float32", "float16"]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_exact_is_brute_force_ties_and_all(
    tmp_path_factory: pytest.TempPathFactory, count: int, dim: int, wanted: int, dtype: str, seed: int
) -> None:
    """Small integers have exact sums, so equal scores are equal, and the lower row comes first."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (count, dim)).astype(dtype)
    queries = rng.integers(-2, 3, (4, dim)).astype(np.float32)
    index = built(tmp_path_factory.mktemp("exact"), vectors, "exact")
    rows, scores = index.search(queries, wanted)
    expected, true = brute(vectors, queries, wanted)
    if dtype == "float32":
        np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(scores, true)
    assert rows.shape == (4, min(wanted, count))


def test_blocks_of_a_float16_matrix_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = clustered()
    index = built(tmp_path, vectors.astype(np.float16), "exact")
    expected = brute(vectors.astype(np.float16), queries, 50)
    monkeypatch.setattr(ann, "_BLOCK_BYTES", 4 * 32 * 100)
    rows, scores = index.search(queries, 50)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_allclose(scores, expected[1], rtol=1e-5, atol=1e-4)


def test_on_torch_as_on_faiss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The accelerator's path, on the CPU."""
    vectors, queries = clustered()
    index = built(tmp_path, vectors.astype(np.float16), "exact")
    expected = index.search(queries, 20)
    monkeypatch.setattr(index, "device", "cpu:0")
    rows, scores = index.search(queries, 20)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_allclose(scores, expected[1], rtol=1e-5)


def test_nearest_over_blocks_is_exact_search_over_all() -> None:
    vectors, queries = clustered()
    vectors[700:720] = vectors[3]  # ties over two blocks
    blocks = [(at, vectors[at : at + 130]) for at in range(0, len(vectors), 130)]
    largest = ann.largest_norm(vectors)
    for count in (1, 10, 200, 5000):
        rows, scores = ann.nearest(queries, blocks, count, largest=largest, context=CONTEXT)
        expected, true = brute(vectors, queries, count)
        np.testing.assert_allclose(scores, true, rtol=1e-4, atol=1e-4)
        assert np.mean(rows == expected) > 0.999
        assert all(len(set(row)) == len(row) for row in rows.tolist())
    rows, _ = ann.nearest(vectors[3:4], blocks, 40, largest=largest, context=CONTEXT)
    tied = [row for row in rows[0].tolist() if row == 3 or 700 <= row < 720]
    assert tied == sorted(tied)


def test_a_query_does_not_depend_on_others(tmp_path: Path) -> None:
    vectors, queries = clustered()
    for fields in ("exact", {"type": "hnsw", "m": 16}, {"type": "pq", "pq_dims": 2}, "sq8"):
        index = built(tmp_path, vectors, fields)
        rows, scores = index.search(queries, 10)
        for i in range(5):
            one = index.search(queries[i : i + 1], 10)
            np.testing.assert_array_equal(one[0][0], rows[i])
            np.testing.assert_array_equal(one[1][0], scores[i])


def test_what_is_not_found_is_minus_one(tmp_path: Path) -> None:
    vectors, queries = clustered()
    rows, scores = built(tmp_path, vectors, {"type": "ivf", "lists": 64, "probes": 1}).search(queries, 500)
    assert rows.shape == (40, 500)
    missing = rows < 0
    assert missing.any()
    assert (scores[missing] == -np.inf).all()
    assert np.isfinite(scores[~missing]).all()
    assert (np.diff(missing.astype(int), axis=1) >= 0).all()


def test_search_parameters_need_no_new_index(tmp_path: Path) -> None:
    vectors, queries = clustered()
    few = {"type": "hnsw", "m": 2, "ef_construction": 4, "ef_search": 1}
    built(tmp_path, vectors, few)
    expected, _ = brute(vectors, queries, 1)
    found = []
    for ef in (1, 500):
        index = ann.open_index(tmp_path, made({**few, "ef_search": ef}), context=CONTEXT)
        found.append(float((index.search(queries, 1)[0] == expected).mean()))
    assert found[1] > found[0]
    with pytest.raises(SeekbenchError, match="holds an index of"):
        ann.open_index(tmp_path, made({**few, "m": 3}), context=CONTEXT)


def test_facts_and_size_of_pq_256_8(tmp_path: Path) -> None:
    """A byte for 8 float32 dimensions: 32 times smaller, beside 256 centroids a block."""
    vectors, _ = clustered(2000, 64)
    facts = ann.build(vectors, tmp_path, made("pq"), context=CONTEXT)
    codes = 2000 * 64 * 4 // 32
    centroids = 256 * 64 * 4
    assert codes + centroids < facts["bytes"] < codes + centroids + 200
    assert facts["bytes"] == (tmp_path / "index.faiss").stat().st_size
    assert facts["bytes_per_vector"] == facts["bytes"] / 2000
    assert facts["trained_on"] == 2000
    assert facts["seconds"] >= facts["train_seconds"] + facts["add_seconds"]
    facts = ann.build(vectors, tmp_path, made({"type": "pq", "train": 300}), context=CONTEXT)
    assert facts["trained_on"] == 300
    facts = ann.build(vectors, tmp_path, made("ivf"), context=CONTEXT)
    assert facts["lists"] == 2000 // 39


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["exact", "sq8"])
def test_a_matrix_that_is_handed_over(tmp_path: Path, kind: str, dtype: str) -> None:
    vectors, queries = clustered(300)
    expected = built(tmp_path / "a", vectors.astype(dtype), kind).search(queries, 5)
    source = tmp_path / "source.npy"
    np.save(source, vectors.astype(dtype))
    (tmp_path / "b").mkdir()
    mapped = np.load(source, mmap_mode="r")
    ann.build(mapped, tmp_path / "b", made(kind), context=CONTEXT, owned=source)
    assert not source.exists()
    found = ann.open_index(tmp_path / "b", made(kind), context=CONTEXT).search(queries, 5)
    np.testing.assert_array_equal(found[0], expected[0])
    assert not [p for p in (tmp_path / "b").iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf", "pq"])
def test_no_vectors(tmp_path: Path, kind: str) -> None:
    index = built(tmp_path, np.empty((0, 8), np.float32), kind)
    assert len(index) == 0
    assert index.search(np.ones((3, 8), np.float32), 5)[0].shape == (3, 0)


@pytest.mark.parametrize("kind", ["exact", "hnsw", "sq8"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, kind: str) -> None:
    vectors, _ = clustered(50)
    vectors[20, 3] = np.nan
    with pytest.raises(SeekbenchError, match="not finite"):
        built(tmp_path, vectors, kind)
    with pytest.raises(SeekbenchError, match="no index of vectors"):
        ann.open_index(tmp_path, made(kind), context=CONTEXT)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("pq", "256 centroids, for 100 vectors"),
        ({"type": "pq", "pq_bits": 4, "pq_dims": 5}, "not blocks of 5"),
        ({"type": "ivf", "lists": 200}, "200 lists for 100 vectors"),
        ({"type": "ivf", "lists": 50, "train": 20}, "less than one for each of 50"),
    ],
)
def test_vectors_that_do_not_fit(tmp_path: Path, fields: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        built(tmp_path, clustered(100)[0], fields)


def test_a_rotation_of_too_many_dimensions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rotation"):
        built(tmp_path, np.zeros((300, 4096), np.float32), "opq_pq")


class Owner(protocol.Params):
    index: ann.IndexParams = Field(default_factory=ann.exact_index, discriminator="type")


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "exact", "m": 8},
        {"type": "hnsw", "probes": 8},
        {"type": "ivf", "pq_bits": 8},
        {"type": "pq", "lists": 8},
        {"type": "sq8", "ef_search": 8},
        {"type": "hnsw", "train": 8},
        {"type": "flat"},
    ],
)
def test_parameters_of_another_type_are_refused(fields: Any) -> None:
    with pytest.raises(ValidationError):
        Owner.model_validate({"index": fields})
    assert Owner.model_validate({}).index == ann.ExactIndex.model_validate({})
