"""Residual codes and PLAID's stages against plain float64 versions of ColBERT's rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers.multi_vector.centroids import Centroids, centroids_of
from seekbench.retrievers.multi_vector.maxsim import Packed
from seekbench.retrievers.multi_vector.plaid import Plaid, PlaidParams
from seekbench.retrievers.multi_vector.residual import ResidualCodec
from seekbench.retrievers.multi_vector.tokens import Tokens, TokenWriter
from seekbench.retrievers.protocol import Context

Floats = npt.NDArray[np.float32]
CONTEXT = Context(threads=1)


def clustered(
    seed: int, passages: int, dim: int = 16, topics: int = 12
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Unit token vectors around a few topics, ragged passages, some of them empty."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 14, passages)
    middle = rng.standard_normal((topics, dim))
    vectors = middle[rng.integers(0, topics, int(lengths.sum()))] + 0.4 * rng.standard_normal(
        (int(lengths.sum()), dim)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), lengths


def store(folder: Path, vectors: Floats, lengths: npt.NDArray[Any]) -> Tokens:
    folder.mkdir(parents=True, exist_ok=True)
    writer = TokenWriter(folder, "float32")
    writer.append(vectors, lengths)
    return writer.finish()


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return store(tmp_path / "tokens", *clustered(0, 150))


def asked(seed: int, count: int, dim: int = 16) -> Packed:
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((n, dim)).astype(np.float32) for n in rng.integers(1, 9, count)]
    return Packed.of([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts])


# -- centroids and residual codes -----------------------------------------------------------------------------


def test_number_and_length_of_centroids(tokens: Tokens) -> None:
    made = Centroids.fit(tokens, context=CONTEXT)
    # colbert/indexing/collection_indexer.py: 2^floor(log2(16 sqrt(tokens))).
    assert len(made) == min(2 ** int(np.log2(16 * np.sqrt(tokens.count))), made.facts["trained_tokens"])
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    assert len(made.held_out) <= 0.05 * tokens.count
    codes = made.assign(tokens.block(0, len(tokens)))
    products = tokens.block(0, len(tokens)).astype(np.float64) @ made.vectors.T.astype(np.float64)
    chosen = np.take_along_axis(products, codes[:, None].astype(np.int64), axis=1)[:, 0]
    np.testing.assert_allclose(chosen, products.max(axis=1), atol=1e-6)


@pytest.mark.parametrize("dim", [16, 13])
def test_codes_by_hand(tmp_path: Path, dim: int) -> None:
    """colbert/indexing/codecs/residual.py: quantiles of held-out residuals, buckets, centroid + weight."""
    tokens = store(tmp_path / "t", *clustered(1, 120, dim))
    for bits in (1, 2, 4):
        codec = ResidualCodec.fit(tokens, bits=bits, folder=tmp_path, context=CONTEXT)
        vectors = tokens.block(0, len(tokens))
        codes, packed = codec.compress(vectors)
        assert packed.shape == (len(vectors), -(-dim * bits // 8))
        means = Centroids.load(tmp_path)
        left = (means.held_out - means.vectors[means.assign(means.held_out)]).astype(np.float64)
        at = np.arange(2**bits) / 2**bits
        cutoffs, weights = np.quantile(left, at[1:]), np.quantile(left, at + 0.5 / 2**bits)
        np.testing.assert_allclose(codec.cutoffs, cutoffs, atol=1e-6)
        residual = vectors - means.vectors[codes]
        bucket = np.searchsorted(codec.cutoffs, residual)
        expected = means.vectors[codes] + weights[bucket]
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(codec.decompress(codes, packed), expected, atol=2e-6)


def test_more_bits_less_error(tokens: Tokens, tmp_path: Path) -> None:
    vectors = tokens.block(0, len(tokens))
    cosines = []
    for bits in (1, 2, 4):
        codec = ResidualCodec.fit(tokens, bits=bits, folder=tmp_path, context=CONTEXT)
        again = codec.decompress(*codec.compress(vectors))
        np.testing.assert_allclose(np.linalg.norm(again, axis=1), 1, atol=1e-5)
        cosines.append(float((vectors * again).sum(axis=1).mean()))
        assert abs(codec.facts["mean_cosine"] - cosines[-1]) < 0.1
        (tmp_path / str(bits)).mkdir()
        codec.save(tmp_path / str(bits))
        known = ResidualCodec.load(tmp_path / str(bits))
        np.testing.assert_array_equal(known.decompress(*known.compress(vectors)), again)
    assert cosines == sorted(cosines)
    assert cosines[-1] > 0.98


@pytest.mark.parametrize("count", [0, 1, 3])
def test_tiny_stores(tmp_path: Path, count: int) -> None:
    vectors = np.zeros((count, 16), np.float32)
    vectors[1:, 0] = 1  # the first is a zero vector
    tokens = store(tmp_path / "t", vectors, np.array([count, 0]))
    codec = ResidualCodec.fit(tokens, bits=2, folder=tmp_path, context=CONTEXT)
    again = codec.decompress(*codec.compress(vectors))
    assert again.shape == vectors.shape
    assert np.isfinite(again).all()
    (tmp_path / "p").mkdir()
    Plaid.build(tokens, tmp_path / "p", PlaidParams(), seed=0, context=CONTEXT)
    found = Plaid(tmp_path / "p", tokens, PlaidParams(), context=CONTEXT).candidates(
        asked(1, 3), 5, context=CONTEXT
    )
    assert set(found.ravel().tolist()) <= ({0, -1} if count else {-1})


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**16), dim=st.sampled_from([5, 16, 19]))
def test_error_falls_with_bits(tmp_path_factory: pytest.TempPathFactory, seed: int, dim: int) -> None:
    folder = tmp_path_factory.mktemp("bits")
    tokens = store(folder / "t", *clustered(seed, 60, dim))
    vectors = tokens.block(0, len(tokens))
    centroids_of(tokens, folder, count=24, iterations=4, seed=0, context=CONTEXT)
    errors = []
    for bits in (1, 2, 4):
        left = Centroids.load(folder).held_out
        means = Centroids.load(folder)
        residual = np.sort((left - means.vectors[means.assign(left)]).ravel())
        at = np.arange(2**bits) / 2**bits
        codec = ResidualCodec(
            means.vectors,
            np.quantile(residual, at[1:]).astype(np.float32),
            np.quantile(residual, at + 0.5 / 2**bits).astype(np.float32),
            {},
        )
        again = codec.decompress(*codec.compress(vectors))
        errors.append(float(((again - vectors) ** 2).sum(axis=1).mean()))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("passages", "length", "kind"),
    [(1, 10, "none"), (3, 30, "tokens"), (10, 10, "tokens"), (60, 10, "passages")],
)
def test_facts_say_what_was_held_out(tmp_path: Path, passages: int, length: int, kind: str) -> None:
    vectors = asked(3, 1).vectors[:1] + np.random.default_rng(0).standard_normal((passages * length, 16))
    tokens = store(tmp_path / "t", vectors.astype(np.float32), np.full(passages, length))
    made = Centroids.fit(tokens, context=CONTEXT)
    assert made.facts["held_out"] == kind
    assert len(made) == made.facts["centroids"] <= made.facts["trained_tokens"]
    apart = {row.tobytes() for row in made.held_out}
    assert len(apart) == len(made.held_out)
    if kind == "none":
        assert made.facts["held_out_tokens"] == 0
        assert made.facts["trained_tokens"] == tokens.count
        return
    assert made.facts["held_out_tokens"] == len(made.held_out) == int(0.05 * tokens.count)
    assert made.facts["trained_tokens"] + len(made.held_out) == tokens.count
    assert apart <= {row.tobytes() for row in tokens.block(0, len(tokens))}


def test_centroids_made_otherwise_are_made_again(tokens: Tokens, tmp_path: Path) -> None:
    made: dict[str, Any] = {"count": 32, "iterations": 4, "seed": 0, "context": CONTEXT}
    first = centroids_of(tokens, tmp_path, **made)
    written = (tmp_path / "centroids.json").stat().st_mtime_ns
    np.testing.assert_array_equal(centroids_of(tokens, tmp_path, **made).vectors, first.vectors)
    assert (tmp_path / "centroids.json").stat().st_mtime_ns == written
    assert len(centroids_of(tokens, tmp_path, **{**made, "count": 64})) == 64
    other = centroids_of(tokens, tmp_path, **{**made, "count": 64, "seed": 9})
    assert other.facts["seed"] == 9
    fewer = store(tmp_path / "fewer", *clustered(7, 60, 24))
    assert centroids_of(fewer, tmp_path, **made).vectors.shape == (32, 24)


@pytest.mark.parametrize("bits", [0, 3, 8])
def test_other_numbers_of_bits_are_refused(tokens: Tokens, tmp_path: Path, bits: int) -> None:
    with pytest.raises(InputError, match="1, 2 or 4 bits"):
        ResidualCodec.fit(tokens, bits=bits, folder=tmp_path, context=CONTEXT)


# -- stages -----------------------------------------------------------------------------------------------------


def by_hand(
    plaid: Plaid, tokens: Tokens, query: Floats, ncells: int, threshold: float, ndocs: int
) -> tuple[list[int], list[int]]:
    """(passages after stage 1; passages after stage 3, best first), from the description in float64."""
    scores = query.astype(np.float64) @ plaid._centroids.astype(np.float64).T
    cells = {int(c) for row in scores for c in np.argsort(-row, kind="stable")[:ncells]}
    codes = [plaid._codes[tokens.indptr[p] : tokens.indptr[p + 1]].tolist() for p in range(len(tokens))]
    first = [p for p in range(len(tokens)) if cells & set(codes[p])]

    def interaction(passage: int, kept: set[int] | None) -> float:
        used = [c for c in codes[passage] if kept is None or c in kept]
        return float(scores[:, used].max(axis=1).sum()) if used else -np.inf

    found = first
    if len(found) > ndocs:
        kept = {c for c in range(scores.shape[1]) if scores[:, c].max() >= threshold}
        found = sorted(found, key=lambda p: (-interaction(p, kept), p))[:ndocs]
    found = sorted(found, key=lambda p: (-interaction(p, None), p))
    return first, found[: max(1, ndocs // 4)]


@pytest.mark.parametrize(
    ("ncells", "threshold", "ndocs"),
    [(1, 0.5, 40), (2, 0.3, 16), (3, 0.8, 20), (4, -2.0, 4), (20, 0.4, 1000)],
)
def test_stages(tokens: Tokens, tmp_path: Path, ncells: int, threshold: float, ndocs: int) -> None:
    params = PlaidParams(ncells=ncells, centroid_score_threshold=threshold, ndocs=ndocs, centroids=32)
    facts = Plaid.build(tokens, tmp_path, params, seed=3, context=CONTEXT)
    assert facts["centroids"] == 32
    assert facts["bytes"] == sum(
        p.stat().st_size for p in tmp_path.glob("*.npy") if p.stem not in ("centroids", "held_out")
    )
    plaid = Plaid(tmp_path, tokens, params, context=CONTEXT)
    queries = asked(4, 15)
    found = plaid.candidates(queries, 1000, context=CONTEXT, k=10)
    total = 0
    for q in range(len(queries)):
        query = queries.vectors[queries.indptr[q] : queries.indptr[q + 1]]
        first, expected = by_hand(plaid, tokens, query, ncells, threshold, ndocs)
        assert found[q][found[q] >= 0].tolist() == expected
        total += len(first)
    assert plaid.counts["stage1"] == total
    assert plaid.counts["queries"] == 15
    cut = plaid.candidates(queries, 3, context=CONTEXT, k=10)
    assert (cut == found[:, :3]).all()


def test_everything_is_found_where_nothing_is_pruned(tokens: Tokens, tmp_path: Path) -> None:
    params = PlaidParams(ncells=10_000, centroid_score_threshold=-9, ndocs=4 * len(tokens), centroids=24)
    Plaid.build(tokens, tmp_path, params, seed=0, context=CONTEXT)
    found = Plaid(tmp_path, tokens, params, context=CONTEXT).candidates(asked(5, 6), 10_000, context=CONTEXT)
    for row in found:
        assert sorted(row[row >= 0].tolist()) == np.flatnonzero(np.diff(tokens.indptr)).tolist()


def test_published_defaults() -> None:
    """colbert/searcher.py."""
    params = PlaidParams()
    assert params.for_k(10) == (1, 0.5, 256)
    assert params.for_k(100) == (2, 0.45, 1024)
    assert params.for_k(1000) == (4, 0.4, 4096)
    assert params.for_k(3000) == (4, 0.4, 12_000)
    assert PlaidParams(ncells=7, centroid_score_threshold=0.0).for_k(10) == (7, 0.0, 256)


def test_long_queries_take_part_with_their_first_vectors(tokens: Tokens, tmp_path: Path) -> None:
    params = PlaidParams(query_maxlen=3, centroids=32)
    Plaid.build(tokens, tmp_path, params, seed=0, context=CONTEXT)
    plaid = Plaid(tmp_path, tokens, params, context=CONTEXT)
    rng = np.random.default_rng(9)
    long = rng.standard_normal((8, 16)).astype(np.float32)
    whole = plaid.candidates(Packed.of([long]), 50, context=CONTEXT, k=10)
    head = plaid.candidates(Packed.of([long[:3]]), 50, context=CONTEXT, k=10)
    assert (whole == head).all()


def test_other_token_vectors_are_refused(tokens: Tokens, tmp_path: Path) -> None:
    Plaid.build(tokens, tmp_path, PlaidParams(), seed=0, context=CONTEXT)
    other = store(tmp_path / "other", *clustered(2, 9))
    with pytest.raises(SeekbenchError, match="other token vectors"):
        Plaid(tmp_path, other, PlaidParams(), context=CONTEXT)


_PROCESS = """
import sys, hashlib, pathlib
from seekbench.retrievers.multi_vector.maxsim import Packed
from seekbench.retrievers.multi_vector.plaid import Plaid, PlaidParams
from seekbench.retrievers.multi_vector.tokens import Tokens
from seekbench.retrievers.protocol import Context
tokens, out = Tokens(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2])
Plaid.build(tokens, out, PlaidParams(), seed=5, context=Context(threads=int(sys.argv[3])))
files = [(out / n).read_bytes() for n in ("centroid_vectors.npy", "codes.npy", "lists.npy", "members.npy")]
context = Context(threads=int(sys.argv[3]))
queries = Packed(tokens.block(0, 20), tokens.indptr[:21].copy())
found = Plaid(out, tokens, PlaidParams(), context=context).candidates(queries, 50, context=context, k=10)
print(hashlib.sha256(b"".join(files) + found.tobytes()).hexdigest())
"""


def test_same_in_every_process(tokens: Tokens, tmp_path: Path) -> None:
    found = set()
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        command = [sys.executable, "-c", _PROCESS, str(tokens.folder), str(tmp_path / number), number]
        found.add(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1
