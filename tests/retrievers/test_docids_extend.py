"""A corpus grows: known docids keep their names, added documents get those that the method would give."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench.collection import Records
from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers.generative.docids import (
    BuildInputs,
    Docids,
    DocQueries,
    Interactions,
    build,
    extend,
    known,
)

RQVAE = {"levels": 2, "codes": 4, "hidden": [8], "latent": 3, "epochs": 2, "batch": 4}
PQ = {"pieces": 2, "codes": 4}
#: Builders with parameters small enough for a property test; what a builder promises besides is in UNIQUE.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("atomic", {}),
    ("naive", {"start": 7}),
    ("naive", {"of": "id"}),
    ("random", {"digits": 3}),
    ("sequential", {"order": "corpus"}),
    ("sequential", {}),
    ("title", {}),
    ("title", {"disambiguate": "id", "casefold": True}),
    ("title", {"disambiguate": "words", "words": 2}),
    ("title", {"disambiguate": "leave"}),
    ("url", {"missing": "words"}),
    ("ngram", {"n": 2, "slots": 4096}),
    ("description", {}),
    ("description", {"repeated": "number"}),
    ("description", {"per_document": 2}),
    ("semantic", {"k": 3, "c": 2}),
    ("semantic_2d", {"k": 3, "c": 3}),
    ("pq", PQ),
    ("pq", {**PQ, "rotation": "opq", "rounds": 2}),
    ("pq", {**PQ, "collisions": "leave"}),
    ("rqvae", {**RQVAE, "collisions": "digit"}),
    ("rqvae", RQVAE),
    ("rqvae", {**RQVAE, "sinkhorn": 0}),
    ("collaborative", {"clusters": 3, "leaf": 2}),
    ("hybrid", {"parts": [{"type": "collaborative", "params": {"clusters": 2, "leaf": 3}}, {"type": "atomic"}]}),
    ("hybrid", {"parts": [{"type": "pq", "params": PQ}, {"type": "semantic_2d", "params": {"k": 2, "c": 2}}]}),
    ("hybrid", {"drop_last": True, "parts": [{"type": "semantic", "params": {"k": 3, "c": 4}}, {"type": "atomic"}]}),
    ("hybrid", {"parts": [{"type": "title"}, {"type": "naive"}], "separator": " #"}),
]  # fmt: skip
NAMES = [f"{name}-{number}" for number, (name, _) in enumerate(CASES)]
SHARED = ("description", "ngram")


def unique(name: str, params: dict[str, Any]) -> bool:
    """Whether these docids promise every document its own."""
    if name == "description":
        return params.get("repeated") == "number"
    leaves = params.get("disambiguate") == "leave" or params.get("collisions") == "leave"
    return name != "ngram" and not leaves and (name != "rqvae" or params.get("collisions") == "digit")


def whole(n: int, seed: int, *, equal: bool = False, dim: int = 8) -> dict[str, Any]:
    """A corpus of n documents with repeated and empty titles, near and equal vectors, histories, queries."""
    rng = np.random.default_rng(seed)
    words = ["wing", "flow", "boundary", "layer", "heat", "shock", "plate", "jet"]
    titles = ["", "a", "a", "A", "a (2)", "b", "b (2) (2)"]
    vectors = rng.integers(-2, 3, (n, dim)).astype(np.float32)
    if equal:
        vectors[:] = vectors[0]
    asked = rng.integers(0, n, n)
    return {
        "texts": [" ".join(rng.choice(words, rng.integers(0, 9))) for _ in range(n)],
        "titles": [str(rng.choice(titles)) for _ in range(n)],
        "vectors": vectors,
        "histories": [rng.integers(0, n, rng.integers(0, 5)).tolist() for _ in range(n // 2)],
        "asked": asked.tolist(),
        "queries": [" ".join(rng.choice(words, 2)) for _ in asked],
    }


def first(parts: dict[str, Any], n: int) -> BuildInputs:
    """What was there when the corpus had n documents."""
    kept = [at for at, row in enumerate(parts["asked"]) if row < n]
    return BuildInputs(
        n,
        Records.from_lists([f"d{i}" for i in range(n)], parts["texts"][:n], parts["titles"][:n]),
        parts["vectors"][:n],
        Interactions.of([[row for row in one if row < n] for one in parts["histories"]], "train"),
        DocQueries.of([parts["asked"][at] for at in kept], [parts["queries"][at] for at in kept], "train"),
    )


def named(docids: Docids) -> list[list[str]]:
    """The names of each document's docids."""
    names = docids.names()
    return [[names[at] for at in docids.of(row)] for row in range(docids.documents)]


def codes_of(docids: Docids) -> list[tuple[int, ...]]:
    tokens, indptr = docids.sequences()
    return [tuple(tokens[a:b].tolist()) for a, b in pairwise(indptr)]


# -- every builder ------------------------------------------------------------------------------------------


def test_every_builder_is_tried() -> None:
    assert {name for name, _ in CASES} == set(known())


@pytest.mark.parametrize(("name", "params"), CASES, ids=NAMES)
@settings(max_examples=8, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 12), st.integers(0, 9), st.integers(0, 9)),
    seed=st.integers(0, 99),
    equal=st.booleans(),
)
def test_known_docids_stay_and_added_ones_are_whole(
    name: str, params: dict[str, Any], sizes: tuple[int, int, int], seed: int, equal: bool
) -> None:
    a, b, n = np.cumsum(sizes).tolist()
    parts = whole(n, seed, equal=equal)
    old = build(name, first(parts, a), params)
    made = extend(old, name, params, first(parts, n))
    made.check()
    # What was known is the same, and every document has a docid.
    assert named(made)[:a] == named(old)
    assert made.documents == n
    assert {space.name for space in old.spaces} <= {space.name for space in made.spaces}
    assert len(set(made.symbol_names())) == made.symbols
    counts = Counter(made.names())
    if unique(name, params):
        assert max(counts.values()) == 1
    # Again the same; and nothing that was known has been changed.
    again = extend(old, name, params, first(parts, n))
    assert again.content_hash == made.content_hash
    assert old.content_hash == build(name, first(parts, a), params).content_hash
    # Facts.
    step = made.facts["extensions"][-1]
    assert (step["known"], step["added"]) == (a, n - a)
    assert step["symbols"] == made.symbols - old.symbols >= 0
    if unique(name, params):
        assert step["collisions"] == 0
    # A docid goes on from another one only where this is said.
    if made.kind == "codes":
        found = codes_of(made)
        longer = {b for a in set(found) for b in set(found) if a != b and b[: len(a)] == a}
        if longer:
            continuing = step.get("continuing") or max(
                p.get("continuing", 0) for p in step.get("parts", [{}])
            )
            assert continuing > 0
    # Two steps.
    middle = extend(old, name, params, first(parts, b))
    last = extend(middle, name, params, first(parts, n))
    assert named(last)[:b] == named(middle)
    if (name, params) == ("sequential", {}):
        assert sorted(last.names()) == sorted(made.names())
    else:
        assert last.content_hash == made.content_hash
        assert set(last.state) == set(made.state)
        assert all(np.array_equal(last.state[key], made.state[key], equal_nan=last.state[key].dtype.kind == "f")
                   for key in made.state)  # fmt: skip
    assert [(one["known"], one["added"]) for one in last.facts["extensions"]] == [(a, b - a), (b, n - b)]


@pytest.mark.parametrize(("name", "params"), CASES, ids=NAMES)
def test_docids_from_files_are_extended_alike(name: str, params: dict[str, Any], tmp_path: Path) -> None:
    parts = whole(30, 5)
    old = build(name, first(parts, 12), params)
    old.save(tmp_path / "old")
    found = Docids.load(tmp_path / "old", verify=True)
    assert {key: array.tolist() for key, array in found.state.items() if array.dtype.kind != "f"} == {
        key: array.tolist() for key, array in old.state.items() if array.dtype.kind != "f"
    }
    one, two = (extend(docids, name, params, first(parts, 30)) for docids in (old, found))
    one.save(tmp_path / "one")
    two.save(tmp_path / "two")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    # What was extended, saved and loaded is extended further.
    more = whole(40, 5)
    more["texts"][:30], more["titles"][:30] = parts["texts"], parts["titles"]
    more["vectors"][:30] = parts["vectors"]
    further = extend(Docids.load(tmp_path / "one", verify=True), name, params, first(more, 40))
    assert named(further)[:30] == named(one)


def test_a_damaged_state_is_seen(tmp_path: Path) -> None:
    build("semantic", first(whole(20, 0), 20), {"k": 3, "c": 2}).save(tmp_path)
    centres = np.load(tmp_path / "state.centres.npy")
    np.save(tmp_path / "state.centres.npy", centres[::-1])
    with pytest.raises(SeekbenchError, match="damaged"):
        Docids.load(tmp_path, verify=True)
    (tmp_path / "state.centres.npy").unlink()
    with pytest.raises(SeekbenchError, match="damaged"):
        Docids.load(tmp_path)


@pytest.mark.parametrize("name", ["semantic", "semantic_2d", "pq", "rqvae", "collaborative", "hybrid"])
def test_docids_without_state_are_refused(name: str) -> None:
    parts = whole(20, 1)
    params = dict(CASES)[name]
    old = dataclasses.replace(build(name, first(parts, 10), params), state={})
    with pytest.raises(InputError, match="build the known documents' docids again"):
        extend(old, name, params, first(parts, 20))


def test_what_does_not_belong_together_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = whole(60, 1)
    parts["vectors"] = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    parts["titles"] = [f"title {row}" for row in range(60)]
    inputs, all_of_them = first(parts, 40), first(parts, 60)

    def refused(name: str, built: dict[str, Any], extended: Any, match: str, given: Any = None) -> None:
        with pytest.raises(InputError, match=match):
            extend(build(name, inputs, built), name, extended, given or all_of_them)

    with pytest.raises(InputError, match="can't be extended as 'pq'"):
        extend(build("atomic", inputs), "pq", {}, all_of_them)
    refused("atomic", {}, {}, "40 documents have docids, and the corpus has 10", first(parts, 10))
    refused("naive", {}, {"start": 3}, "document 0 has the docid '0', and its row gives '3'")
    refused("naive", {"of": "id"}, {}, "document 0 has the docid 'd0'")
    refused("sequential", {}, {"start": 5}, "number would be one of 5 to 44")
    refused("random", {}, {"digits": 7}, "would have 7 digits")
    refused("pq", PQ, {**PQ, "collisions": "leave"}, "not built with `collisions: leave`")
    refused("rqvae", RQVAE, {**RQVAE, "collisions": "digit"}, "not built with `collisions: digit`")
    # The documents in another order, or vectors of another encoder.
    titles = dict(parts, titles=parts["titles"][::-1])
    refused(
        "title", {}, {}, "document 0 has the docid 'title 0', and its title is 'title 59'", first(titles, 60)
    )
    turned = dict(parts, vectors=np.ascontiguousarray(parts["vectors"][:, ::-1]))
    for name, params in (
        ("semantic", {"k": 4, "c": 4}),
        ("semantic_2d", {"k": 4, "c": 4}),
        ("pq", {"pieces": 4, "codes": 8}),
        ("rqvae", {**RQVAE, "epochs": 20, "codes": 8}),
    ):
        refused(name, params, params, "vectors that lead elsewhere", first(turned, 60))
        short = dict(parts, vectors=parts["vectors"][:, :5])
        refused(name, params, params, "of 8 dimensions, these have 5", first(short, 60))
        refused(name, params, params, "need a vector", dataclasses.replace(all_of_them, embeddings=None))
    from seekbench.retrievers.generative.docids.extend import _EXTENDERS

    monkeypatch.delitem(_EXTENDERS, "atomic")
    refused(
        "atomic",
        {},
        {},
        "docids 'atomic' can't be extended .build them for the whole corpus, or use one of naive",
    )


def test_random_numbers_run_out() -> None:
    old = build("random", BuildInputs(9), {"digits": 1})
    assert sorted(extend(old, "random", {"digits": 1}, BuildInputs(10)).names()) == list("0123456789")
    with pytest.raises(InputError, match="11 documents have no distinct numbers of 1 digits"):
        extend(old, "random", {"digits": 1}, BuildInputs(11))


# -- planted clusters ---------------------------------------------------------------------------------------


def planted(clusters: int, known: int, added: int, dim: int = 24) -> tuple[Any, Any]:
    """(vectors, label of each), all clusters among the first `known` rows."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(known) % clusters, rng.integers(0, clusters, added)])
    centres = rng.standard_normal((clusters, dim))
    vectors = centres[labels] + 0.05 * rng.standard_normal((len(labels), dim))
    return vectors.astype(np.float32), labels


@pytest.mark.parametrize("name", ["semantic", "semantic_2d", "pq", "rqvae"])
def test_added_documents_get_their_clusters_prefix(name: str) -> None:
    vectors, labels = planted(6, 90, 60)
    params: dict[str, Any] = {
        "semantic": {"k": 6, "c": 20},
        "semantic_2d": {"k": 6, "c": 20},
        "pq": {"pieces": 2, "codes": 6},
        "rqvae": {"levels": 2, "codes": 6, "hidden": [32], "latent": 8, "epochs": 60, "batch": 90,
                  "learning_rate": 5e-3},
    }[name]  # fmt: skip
    old = build(name, BuildInputs(90, embeddings=vectors[:90]), params)
    made = extend(old, name, params, BuildInputs(150, embeddings=vectors))
    codes = codes_of(made)
    # All codes but the last digit for trees and pq; the first code of rqvae.
    prefix = [one[:2] if name == "pq" else one[:1] for one in codes]
    of: dict[int, Counter[tuple[int, ...]]] = {}
    for label, one in zip(labels[:90], prefix[:90], strict=True):
        of.setdefault(int(label), Counter())[one] += 1
    if name != "rqvae":
        assert all(len(found) == 1 for found in of.values())
    right = [one in of[int(label)] for label, one in zip(labels[90:], prefix[90:], strict=True)]
    assert all(right)
    step = made.facts["extensions"][0]
    if name != "rqvae":
        assert step["in_known_leaves"] == 60
        assert len(set(codes)) == 150
        # Within each leaf they go on counting.
        for label in range(6):
            rows = np.flatnonzero(labels == label)
            counted = [codes[row][2 if name == "pq" else 1 :] for row in rows]
            assert sorted(set(counted)) == counted


def test_a_full_leaf_goes_on_counting_with_new_symbols() -> None:
    vectors, labels = planted(3, 12, 30)
    inputs = BuildInputs(42, embeddings=vectors)
    for name, space, begins in (("semantic", 4, "<"), ("semantic_2d", 8, "<b_")):
        old = build(name, BuildInputs(12, embeddings=vectors[:12]), {"k": 3, "c": 4})
        assert old.symbols == space
        made = extend(old, name, {"k": 3, "c": 4}, inputs)
        largest = int(np.bincount(labels).max())
        step = made.facts["extensions"][0]
        assert step["largest_leaf"] == largest
        assert step["symbols"] == made.symbols - space == largest - 4
        assert f"{begins}{largest - 1}>" in made.symbol_names()
    # The space of the first level has kept its size, and the second one's symbols still begin after it.
    assert [one.size for one in made.spaces] == [4, largest]


def test_dealt_nodes_stay_even() -> None:
    """Equal vectors were divided by row; further ones go where the fewest documents are."""
    vectors = np.full((100, 4), 0.3, dtype=np.float32)
    params = {"k": 5, "c": 10}
    old = build("semantic", BuildInputs(50, embeddings=vectors[:50]), params)
    made = extend(old, "semantic", params, BuildInputs(100, embeddings=vectors))
    assert Counter(one[0] for one in codes_of(made)) == dict.fromkeys(range(5), 20)


def test_deep_trees_place_by_each_levels_centres() -> None:
    """A hierarchy of 4 x 4 clusters: every document that is added gets both digits of its cluster."""
    rng = np.random.default_rng(3)
    outer, inner = np.divmod(np.concatenate([np.arange(96) % 16, rng.integers(0, 16, 64)]), 4)
    vectors = 10 * np.eye(4, 12)[outer] + np.eye(4, 12, 4)[inner] + 0.02 * rng.standard_normal((160, 12))
    vectors = vectors.astype(np.float32)
    params = {"k": 4, "c": 6}
    old = build("semantic", BuildInputs(96, embeddings=vectors[:96]), params)
    made = extend(old, "semantic", params, BuildInputs(160, embeddings=vectors))
    prefix = {
        (int(a), int(b)): one[:2] for a, b, one in zip(outer[:96], inner[:96], codes_of(old), strict=True)
    }
    assert len(set(prefix.values())) == 16
    for a, b, one in zip(outer, inner, codes_of(made), strict=True):
        assert one[:2] == prefix[int(a), int(b)]


def test_rqvae_gives_the_nearest_free_last_code() -> None:
    """A document of a known one's vector keeps all codes but the last; equal ones differ while codes are left."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 8)).astype(np.float32)
    again = np.concatenate([vectors, np.repeat(vectors[7:8], 6, axis=0)])
    params = {**RQVAE, "codes": 8, "epochs": 10, "batch": 40}
    old = build("rqvae", BuildInputs(40, embeddings=vectors), params)
    made = extend(old, "rqvae", params, BuildInputs(46, embeddings=again))
    codes = codes_of(made)
    assert {one[0] for one in codes[40:]} == {codes[7][0]}
    free = 8 - len({one for one in codes[:40] if one[0] == codes[7][0]})
    step = made.facts["extensions"][0]
    assert step["collisions"] == max(0, 6 - free)
    assert step["moved"] == min(6, free)
    plain = {**params, "sinkhorn": 0}
    old = build("rqvae", BuildInputs(40, embeddings=vectors), plain)
    made = extend(old, "rqvae", plain, BuildInputs(46, embeddings=again))
    assert set(codes_of(made)[40:]) == {codes_of(old)[7]}
    assert made.facts["extensions"][0]["collisions"] == 6


def test_codes_of_vectors_that_were_known_are_found_again() -> None:
    """Extension computes otherwise (float64, numpy) than the builders (float32, torch), and agrees with them."""
    vectors = np.random.default_rng(1).standard_normal((200, 16)).astype(np.float32)
    twice = BuildInputs(400, embeddings=np.concatenate([vectors, vectors]))
    for name, params, kept in (
        ("pq", {"pieces": 3, "codes": 8, "collisions": "leave"}, 3),
        ("pq", {"pieces": 3, "codes": 8, "collisions": "leave", "rotation": "opq"}, 3),
        ("rqvae", {"levels": 3, "codes": 8, "hidden": [16], "latent": 6, "epochs": 5, "sinkhorn": 0}, 3),
        ("semantic", {"k": 4, "c": 3}, None),
    ):
        old = build(name, BuildInputs(200, embeddings=vectors), params)
        codes = codes_of(extend(old, name, params, twice))
        same = [a[: kept or -1] == b[: kept or -1] for a, b in zip(codes[:200], codes[200:], strict=True)]
        assert all(same), f"{name}: {same.count(False)}"


# -- digits -------------------------------------------------------------------------------------------------


def test_the_first_digit_grows_where_there_are_digits() -> None:
    vectors = np.repeat(np.eye(2, 4, dtype=np.float32), 3, axis=0)
    params = {"pieces": 1, "codes": 2}
    old = build("pq", BuildInputs(6, embeddings=vectors), params)
    # Three of each: two digits of base 2.
    assert [space.size for space in old.spaces] == [2, 2, 2]
    more = np.concatenate([vectors, np.repeat(vectors[:1], 4, axis=0)])
    made = extend(old, "pq", params, BuildInputs(10, embeddings=more))
    assert [name[5:] for name in made.names([0, 1, 2, 6, 7, 8, 9])] == [
        f"<b_{place // 2}><c_{place % 2}>" for place in range(7)
    ]
    assert [space.size for space in made.spaces] == [2, 4, 2]
    assert made.facts["extensions"][0]["continuing"] == 0


def test_added_documents_get_a_digit_that_known_ones_lack() -> None:
    vectors = np.eye(3, 4, dtype=np.float32)
    params = {"pieces": 1, "codes": 3}
    old = build("pq", BuildInputs(3, embeddings=vectors), params)
    assert [space.size for space in old.spaces] == [3]
    more = np.concatenate([vectors, vectors[[1, 1, 2]]])
    made = extend(old, "pq", params, BuildInputs(6, embeddings=more))
    names = made.names()
    assert names[3:] == [f"{names[1]}<b_0>", f"{names[1]}<b_1>", f"{names[2]}<b_0>"]
    step = made.facts["extensions"][0]
    assert (step["continuing"], step["in_known_leaves"], step["collisions"], step["symbols"]) == (3, 3, 0, 2)
    # As a part whose last code is left out this can't be told apart.
    parts = {"parts": [{"type": "pq", "params": params}, {"type": "atomic"}]}
    inputs = BuildInputs(6, embeddings=more)
    old = build("hybrid", BuildInputs(3, embeddings=vectors), parts)
    both = extend(old, "hybrid", parts, inputs)
    assert both.names([3]) == [f"{names[1]}<0.b_0><d_3>"]
    assert both.facts["extensions"][0]["parts"][0]["continuing"] == 3
    short = {**parts, "parts": [parts["parts"][0], *parts["parts"]], "drop_last": True}
    old = build("hybrid", BuildInputs(3, embeddings=vectors), short)
    with pytest.raises(InputError, match="drop_last"):
        extend(old, "hybrid", short, inputs)


# -- collaborative ------------------------------------------------------------------------------------------


def histories(block: Any, rng: Any, each: int) -> list[list[int]]:
    """Histories within blocks, none of block 9."""
    found = []
    for number in sorted(set(block.tolist()) - {9}):
        rows = np.flatnonzero(block == number)
        found += [rng.choice(rows, 5, replace=False).tolist() for _ in range(each)]
    return found


def test_added_documents_join_the_cluster_they_occur_with() -> None:
    rng = np.random.default_rng(0)
    block = rng.permutation(np.concatenate([np.repeat(np.arange(6), 15), np.repeat(9, 10)]))
    whole = np.concatenate([block, rng.integers(0, 6, 30), np.repeat(9, 5)])
    params = {"clusters": 7, "leaf": 15}
    data = Interactions.of(histories(block, rng, 60), "train")
    old = build("collaborative", BuildInputs(100, interactions=data), params)
    data = Interactions.of(histories(whole, rng, 120), "train")
    made = extend(old, "collaborative", params, BuildInputs(135, interactions=data))
    first_codes = np.asarray([one[0] for one in codes_of(made)])
    for number in (0, 1, 2, 3, 4, 5, 9):
        assert len(set(first_codes[whole == number])) == 1
    assert set(first_codes[whole == 9]) == {6}
    step = made.facts["extensions"][0]
    assert (step["without_co_occurrence"], step["clusters"], step["in_known_leaves"]) == (5, 0, 35)


def test_a_rest_cluster_is_made_where_there_is_none() -> None:
    rng = np.random.default_rng(0)
    block = rng.permutation(np.repeat(np.arange(3), 10))
    data = Interactions.of(histories(block, rng, 60), "train")
    params = {"clusters": 3, "leaf": 10}
    old = build("collaborative", BuildInputs(30, interactions=data), params)
    assert [space.size for space in old.spaces] == [3, 10]
    # 30 and 31 occur nowhere, 32 with 31 alone.
    more = Interactions(
        np.concatenate([data.rows, [31, 32]]), np.concatenate([data.indptr, [len(data.rows) + 2]]), "train"
    )
    made = extend(old, "collaborative", params, BuildInputs(33, interactions=more))
    assert made.names()[:30] == old.names()
    assert made.names([30, 31, 32]) == ["<a_3><b_0>", "<a_3><b_1>", "<a_3><b_2>"]
    step = made.facts["extensions"][0]
    assert (step["clusters"], step["symbols"], step["in_known_leaves"]) == (1, 1, 0)
    # 31 has no co-occurrence with documents before it: the later 32 has no say.
    assert step["without_co_occurrence"] == 2


# -- numbers and texts --------------------------------------------------------------------------------------


def test_numbers_go_on() -> None:
    old = build("atomic", BuildInputs(3))
    assert extend(old, "atomic", {}, BuildInputs(5)).names() == [f"<d_{row}>" for row in range(5)]
    data = Interactions.of([[2, 0], [4, 1, 3]], "train")
    old = build("sequential", BuildInputs(3, interactions=Interactions.of([[2, 0]], "train")))
    made = extend(old, "sequential", {}, BuildInputs(5, interactions=data))
    # Those that are added in the order of the walk: 4, then 3.
    assert made.names() == ["1002", "1003", "1001", "1005", "1004"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["Jaguar (3)", "Jaguar (2) (2)", "lynx", "Lynx", "lynx (2)", "jaguar"]),
        ({"casefold": True}, ["Jaguar (3)", "Jaguar (2) (2)", "lynx", "Lynx (2)", "lynx (3)", "jaguar (4)"]),
        ({"disambiguate": "id"}, ["Jaguar (d3)", "Jaguar (2)", "lynx", "Lynx", "lynx (d7)", "jaguar"]),
        ({"disambiguate": "words", "words": 2}, ["Jaguar: t3 x", "Jaguar (2)", "lynx", "Lynx", "lynx: t7 x", "jaguar"]),
        ({"disambiguate": "leave"}, ["Jaguar", "Jaguar (2)", "lynx", "Lynx", "lynx", "jaguar"]),
    ],
)  # fmt: skip
def test_titles_are_told_from_known_ones(params: dict[str, Any], expected: list[str]) -> None:
    titles = ["Jaguar", "Jaguar", "puma", "Jaguar", "Jaguar (2)", "lynx", "Lynx", "lynx", "jaguar"]
    records = Records.from_lists([f"d{row}" for row in range(9)], [f"t{row} x y" for row in range(9)], titles)
    old = build("title", BuildInputs(3, records.subset(np.arange(3))), params)
    made = extend(old, "title", params, BuildInputs(9, records))
    assert made.names()[:3] == old.names()
    assert made.names()[3:] == expected


def test_ngrams_are_rare_among_the_documents_so_far() -> None:
    common = "the common words of all"
    texts = [*[common] * 5, f"{common} red fox red fox {common}", f"{common} red fox blue whale"]
    records = Records.from_lists(list("abcdefg"), texts)
    params = {"n": 2, "most": 1}
    old = build("ngram", BuildInputs(5, records.subset(np.arange(5))), params)
    made = extend(old, "ngram", params, BuildInputs(7, records))
    assert named(made)[5:] == [["red fox"], ["blue whale"]]


def test_descriptions_of_added_documents_need_their_queries_only() -> None:
    records = Records.from_lists(list("abc"), ["x", "y", "z words"], [""] * 3)
    queries = DocQueries.of([0], ["what"], "train")
    old = build("description", BuildInputs(1, records.subset(np.arange(1)), queries=queries))
    inputs = BuildInputs(3, records, queries=DocQueries.of([1], ["what"], "generated"))
    made = extend(old, "description", {}, inputs)
    assert made.names() == ["what", "what", "z words"]
    step = made.facts["extensions"][0]
    assert (step["missing"], step["collisions"], step["queries"]) == (1, 1, "generated")
    assert extend(old, "description", {"repeated": "number"}, inputs).names()[1] == "what (2)"
