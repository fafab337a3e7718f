"""Docids: builders find what was planted, are the same every time, and leave no document without a name."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from seekbench import hashing
from seekbench.collection import Records
from seekbench.errors import InputError, SeekbenchError
from seekbench.progress import NoProgress
from seekbench.retrievers.generative.docids import (
    MODULES,
    BuildInputs,
    Docids,
    DocQueries,
    Interactions,
    Space,
    build,
    known,
    make,
    positions,
    report,
    resolve,
)
from seekbench.retrievers.generative.docids.collaborative import co_occurrence
from seekbench.retrievers.generative.docids.kmeans import cluster, gather, kmeans, nearest, single_thread
from seekbench.retrievers.generative.docids.rqvae import sinkhorn
from seekbench.retrievers.generative.docids.sequences import group, letters, with_digits
from seekbench.retrievers.generative.docids.spectral import DENSE, cluster_qr, leading, spectral
from seekbench.retrievers.generative.docids.texts import url_words
from seekbench.retrievers.generative.docids.tree import DEEPEST, grow

#: Small enough for a property test; what is not named here is cheap as it is.
SMALL: dict[str, dict[str, Any]] = {
    "naive": {"of": "id"},
    "url": {"missing": "words"},
    "ngram": {"n": 2, "slots": 4096},
    "semantic": {"k": 3, "c": 2},
    "semantic_2d": {"k": 3, "c": 3},
    "pq": {"pieces": 2, "codes": 4, "rotation": "opq", "rounds": 2},
    "rqvae": {"levels": 2, "codes": 4, "hidden": [8], "latent": 3, "epochs": 2, "batch": 4, "collisions": "digit"},
    "collaborative": {"clusters": 3, "leaf": 2},
    "hybrid": {"parts": [{"type": "collaborative", "params": {"clusters": 2, "leaf": 3}}, {"type": "atomic"}]},
}  # fmt: skip
#: Builders that promise a docid of its own to every document, with the parameters above.
UNIQUE = set(known()) - {"description", "ngram"}


def corpus(n: int, seed: int = 0, *, dim: int = 8, equal: bool = False) -> BuildInputs:
    """Everything that builders may see, for n documents with repeated and empty titles and equal vectors."""
    rng = np.random.default_rng(seed)
    words = ["wing", "flow", "boundary", "layer", "heat", "shock", "plate", "jet"]
    texts = [" ".join(rng.choice(words, rng.integers(0, 9))) for _ in range(n)]
    titles = [" ".join(rng.choice(words[:3], rng.integers(0, 3))) for _ in range(n)]
    vectors = rng.integers(-2, 3, (n, dim)).astype(np.float32)
    if equal:
        vectors[:] = vectors[0]
    histories = [rng.integers(0, n, rng.integers(0, 5)).tolist() for _ in range(n)]
    asked = rng.integers(0, n, n)
    return BuildInputs(
        n,
        Records.from_lists([f"d{i}" for i in range(n)], texts, titles),
        vectors,
        Interactions.of(histories, "train"),
        DocQueries.of(asked, [" ".join(rng.choice(words, 2)) for _ in asked], "train"),
    )


def planted(clusters: int, each: int, dim: int = 24, seed: int = 0, noise: float = 0.05) -> tuple[Any, Any]:
    """(vectors, label of each): tight clusters in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(clusters), each))
    centres = rng.standard_normal((clusters, dim))
    vectors = centres[labels] + noise * rng.standard_normal((len(labels), dim))
    return vectors.astype(np.float32), labels


def same_partition(a: Any, b: Any) -> bool:
    pairs = set(zip(np.asarray(a).tolist(), np.asarray(b).tolist(), strict=True))
    return len(pairs) == len(set(np.asarray(a).tolist())) == len(set(np.asarray(b).tolist()))


def codes_of(docids: Docids) -> list[tuple[int, ...]]:
    tokens, indptr = docids.sequences()
    return [tuple(tokens[a:b].tolist()) for a, b in pairwise(indptr)]


# -- all builders -------------------------------------------------------------------------------------------


def test_registry_holds_all_builders_and_names_the_nearest() -> None:
    assert len(known()) == 14
    for name in known():
        builder = make(name, SMALL.get(name))
        assert resolve(name).Params.model_config["extra"] == "forbid"
        for key, field in resolve(name).Params.model_fields.items():
            assert field.description or key == "seed", f"{name}: {key}"
        assert builder.needs <= {"records", "embeddings", "interactions", "queries"}
    with pytest.raises(InputError, match="did you mean 'semantic'"):
        make("sematic")
    with pytest.raises(InputError, match=r"unknown parameter .did you mean 'restarts'") as caught:
        make("semantic", {"restart": 1, "k": 1})
    assert caught.value.report.errors == 2
    here = Path(__file__).parent.parent.parent / "retrievers/generative/docids"
    written = {path.stem for path in here.glob("*.py")} - {"__init__", "report"}
    assert {module.rpartition(".")[2] for module in MODULES} == written
    assert len(hashing.of_code(*MODULES)) == 16


def test_no_builder_can_see_queries_or_judgments_of_a_test() -> None:
    """Whatever enters is a field of BuildInputs, and a builder reads those alone that it says it needs."""
    names = {field.name for field in fields(BuildInputs)}
    assert names == {"documents", "records", "embeddings", "interactions", "queries", "context"}
    inputs = corpus(12)
    for name in known():
        builder = make(name, SMALL.get(name))
        only = BuildInputs(12, **{need: getattr(inputs, need) for need in builder.needs})
        assert builder.build(only).content_hash == builder.build(inputs).content_hash, name
        for need in builder.needs:
            rest = {other: getattr(inputs, other) for other in builder.needs - {need}}
            with pytest.raises(InputError, match=need):
                builder.build(BuildInputs(12, **rest))


@settings(max_examples=12, deadline=None)
@given(n=st.integers(1, 14), seed=st.integers(0, 99), equal=st.booleans())
def test_every_document_has_a_docid_and_its_own_where_promised(n: int, seed: int, equal: bool) -> None:
    inputs = corpus(n, seed, equal=equal)
    for name in known():
        docids = build(name, inputs, SMALL.get(name))
        docids.check()
        assert docids.builder == name
        assert set(docids.doc.tolist()) == set(range(n)), name
        facts = report(docids, width=16)
        if name in UNIQUE:
            assert facts["distinct"] == len(docids) == n, name
            assert facts["collisions"] == {
                "documents": 0, "without_own": 0, "docids": 0, "largest": 1, "rate": 0.0
            }  # fmt: skip
        if docids.kind == "codes":
            found = codes_of(docids)
            assert not any(a != b and b[: len(a)] == a for a in found for b in found), f"{name}: a prefix"
            assert len(set(docids.symbol_names())) == docids.symbols


@pytest.mark.parametrize("name", sorted(known()))
@pytest.mark.parametrize("documents", [1, 2])
def test_the_smallest_corpora(name: str, documents: int) -> None:
    """One document, and two equal ones, with the default parameters (fewer documents than clusters)."""
    inputs = BuildInputs(
        documents,
        Records.from_lists(["a", "b"][:documents], [""] * documents, [None] * documents),
        np.ones((documents, 16), dtype=np.float32),
        Interactions.of([], "none"),
        DocQueries.of([], [], "none"),
    )
    params = {"url": {"missing": "words"}, "rqvae": {"epochs": 2}}.get(name)
    docids = build(name, inputs, params)
    assert len(docids) == documents
    if name in UNIQUE - {"rqvae"}:
        assert report(docids)["distinct"] == documents
    if name == "rqvae" and documents == 2:
        # Equal vectors stay together, whatever Sinkhorn does; they are reported.
        assert report(docids)["collisions"]["largest"] == 2


def test_builds_are_the_same_bytes_whatever_the_threads_and_the_place_of_vectors(tmp_path: Path) -> None:
    vectors, _ = planted(30, 20, dim=17)
    np.save(tmp_path / "vectors.npy", np.concatenate([np.zeros((1, 17), np.float32), vectors]))
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")[1:]
    rng = np.random.default_rng(1)
    histories = Interactions.of(rng.integers(0, 600, (900, 4)).tolist(), "train")
    params: dict[str, dict[str, Any]] = {
        "semantic": {"k": 4, "c": 10, "sample": 100},
        "pq": {"pieces": 3, "codes": 16, "rotation": "opq", "rounds": 2},
        "rqvae": {"codes": 16, "hidden": [16], "latent": 8, "epochs": 3, "batch": 100},
        "collaborative": {"clusters": 5, "leaf": 30},
    }
    before, state = torch.get_num_threads(), torch.get_rng_state()
    for name, some in params.items():
        files = []
        for threads, given_vectors in ((1, vectors), (2, mapped), (2, vectors)):
            torch.set_num_threads(threads)
            folder = tmp_path / f"{name}{len(files)}"
            build(name, BuildInputs(600, None, given_vectors, histories), some).save(folder)
            assert torch.get_num_threads() == threads
            files.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
        assert files[0] == files[1] == files[2], name
    torch.set_num_threads(before)
    # Nobody else's random numbers are touched.
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", sorted(known()))
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    made = build(name, corpus(20), SMALL.get(name))
    made.save(tmp_path / "a")
    found = Docids.load(tmp_path / "a", verify=True)
    found.check()
    assert (found.builder, found.documents, found.kind) == (name, 20, made.kind)
    assert found.names() == made.names()
    assert found.content_hash == made.content_hash
    assert json.loads(json.dumps(found.facts)) == found.facts
    np.testing.assert_array_equal(found.doc, made.doc)
    np.testing.assert_array_equal(found.groups, made.groups)
    found.save(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_damage_is_seen(tmp_path: Path) -> None:
    with pytest.raises(SeekbenchError, match="holds no docids"):
        Docids.load(tmp_path)
    build("semantic", corpus(20), SMALL["semantic"]).save(tmp_path)
    np.save(tmp_path / "tokens.npy", np.load(tmp_path / "tokens.npy")[::-1])
    with pytest.raises(SeekbenchError, match="damaged"):
        Docids.load(tmp_path, verify=True)
    np.save(tmp_path / "doc.npy", np.arange(3))
    with pytest.raises(SeekbenchError, match="damaged"):
        Docids.load(tmp_path)
    (tmp_path / "doc.npy").write_bytes(b"")
    with pytest.raises(SeekbenchError, match="damaged"):
        Docids.load(tmp_path)


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, seekbench.retrievers.generative.docids as d, importlib\n"
        "[importlib.import_module(m) for m in d.MODULES]\n"
        "print([m for m in ('torch', 'scipy', 'faiss', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_inputs_are_checked() -> None:
    records = Records.from_lists(["a"], ["x"])
    for wrong, message in (
        ({"documents": 0}, "without documents"),
        ({"documents": 2, "records": records}, "1 records for 2"),
        ({"documents": 2, "embeddings": np.zeros((3, 4), np.float32)}, "shape"),
        ({"documents": 2, "interactions": Interactions.of([[0, 2]], "train")}, "beyond the 2"),
        ({"documents": 2, "interactions": Interactions(np.zeros(3, np.int64), np.asarray([0, 2]), "x")}, "indptr"),
        ({"documents": 2, "queries": DocQueries.of([-1], ["q"], "train")}, "beyond the 2"),
        ({"documents": 2, "queries": DocQueries.of([1, 0], ["q"], "train")}, "1 queries for 2"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            BuildInputs(**wrong)
    nan = np.zeros((3, 4), np.float32)
    nan[1, 2] = np.nan
    with pytest.raises(InputError, match="document 1 is not finite"):
        build("semantic", BuildInputs(3, embeddings=nan))
    with pytest.raises(InputError, match="float64"):
        build("pq", BuildInputs(3, embeddings=np.zeros((3, 4))))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no 8 pieces"):
        build("pq", BuildInputs(3, embeddings=np.zeros((3, 4), np.float32)))


# -- sequences ----------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), min_size=1, max_size=30))
def test_groups_are_ranks_of_tuples(sequences: list[list[int]]) -> None:
    flat = np.asarray([s for one in sequences for s in one])
    indptr = np.concatenate([[0], np.cumsum([len(one) for one in sequences])])
    ranks = {one: rank for rank, one in enumerate(sorted({tuple(one) for one in sequences}))}
    assert group(flat, indptr).tolist() == [ranks[tuple(one)] for one in sequences]
    allowed, ends = positions(flat, indptr)
    for at in range(max(map(len, sequences))):
        assert allowed[at].tolist() == sorted({one[at] for one in sequences if len(one) > at})
    assert [at for at, end in enumerate(ends) if end] == sorted({len(one) for one in sequences})


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=40))
def test_digits_separate_equal_codes_and_nothing_else(codes: list[tuple[int, int]]) -> None:
    made, sizes = with_digits(np.asarray(codes), [3, 2])
    assert [tuple(row[:2]) for row in made.tolist()] == codes
    assert len(set(map(tuple, made.tolist()))) == len(codes)
    assert (made < np.asarray(sizes)).all()
    assert max(sizes) == 3
    largest = max(codes.count(code) for code in codes)
    assert len(sizes) == 2 + next(digits for digits in range(9) if 3**digits >= largest)


def test_report_counts_what_was_made() -> None:
    made = Docids.of_matrix("x", np.asarray([[0, 1], [0, 1], [0, 1], [1, 0]]), [2, 4])
    facts = report(made, width=10)
    assert facts["collisions"] == {"documents": 3, "without_own": 3, "docids": 1, "largest": 3, "rate": 0.5}
    assert facts["parameters"] == {"symbols": 6, "width": 10, "table": 60}
    assert facts["lengths"] == {"unit": "codes", "min": 2, "mean": 2.0, "max": 2}
    entropy = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert facts["levels"][0]["entropy"] == pytest.approx(entropy)
    assert facts["levels"][0]["balance"] == pytest.approx(entropy)
    assert facts["levels"][1]["balance"] == pytest.approx(entropy / 2)
    assert facts["levels"][1]["largest"] == 0.75
    assert made.names([0, 3]) == ["<a_0><b_1>", "<a_1><b_0>"]
    several = Docids.of_texts("x", ["p", "p", "q", "Q"], doc=np.asarray([0, 0, 0, 1]), documents=2)
    assert report(several)["collisions"]["documents"] == 0
    # An uncased tokenizer makes two of them equal.
    folded = report(several, encode=lambda texts: [[ord(c) for c in text.lower()] for text in texts])
    shared = {"documents": 2, "without_own": 1, "docids": 1, "largest": 2, "rate": pytest.approx(1 / 3)}
    assert folded["collisions"] == shared
    assert folded["per_document"] == {"min": 1, "mean": 2.0, "max": 3}
    assert list(several.of(0)) == [0, 1, 2]
    assert list(several.of(1)) == [3]


def test_text_needs_a_tokenizer_that_knows_it() -> None:
    texts = Docids.of_texts("x", ["ab", "c"])
    tokens, indptr = texts.sequences(lambda some: [[ord(c) for c in text] for text in some])
    assert (tokens.tolist(), indptr.tolist()) == ([97, 98, 99], [0, 2, 3])
    assert tokens.dtype == np.int32
    with pytest.raises(ValueError, match="tokenizer"):
        texts.sequences()
    with pytest.raises(InputError, match="'c' of document 1 has no tokens"):
        texts.sequences(lambda some: [[1] if text != "c" else [] for text in some])


def test_impossible_docids_are_refused() -> None:
    with pytest.raises(ValueError, match="have no docid"):
        Docids.of_texts("x", ["a"], doc=np.asarray([0]), documents=2)
    with pytest.raises(ValueError, match="ascending"):
        Docids.of_texts("x", ["a", "b"], doc=np.asarray([1, 0]))
    with pytest.raises(ValueError, match="not empty"):
        Docids.of_texts("x", ["a", ""])
    with pytest.raises(ValueError, match="below the number of symbols"):
        Docids.of_codes("x", np.asarray([2]), np.asarray([0, 1]), [Space("a", 2)])
    with pytest.raises(ValueError, match="at least one symbol"):
        Docids.of_codes("x", np.asarray([0]), np.asarray([0, 1, 1]), [Space("a", 2)])
    assert [letters(n) for n in (0, 25, 26, 52, 702)] == ["a", "z", "aa", "ba", "aaa"]


# -- k-means and trees --------------------------------------------------------------------------------------


def test_kmeans_recovers_planted_clusters() -> None:
    vectors, labels = planted(12, 60)
    with single_thread():
        centres, error = kmeans(gather(vectors, slice(None)), 12, seed=[0], restarts=3)
        found, distance = nearest(gather(vectors, slice(None)), centres)
        sampled = cluster(vectors, np.arange(720), 12, seed=[0], sample=200, restarts=3, iterations=50)
    assert same_partition(found.numpy(), labels)
    assert same_partition(sampled, labels)
    # The error is that of the clusters' means, in float64.
    wide = vectors.astype(np.float64)
    expected = sum(((wide[labels == c] - wide[labels == c].mean(axis=0)) ** 2).sum() for c in range(12))
    assert error == pytest.approx(expected, rel=1e-4)
    assert float(distance.sum()) == pytest.approx(expected, rel=1e-3)


def test_kmeans_keeps_apart_what_is_near_and_far_from_zero() -> None:
    """Distances are differences of large squares in float32; clusters 0.5 apart at a distance of 1,000 are found."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 25)
    vectors = 1000 + 0.5 * np.eye(4, 16)[labels] + 0.01 * rng.standard_normal((100, 16))
    with single_thread():
        found = cluster(
            vectors.astype(np.float32), np.arange(100), 4, seed=[0], sample=1000, restarts=3, iterations=50
        )
    assert same_partition(found, labels)


def test_kmeans_with_fewer_points_than_clusters() -> None:
    points = torch.tensor([[0.0, 1.0]] * 5 + [[2.0, 0.0]] * 5)
    with single_thread():
        centres, error = kmeans(points, 8, seed=[0], restarts=2)
        assert sorted(centres.tolist()) == [[0.0, 1.0], [2.0, 0.0]]
        assert error == 0
        assert len(kmeans(torch.full((50, 33), 0.1), 8, seed=[0])[0]) == 1


def test_near_documents_share_a_prefix() -> None:
    """A hierarchy of 4 x 4 clusters of 6: two levels of digits are the planted ones, whoever begins."""
    rng = np.random.default_rng(3)
    outer, inner = np.divmod(rng.permutation(np.repeat(np.arange(16), 6)), 4)
    vectors = 10 * np.eye(4, 12)[outer] + np.eye(4, 12, 4)[inner] + 0.02 * rng.standard_normal((96, 12))
    inputs = BuildInputs(96, embeddings=vectors.astype(np.float32))
    docids = build("semantic", inputs, {"k": 4, "c": 6})
    digits = np.asarray(codes_of(docids))
    assert digits.shape == (96, 3)
    assert same_partition(digits[:, 0], outer)
    assert same_partition(digits[:, 0] * 4 + digits[:, 1], outer * 4 + inner)
    # Clusters are numbered by their first documents, and documents of a leaf by row.
    assert digits[0].tolist() == [0, 0, 0]
    assert docids.symbols == 6
    assert docids.names([0]) == ["<0><0><0>"]
    levels = build("semantic_2d", inputs, {"k": 6, "c": 6, "restarts": 3})
    tokens = np.asarray(codes_of(levels)[0])
    assert (tokens // 6).tolist() == list(range(len(tokens)))
    assert levels.names([0])[0].startswith("<a_0><b_0>")


def test_2d_tokens_are_level_times_k_plus_digit() -> None:
    inputs = corpus(60)
    plain = codes_of(build("semantic", inputs, {"k": 5, "c": 5}))
    levels = codes_of(build("semantic_2d", inputs, {"k": 5, "c": 5}))
    assert levels == [tuple(5 * level + digit for level, digit in enumerate(one)) for one in plain]


def test_equal_vectors_are_dealt_out() -> None:
    inputs = BuildInputs(1000, embeddings=np.full((1000, 5), 0.3, dtype=np.float32))
    docids = build("semantic", inputs, {"k": 10, "c": 10})
    assert docids.facts["dealt"] == 1000 + 1000
    assert codes_of(docids)[123] == (1, 2, 3)
    assert codes_of(build("semantic", inputs)) == [(row // 100, row % 100) for row in range(1000)]


def test_depth_is_bounded() -> None:
    """A split that takes off one document at a time would give docids as long as the corpus is large."""

    def split(rows: Any, path: tuple[int, ...]) -> Any:
        return (np.arange(len(rows)) > 0).astype(np.int64)

    tree = grow(5000, 2, 10, split, NoProgress(), "tree")
    assert tree.depth.max() <= DEEPEST + 5
    assert len(set(codes_of(Docids.of_codes("x", *tree.by_node())))) == 5000


# -- quantisers ---------------------------------------------------------------------------------------------


def test_pq_reconstructs_better_than_chance_and_opq_better_still() -> None:
    rng = np.random.default_rng(0)
    # Neighbouring dimensions move together, so pieces cut at 0, 4, 8, ... carry unequal variance.
    vectors = (rng.standard_normal((800, 16)) * np.repeat([8, 4, 1, 0.2], 4)).astype(np.float32)
    inputs = BuildInputs(800, embeddings=vectors)
    params = {"pieces": 4, "codes": 16}
    plain = build("pq", inputs, params)
    spread = ((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).mean()
    assert plain.facts["spread"] == pytest.approx(spread, rel=1e-3)
    # Codes given at random to the same centres: the mean distance to a centre is spread + the centres' own.
    assert plain.facts["error"] < 0.35 * spread
    turned = build("pq", inputs, {**params, "rotation": "opq"})
    assert turned.facts["error"] < 0.8 * plain.facts["error"]
    assert build("pq", inputs, {**params, "rotation": "random"}).facts["spread"] == plain.facts["spread"]
    shared = build("pq", inputs, {**params, "collisions": "leave"})
    assert [s.size for s in shared.spaces] == [16] * 4
    assert codes_of(plain)[0][:4] == codes_of(shared)[0]
    assert report(shared)["collisions"]["documents"] > 0 == report(plain)["collisions"]["documents"]


def test_pq_codes_of_a_piece_are_its_planted_clusters() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 4, 300), rng.integers(0, 6, 300)
    vectors = np.concatenate([5 * np.eye(4, 8)[left], 5 * np.eye(6, 8)[right]], axis=1)
    vectors += 0.05 * rng.standard_normal(vectors.shape)
    docids = build("pq", BuildInputs(300, embeddings=vectors.astype(np.float32)), {"pieces": 2, "codes": 6})
    codes = np.asarray(codes_of(docids))
    assert same_partition(codes[:, 1], right)
    # 6 centres for 4 clusters: each code stays within one of them.
    assert len(set(zip(codes[:, 0], left, strict=True))) == len(set(codes[:, 0]))


def sinkhorn_by_hand(distances: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """The steps of methods/generative.md §9, one number at a time."""
    batch, codes = distances.shape
    high, low = float(distances.max()), float(distances.min())
    q = [
        [np.exp(-((float(d) - (high + low) / 2) / ((high - low) / 2)) / epsilon) for d in row]
        for row in distances
    ]
    total = sum(sum(row) for row in q)
    q = [[v / total for v in row] for row in q]
    for _ in range(iterations):
        q = [[v / sum(row) / batch for v in row] for row in q]
        columns = [sum(q[i][j] for i in range(batch)) for j in range(codes)]
        q = [[q[i][j] / columns[j] / codes for j in range(codes)] for i in range(batch)]
    return np.asarray(q) * batch


@pytest.mark.parametrize(("epsilon", "iterations"), [(0.003, 50), (0.1, 5), (1.0, 1)])
def test_sinkhorn_equals_the_definition_and_balances(epsilon: float, iterations: int) -> None:
    distances = np.random.default_rng(0).random((30, 5)).astype(np.float32) ** 2
    found = sinkhorn(torch.from_numpy(distances), epsilon, iterations).numpy()
    np.testing.assert_allclose(
        found, sinkhorn_by_hand(distances, epsilon, iterations), rtol=1e-9, atol=1e-300
    )
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(axis=0), 30 / 5)
    if iterations == 50:
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=0.25)
        counts = np.bincount(found.argmax(axis=1), minlength=5)
        plain = np.bincount(distances.argmin(axis=1), minlength=5)
        assert counts.std() < plain.std()
        assert counts.min() >= 5
    easy = sinkhorn(torch.from_numpy(distances), 0.3, 200).numpy()
    np.testing.assert_allclose(easy.sum(axis=1), 1, atol=1e-6)
    batched = sinkhorn(torch.from_numpy(np.stack([distances, distances * 3])), epsilon, iterations)
    np.testing.assert_allclose(batched[0], found, rtol=1e-9)
    np.testing.assert_allclose(batched[1], found, rtol=1e-4)


def test_sinkhorn_divides_two_documents_at_one_code() -> None:
    """What LC-Rec's last step rests on; and large or equal distances leave no NaN."""
    distances = torch.tensor([[0.10, 0.5, 0.9, 0.7], [0.11, 0.4, 0.8, 0.9]])
    assert distances.argmin(dim=1).tolist() == [0, 0]
    assert len(set(sinkhorn(distances, 0.003, 50).argmax(dim=1).tolist())) == 2
    assert torch.isfinite(sinkhorn(torch.rand(8, 256) * 1e6, 0.003, 50)).all()
    torch.testing.assert_close(sinkhorn(torch.ones(2, 4), 0.003, 50), torch.full((2, 4), 0.25).double() * 1)


def test_rqvae_learns_and_gives_planted_clusters_their_codes() -> None:
    vectors, labels = planted(8, 40, dim=32, noise=0.02)
    params = {"levels": 3, "codes": 8, "hidden": [32], "latent": 8, "epochs": 60, "batch": 128}
    params |= {"learning_rate": 5e-3, "seed": 1}
    docids = build("rqvae", BuildInputs(320, embeddings=vectors), params)
    curve = docids.facts["curve"]
    assert len(curve) == 60
    assert curve[-1]["reconstruction"] < 0.3 * curve[0]["reconstruction"]
    codes = np.asarray(codes_of(docids))
    # First codes follow the clusters: of each cluster's documents nearly all have one, and few share it.
    first = codes[:, 0]
    majority = sum(np.bincount(first[labels == c]).max() for c in range(8))
    assert majority >= 0.95 * 320
    assert len({int(np.bincount(first[labels == c]).argmax()) for c in range(8)}) >= 6
    before, after = docids.facts["collisions"][0], min(docids.facts["collisions"])
    assert after < before
    assert report(docids)["distinct"] == 320 - after
    apart = build("rqvae", BuildInputs(320, embeddings=vectors), {**params, "collisions": "digit"})
    assert report(apart)["distinct"] == 320
    assert [one[:3] for one in codes_of(apart)] == [tuple(row) for row in codes.tolist()]


def test_rqvae_uses_the_last_level_evenly() -> None:
    """Sinkhorn in training, then on colliding groups: the last level's balance is above plain assignment's."""
    vectors, _ = planted(6, 50, dim=16, noise=0.3)
    params = {"levels": 2, "codes": 12, "hidden": [16], "latent": 6, "epochs": 20, "batch": 100}
    inputs = BuildInputs(300, embeddings=vectors)
    balanced = report(build("rqvae", inputs, params))
    plain = report(build("rqvae", inputs, {**params, "sinkhorn": 0}))
    assert balanced["levels"][1]["balance"] > plain["levels"][1]["balance"]
    assert balanced["collisions"]["rate"] < plain["collisions"]["rate"]


# -- spectral -----------------------------------------------------------------------------------------------


def blocks(sizes: list[int], seed: int, *, inside: float, between: float) -> tuple[Any, Any]:
    """(graph, block of each node): a stochastic block model in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    chance = np.where(labels[:, None] == labels, inside, between)
    upper = np.triu(rng.random(chance.shape) < chance, 1)
    return sparse.csr_array((upper + upper.T).astype(np.float64)), labels


@pytest.mark.parametrize("size", [30, 160])
def test_spectral_recovers_planted_blocks(size: int) -> None:
    """Both ways to eigenvectors: the dense one, and block Krylov above DENSE nodes."""
    graph, labels = blocks([size] * 5, 0, inside=0.5, between=0.02)
    assert (graph.shape[0] > DENSE) == (size == 160)
    with single_thread():
        assert same_partition(spectral(graph, 5, seed=[0])[0], labels)
        vectors = leading(graph, 5, [0])[0].numpy()
    scale = 1 / np.sqrt(graph.sum(axis=1))
    exact = np.linalg.eigvalsh((scale[:, None] * graph.toarray() * scale + np.eye(len(scale))) / 2)[::-1][:5]
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=1e-9)
    image = ((scale[:, None] * graph.toarray() * scale) @ vectors + vectors) / 2
    np.testing.assert_allclose(np.linalg.norm(image, axis=0), exact, atol=1e-9)


def test_repeated_eigenvalues_are_all_found() -> None:
    """40 equal cliques on a ring: eigenvalues in pairs, which a single start vector sees by rounding only."""
    cliques, each = 40, 20
    graph = np.kron(np.eye(cliques), np.ones((each, each)) - np.eye(each))
    for one in range(cliques):
        a, b = one * each, (one + 1) % cliques * each + 1
        graph[a, b] = graph[b, a] = 1
    with single_thread():
        labels, residual = spectral(sparse.csr_array(graph), cliques, seed=[0])
    assert residual < 1e-5
    assert same_partition(labels, np.repeat(np.arange(cliques), each))


def test_cluster_qr_agrees_with_scikit_learn() -> None:
    reference = pytest.importorskip("sklearn.cluster")
    graph, _ = blocks([25, 40, 15, 30], 2, inside=0.4, between=0.08)
    model = reference.SpectralClustering(
        4, affinity="precomputed", assign_labels="cluster_qr", random_state=0
    )
    expected = model.fit(graph.toarray()).labels_
    with single_thread():
        found = cluster_qr(leading(graph, 4, [0])[0])
    # scikit-learn scales eigenvectors by degree, so nodes between two blocks may differ.
    agree = max(np.bincount(found * 4 + expected, minlength=16).reshape(4, 4).max(axis=1).sum(), 0)
    assert agree >= 0.97 * len(found)


def test_cluster_qr_knows_no_signs_and_rotations() -> None:
    graph, _ = blocks([25, 40, 15, 30], 4, inside=0.4, between=0.05)
    with single_thread():
        vectors = leading(graph, 4, [0])[0]
        turn = torch.linalg.qr(torch.from_numpy(np.random.default_rng(0).standard_normal((4, 4))))[0]
        assert same_partition(cluster_qr(vectors), cluster_qr(vectors @ turn))
        assert same_partition(cluster_qr(vectors), cluster_qr(-vectors))


def test_components_and_isolated_nodes() -> None:
    graph, labels = blocks([12, 9, 6, 5], 0, inside=1.0, between=0.0)
    whole = sparse.block_diag([graph, sparse.csr_array((3, 3))], format="csr")
    planted_labels = np.concatenate([labels, [9, 9, 9]])
    with single_thread():
        assert same_partition(spectral(whole, 5, seed=[0])[0], planted_labels)
        # Room for two besides the rest: the largest component, then the others beside it, evenly.
        few, _ = spectral(whole, 3, seed=[0])
        assert sorted(np.bincount(few).tolist()) == [3, 15, 17]
        assert len({int(few[np.flatnonzero(labels == c)[0]]) for c in range(4)}) == 2
        # Room for more: a component is divided.
        assert len(set(spectral(whole, 7, seed=[0])[0].tolist())) == 7
        assert set(spectral(sparse.csr_array((4, 4)), 3, seed=[0])[0].tolist()) == {0}


def test_collaborative_docids_follow_co_occurrence() -> None:
    """Histories within 6 blocks of 15 documents; 10 documents that nobody took."""
    rng = np.random.default_rng(0)
    members = rng.permutation(100)
    block = np.full(100, 9)
    histories = []
    for number, rows in enumerate(np.split(members[:90], 6)):
        block[rows] = number
        histories += [rng.choice(rows, 5, replace=False).tolist() for _ in range(60)]
    histories += rng.integers(0, 90, (40, 2)).tolist()
    histories = [[row for row in one if block[row] != 9] for one in histories]
    inputs = BuildInputs(100, interactions=Interactions.of(histories, "train"))
    docids = build("collaborative", inputs, {"clusters": 7, "leaf": 15})
    codes = codes_of(docids)
    assert same_partition([one[0] for one in codes], block)
    assert docids.facts["isolated"] == 10
    # The rest cluster is the last, and the number within a leaf has symbols of its own.
    assert {one[0] for one, b in zip(codes, block, strict=True) if b == 9} == {6}
    assert [space.size for space in docids.spaces] == [7, 15]
    assert len({one[1] for one in codes}) == 15
    deeper = build("collaborative", inputs, {"clusters": 7, "leaf": 5})
    assert report(deeper)["distinct"] == 100
    named = deeper.names()
    # A cluster's symbol is its own: below different parents no two are equal.
    parents: dict[str, str] = {}
    for name, one in zip(named, codes_of(deeper), strict=True):
        parts = name.strip("<>").split("><")
        assert len(parts) == len(one) == 3
        assert parents.setdefault(parts[1], parts[0]) == parts[0]


def test_co_occurrence_counts_pairs_of_a_history() -> None:
    data = Interactions.of([[0, 1, 2], [], [1, 0], [2, 2], [3]], "train")
    assert co_occurrence(data, 4).toarray().tolist() == [
        [0, 2, 1, 0],
        [2, 0, 1, 0],
        [1, 1, 0, 0],
        [0, 0, 0, 0],
    ]
    assert co_occurrence(data, 4, window=1).toarray()[0].tolist() == [0, 2, 0, 0]
    assert co_occurrence(Interactions.of([], "train"), 2).nnz == 0
    pairs = Interactions.of_pairs(np.asarray([[0, 1], [1, 3]]), "train")
    assert co_occurrence(pairs, 4).toarray()[1].tolist() == [1, 0, 0, 1]


# -- hybrid, numbers, texts ---------------------------------------------------------------------------------


def test_hybrid_joins_codes() -> None:
    inputs = corpus(30)
    parts = [{"type": "semantic", "params": {"k": 3, "c": 4}}, {"type": "atomic"}]
    first = build("semantic", inputs, {"k": 3, "c": 4})
    both = build("hybrid", inputs, {"parts": parts})
    assert codes_of(both) == [(*one, first.symbols + row) for row, one in enumerate(codes_of(first))]
    short = build("hybrid", inputs, {"parts": parts, "drop_last": True})
    assert [len(one) for one in codes_of(short)] == [len(one) for one in codes_of(first)]
    assert len(set(codes_of(short))) == 30
    twice = build("hybrid", inputs, {"parts": [{"type": "atomic"}, {"type": "atomic"}]})
    assert twice.names([3]) == ["<d_3><a_3>"]
    # The symbols that counted within leaves are gone with them.
    cid = {"type": "collaborative", "params": {"clusters": 3, "leaf": 4}}
    kept = build("hybrid", inputs, {"parts": [cid, {"type": "atomic"}]})
    dropped = build("hybrid", inputs, {"parts": [cid, {"type": "atomic"}], "drop_last": True})
    assert kept.symbols - dropped.symbols == build("collaborative", inputs, cid["params"]).spaces[-1].size
    texts = build("hybrid", inputs, {"parts": [{"type": "title"}, {"type": "naive"}], "separator": " #"})
    assert texts.names([0])[0].endswith(" #0")
    with pytest.raises(InputError, match="codes or texts"):
        build("hybrid", inputs, {"parts": [{"type": "atomic"}, {"type": "naive"}]})
    with pytest.raises(InputError, match="several docids"):
        build("hybrid", inputs, {"parts": [{"type": "ngram", "params": {"n": 1}}, {"type": "naive"}]})


def test_numbers() -> None:
    inputs = corpus(12)
    assert build("atomic", inputs).names([11]) == ["<d_11>"]
    assert build("naive", inputs, {"start": 5}).names([0, 11]) == ["5", "16"]
    assert build("naive", inputs, {"of": "id"}).names([3]) == ["d3"]
    found = build("random", inputs).names()
    assert {len(name) for name in found} == {3}
    assert build("random", inputs, {"seed": 1}).names() != found
    with pytest.raises(InputError, match="of 1 digits"):
        build("random", inputs, {"digits": 1})
    assert build("sequential", inputs, {"order": "corpus"}).names([0, 11]) == ["1001", "1012"]


@pytest.mark.parametrize(
    ("histories", "expected"),
    [
        ("original", {4: 1001, 2: 1002, 0: 1003, 1: 1004, 3: 1005}),
        ("short_to_long", {0: 1001, 4: 1002, 2: 1003, 1: 1004, 3: 1005}),
        ("long_to_short", {4: 1001, 2: 1002, 0: 1003, 1: 1004, 3: 1005}),
    ],
)
def test_sequential_numbers_follow_the_walk(histories: str, expected: dict[int, int]) -> None:
    data = Interactions.of([[4, 2, 4], [0]], "train")
    names = build("sequential", BuildInputs(5, interactions=data), {"histories": histories}).names()
    assert names == [str(expected[row]) for row in range(5)]


def test_titles_are_unique_in_each_way() -> None:
    records = Records.from_lists(
        ["a", "b", "c", "d", "e", "f"],
        ["one two three", "four five", "", "x", "y z", ""],
        ["Jaguar", "Jaguar", " Jaguar \n(2) ", "", None, "jaguar"],
    )
    inputs = BuildInputs(6, records)

    def names(**params: Any) -> list[str]:
        return build("title", inputs, params).names()

    assert names() == ["Jaguar", "Jaguar (3)", "Jaguar (2)", "x", "y z", "jaguar"]
    assert names(casefold=True)[5] == "jaguar (4)"
    assert names(disambiguate="id")[:3] == ["Jaguar (a)", "Jaguar (b)", "Jaguar (2)"]
    assert names(disambiguate="words", words=2)[:2] == ["Jaguar: one two", "Jaguar: four five"]
    assert names(disambiguate="leave")[:2] == ["Jaguar", "Jaguar"]
    assert names(missing="id")[3:5] == ["d", "e"]
    assert names(cut=1)[:3] == ["Jaguar", "Jaguar (2)", "Jaguar (3)"]
    with pytest.raises(InputError, match="2 documents have no title, the first is 'd'"):
        names(missing="error")
    bare = BuildInputs(2, Records.from_lists(["a", "b"], ["same words", "same words"]))
    assert build("title", bare, {"missing": "words"}).names() == ["same words", "same words (2)"]


@given(
    st.lists(st.sampled_from(["a", "a (2)", "a (2) (2)", "A", "", "b"]), min_size=1, max_size=12),
    st.booleans(),
)
def test_numbered_titles_never_collide(titles: list[str], casefold: bool) -> None:
    records = Records.from_lists([str(i) for i in range(len(titles))], titles, titles)
    names = build("title", BuildInputs(len(titles), records), {"casefold": casefold}).names()
    assert len({name.casefold() if casefold else name for name in names}) == len(titles)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://www.example.org/Big%20red/fox_1.html?x=1#top", "example.org Big red fox 1"),
        ("http://user@example.org", "example.org"),
        ("library/os.path.rst", "library os.path"),
        ("/a//b/", "a b"),
        ("http://[broken/x", "http: [broken x"),
        (".hidden", ".hidden"),
        ("", ""),
    ],
)
def test_url_words(url: str, words: str) -> None:
    assert url_words(url, host=True) == words


def test_urls_come_from_columns_and_ids() -> None:
    records = Records.from_lists(["a/x.html", "b/x.html", "b_x"], ["", "", ""])
    inputs = BuildInputs(3, records)
    assert build("url", inputs, {"field": "id"}).names() == ["a x", "b x", "b x (2)"]
    with pytest.raises(InputError, match="no document has the field 'url'; columns: id, text"):
        build("url", inputs)


@pytest.mark.parametrize("name", ["title", "url"])
def test_a_field_that_no_document_has_is_refused(name: str) -> None:
    metadata = ['{"heading": "one", "year": 1}', None, '{"heading": "", "link": "x"}']
    table = pa.table({"id": ["a", "b", "c"], "text": ["x y", "z", "w"], "metadata": metadata})
    inputs = BuildInputs(3, Records(table))
    with pytest.raises(InputError) as caught:
        build(name, inputs, {"field": "headings", "missing": "words"})
    assert str(caught.value) == (
        f"docids '{name}': no document has the field 'headings'; columns: id, text; metadata keys: heading, link, "
        "year (did you mean 'heading'?)"
    )
    with pytest.raises(InputError, match=r"\(name one of these\)"):
        build(name, inputs, {"field": "nosuch"})
    with pytest.raises(InputError, match="or say `missing: words` to use first words"):
        build(name, inputs)
    # Said in so many words, or a field that some documents lack: counted.
    for params, names in (({}, ["x y", "z", "w"]), ({"field": "heading"}, ["one", "z", "w"])):
        made = build(name, inputs, {"missing": "words", **params})
        assert made.names() == names
        assert made.facts["missing"] == sum(a != "one" for a in names)
    with pytest.raises(InputError, match="2 documents have no"):
        build(name, inputs, {"field": "heading", "missing": "error"})


def test_ngrams_are_the_rare_and_frequent_ones() -> None:
    common = "the common words of all"
    texts = [
        f"{common} red fox red fox {common}",
        f"{common} blue whale {common}",
        "",
        "Lonely",
        *[common] * 4,
    ]
    inputs = BuildInputs(8, Records.from_lists(list("abcdefgh"), texts))
    docids = build("ngram", inputs, {"n": 2, "most": 2})
    assert docids.names(docids.of(0))[0] == "red fox"
    assert "blue whale" in docids.names(docids.of(1))
    assert docids.names(docids.of(2)) == ["c"]
    assert docids.names(docids.of(3)) == ["lonely"]
    assert len(docids.of(0)) == 2
    # Chosen n-grams of a document do not overlap.
    for row in (0, 1):
        words = [name.split() for name in docids.names(docids.of(row))]
        assert all(a[-1] != b[0] or a[0] == b[-1] for a in words for b in words if a is not b)


def test_descriptions_are_given_queries_and_may_repeat() -> None:
    records = Records.from_lists(list("abcd"), ["text a", "text b", "text c words", ""], [""] * 4)
    queries = DocQueries.of(
        [2, 0, 1, 0, 0], [" what  is it ", "who", "what is it", "who", "where"], "generated"
    )
    inputs = BuildInputs(4, records, queries=queries)
    docids = build("description", inputs)
    assert docids.names() == ["who", "what is it", "what is it", "d"]
    assert docids.facts == {"queries": "generated", "missing": 1, "disambiguated": 0}
    shared = {"documents": 2, "without_own": 2, "docids": 1, "largest": 2, "rate": 0.25}
    assert report(docids)["collisions"] == shared
    several = build("description", inputs, {"per_document": 5})
    assert several.names(several.of(0)) == ["who", "where"]
    assert build("description", inputs, {"repeated": "number"}).names([2]) == ["what is it (2)"]
    with pytest.raises(InputError, match="1 documents have no query"):
        build("description", inputs, {"missing": "error"})
    with pytest.raises(InputError, match="one query a document"):
        make("description", {"repeated": "number", "per_document": 2})
