"""Constrained decoding: equal to scoring every docid, to a beam search written plainly, and to transformers'."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seekbench.errors import InputError
from seekbench.retrievers.generative.decoding import (
    Decoded,
    Decoder,
    ListDecoder,
    _logsumexp,
    _top,
)
from seekbench.retrievers.generative.steppers import (
    CausalStepper,
    ModuleStepper,
    Seq2SeqStepper,
    T5Stepper,
    stepper_of,
)
from seekbench.retrievers.generative.trie import DocidTrie, PositionMask

END = 1
VOCABULARY = 9
DOCIDS = st.lists(st.lists(st.integers(2, VOCABULARY - 1), min_size=1, max_size=4), min_size=1, max_size=14)
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Table:
    """A model whose logits are looked up by (query, position, last token). Small integers give ties galore."""

    vocabulary = VOCABULARY
    start_token = 0

    def __init__(
        self, seed: int, *, whole: bool, positions: int = 40, columns: torch.Tensor | None = None
    ) -> None:
        draw = torch.Generator().manual_seed(seed)
        size = (3, positions, VOCABULARY, VOCABULARY)
        self.logits = torch.randint(0, 2, size, generator=draw).float()
        if not whole:
            self.logits = torch.randn(size, generator=draw)
        self.columns = columns
        self.seed, self.whole, self.positions = seed, whole, positions

    def encode(self, batch: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(batch)[:, None, None].float(), torch.ones(len(batch), 1)

    def begin(self, memory: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
        return {"query": memory[:, 0, 0].long(), "at": (torch.zeros(len(memory), dtype=torch.int64), [None])}

    def decode_step(self, tokens: torch.Tensor, cache: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        at = cache["at"][0]
        logits = self.logits[cache["query"] % 3, at, tokens]
        if self.columns is not None:
            logits = logits[:, self.columns]
        return logits, {"query": cache["query"], "at": (at + 1, [None])}

    def narrow(self, tokens: torch.Tensor) -> Table:
        return Table(self.seed, whole=self.whole, positions=self.positions, columns=tokens)


def lists_of(trie: DocidTrie) -> list[tuple[int, ...]]:
    return [tuple(int(t) for t in row if t >= 0) for row in trie.sequences()]


def by_rule(trie: DocidTrie, scores: np.ndarray) -> list[int]:
    """Rows by score descending, sequence, row."""
    leaf = np.empty(trie.docids, dtype=np.int64)
    leaf[trie.leaf_rows] = np.repeat(np.arange(trie.leaves), np.diff(trie.leaf_indptr))
    return np.lexsort((np.arange(trie.docids), leaf, -scores)).tolist()


def hits(decoded: Decoded, query: int) -> tuple[list[int], list[float]]:
    rows = decoded.rows[query]
    return rows[rows >= 0].tolist(), decoded.scores[query][rows >= 0].tolist()


# -- the trie -----------------------------------------------------------------------------------------------


@QUICK
@given(DOCIDS, st.sampled_from([None, END]))
def test_trie_equals_a_dictionary(docids: list[list[int]], end: int | None) -> None:
    trie = DocidTrie.from_lists(docids, end=end)
    plain: dict[tuple[int, ...], list[int]] = {}
    children: dict[tuple[int, ...], set[int]] = {}
    for row, docid in enumerate(docids):
        whole = tuple(docid) + (() if end is None else (end,))
        plain.setdefault(whole, []).append(row)
        for i in range(len(whole)):
            children.setdefault(whole[:i], set()).add(whole[i])
            children.setdefault(whole[: i + 1], set())
    assert trie.nodes == len(children)
    assert trie.docids == len(docids)
    assert trie.depth == max(map(len, plain))
    assert trie.tokens.tolist() == sorted({t for d in plain for t in d})
    assert lists_of(trie) == sorted(plain)
    assert [trie.rows_of(i).tolist() for i in range(trie.leaves)] == [plain[d] for d in sorted(plain)]
    paths = list(children)
    padded = np.full((len(paths), trie.depth + 1), -1)
    for i, path in enumerate(paths):
        padded[i, : len(path)] = path
    nodes = trie.walk(padded)
    assert sorted(nodes.tolist()) == list(range(trie.nodes))
    tokens, indptr = trie.allowed(nodes)
    for i, path in enumerate(paths):
        assert tokens[indptr[i] : indptr[i + 1]].tolist() == sorted(children[path])
        below = [n for n, d in enumerate(sorted(plain)) if d[: len(path)] == path]
        assert below == list(
            range(trie.leaf_first[nodes[i]], trie.leaf_first[nodes[i]] + trie.leaf_count[nodes[i]])
        )
    assert trie.is_leaf(nodes).tolist() == [p in plain for p in paths]
    assert trie.is_leaf([-1]).tolist() == [False]
    for token in range(VOCABULARY + 1):
        went = trie.step(nodes, np.full(len(nodes), token))
        for path, node in zip(paths, went, strict=True):
            assert (node >= 0) == (token in children[path])
            if node >= 0:
                assert node == nodes[paths.index((*path, token))]
    assert trie.walk(np.array([[VOCABULARY + 5, 2]])).tolist() == [-1]


def test_trie_saves_and_maps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    indptr = np.concatenate([[0], rng.integers(1, 6, 3000).cumsum()])
    trie = DocidTrie.build(rng.integers(2, 30, indptr[-1]).astype(np.int32), indptr, end=END)
    trie.save(tmp_path / "trie")
    back = DocidTrie.load(tmp_path / "trie")
    assert isinstance(back.child_token, np.memmap)
    assert back.end == END
    np.testing.assert_array_equal(back.sequences(), trie.sequences())
    np.testing.assert_array_equal(back.leaf_rows, trie.leaf_rows)
    assert (
        back.nbytes == trie.nbytes == sum(p.stat().st_size - 128 for p in (tmp_path / "trie").glob("*.npy"))
    )
    back.tensors("cpu")  # torch warns of arrays that cannot be written to
    (tmp_path / "trie" / "trie.json").write_text('{"version": 99}')
    with pytest.raises(ValueError, match="version 99"):
        DocidTrie.load(tmp_path / "trie")


def test_a_large_trie_is_small() -> None:
    rng = np.random.default_rng(0)
    indptr = np.arange(200_001) * 4
    trie = DocidTrie.build(rng.integers(0, 32, 800_000).astype(np.int32), indptr)
    assert trie.bytes_per_docid < 40


@pytest.mark.parametrize(
    ("docids", "end", "message"),
    [
        ([], None, "at least one"),
        ([[2], []], None, "row 1 is empty"),
        ([[2, 1]], 1, "part of a docid"),
        ([[-2]], None, "negative"),
    ],
)
def test_what_is_no_docid(docids: list[list[int]], end: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DocidTrie.from_lists(docids, end=end)


def test_an_empty_docid_may_be_an_end_alone() -> None:
    trie = DocidTrie.from_lists([[], [2]], end=END)
    assert lists_of(trie) == [(END,), (2, END)]


# -- the search ---------------------------------------------------------------------------------------------


@QUICK
@given(
    DOCIDS,
    st.integers(0, 10**6),
    st.booleans(),
    st.sampled_from([None, END]),
    st.sampled_from(["full", "docid", "children"]),
    st.sampled_from([-1.0, 0.0, 0.7, 1.0, 2.0]),
    st.integers(0, 4),
)
def test_enough_beams_equal_scoring_every_docid(
    docids: list[list[int]],
    seed: int,
    whole: bool,
    end: int | None,
    normalisation: Any,
    penalty: float,
    more: int,
) -> None:
    trie = DocidTrie.from_lists(docids, end=end)
    stepper = ModuleStepper(Table(seed, whole=whole))
    decoder = Decoder(
        stepper, trie, beams=trie.leaves + more, normalisation=normalisation, length_penalty=penalty
    )
    batch = [0, 1, 2, 1]
    found = decoder(batch, k=trie.docids + more)
    every = decoder.score_all(batch, rows=7)
    assert not found.invalid.any()
    for query in range(len(batch)):
        rows, scores = hits(found, query)
        assert rows == by_rule(trie, every[query])
        np.testing.assert_array_equal(np.float32(scores), every[query][rows])
        _, counts = np.unique(scores, return_counts=True)
        assert found.tied[query] == counts[counts > 1].sum()
        assert found.duplicate[query] == trie.docids - trie.leaves
    np.testing.assert_array_equal(found.rows[1], found.rows[3])


@QUICK
@given(DOCIDS, st.integers(0, 10**6), st.sampled_from(["full", "docid", "children"]))
def test_score_all_equals_float64(docids: list[list[int]], seed: int, normalisation: Any) -> None:
    model = Table(seed, whole=False)
    trie = DocidTrie.from_lists(docids, end=END)
    found = Decoder(ModuleStepper(model), trie, normalisation=normalisation, length_penalty=0.5).score_all(
        [2]
    )
    known = {*(t for d in docids for t in d), END}
    for row, docid in enumerate(docids):
        last, total, whole = 0, 0.0, (*docid, END)
        for at, token in enumerate(whole):
            logits = model.logits[2, at, last].double().numpy()
            over = list(range(VOCABULARY))
            if normalisation == "docid":
                over = sorted(known)
            elif normalisation == "children":
                over = sorted({(*d, END)[at] for d in docids if tuple(d[:at]) == whole[:at] and len(d) >= at})
            total += logits[token] - np.log(np.exp(logits[over]).sum())
            last = token
        assert found[0, row] == pytest.approx(total / math.sqrt(len(whole)), abs=1e-5)


def plain_beams(
    model: Table, query: int, docids: list[tuple[int, ...]], beams: int, penalty: float, stop: str
) -> list[tuple[tuple[int, ...], float]]:
    """The search as decoding.py's head describes it, over tuples."""
    running: list[tuple[tuple[int, ...], np.float32]] = [((), np.float32(0))]
    finished: list[tuple[tuple[int, ...], float]] = []
    depth = max(map(len, docids))

    def rule(one: tuple[tuple[int, ...], Any]) -> Any:
        return -one[1], one[0]

    for at in range(depth):
        candidates = []
        for path, total in running:
            logits = model.logits[query % 3, at, path[-1] if path else 0]
            norm = torch.logsumexp(logits[None], dim=1)[0]
            nexts = {d[at] for d in docids if len(d) > at and d[:at] == path}
            candidates += [((*path, t), total + (logits[t] - norm).numpy()) for t in nexts]
        candidates.sort(key=rule)
        for path, total in candidates[:beams]:
            if path in docids:
                finished.append((path, total / np.float32(math.pow(at + 1, penalty))))
        finished = sorted(finished, key=rule)
        running = [c for c in candidates if any(len(d) > at + 1 and d[: at + 1] == c[0] for d in docids)][
            :beams
        ]
        if not running:
            break
        most = min(beams, len(set(docids)))
        if len(finished) >= most:
            bound = running[0][1] / np.float32(math.pow(at + 1, penalty))
            if stop == "first" or (stop == "heuristic" and bound <= finished[most - 1][1]):
                break
    return finished[:beams]


@settings(QUICK, max_examples=200)
@given(
    DOCIDS,
    st.integers(0, 10**6),
    st.booleans(),
    st.sampled_from([None, END]),
    st.integers(1, 6),
    st.sampled_from([-1.0, 0.0, 1.0, 3.0]),
    st.sampled_from(["exact", "heuristic", "first"]),
)
def test_few_beams_equal_a_plain_search(
    docids: list[list[int]], seed: int, whole: bool, end: int | None, beams: int, penalty: float, stop: Any
) -> None:
    trie = DocidTrie.from_lists(docids, end=end)
    model = Table(seed, whole=whole)
    decoder = Decoder(ModuleStepper(model), trie, beams=beams, length_penalty=penalty, stop=stop)
    found = decoder([0, 1, 2], k=len(docids))
    leaves = lists_of(trie)
    for query in range(3):
        expected = plain_beams(model, query, leaves, beams, penalty, stop)
        rows = [r for d, _ in expected for r in trie.rows_of(leaves.index(d)).tolist()]
        assert hits(found, query)[0] == rows
    # What a query's neighbours are changes nothing.
    alone = decoder([1], k=len(docids))
    np.testing.assert_array_equal(alone.rows[0], found.rows[1])
    np.testing.assert_array_equal(alone.scores[0], found.scores[1])
    assert alone.tokens[0] == found.tokens[1]


def test_a_tie_with_a_longer_docid_is_waited_for() -> None:
    """(3, 2, 6) costs nothing after (3, 2), which ties with the finished (3, 4) and comes before it."""
    model = Table(0, whole=True)
    model.logits.zero_()
    trie = DocidTrie.from_lists([[5], [3, 4], [3, 2, 6]])
    decoder = Decoder(ModuleStepper(model), trie, beams=2, normalisation="children", length_penalty=0)
    assert decoder([0]).rows.tolist() == [[0, 2]]


def test_one_docid_and_hits_cut_to_k() -> None:
    trie = DocidTrie.from_lists([[4, 5]])
    found = Decoder(ModuleStepper(Table(0, whole=False)), trie, beams=20)([0, 1])
    assert found.rows.shape == (2, 20)
    assert found.rows[:, 0].tolist() == [0, 0]
    assert (found.rows[:, 1:] == -1).all()
    assert np.isneginf(found.scores[:, 1:]).all()
    assert found.tokens.tolist() == [2, 2]  # the start token and the one beam
    shared = DocidTrie.from_lists([[4, 5], [3], [4, 5], [4, 5]])
    found = Decoder(ModuleStepper(Table(0, whole=False)), shared, beams=2, normalisation="children")([0], k=2)
    assert (found.rows >= 0).all()
    assert found.settings["beams"] == 2
    assert found.settings["normalisation"] == "children"


def test_atomic_docids_are_a_top_k_of_one_softmax() -> None:
    class Atomic(Table):
        vocabulary = 5000

        def __init__(self) -> None:
            self.seen: list[int] = []

        def decode_step(self, tokens: torch.Tensor, cache: Any) -> Any:
            self.seen.append(len(tokens))
            draw = torch.Generator().manual_seed(3)
            return torch.randn(len(tokens), 5000, generator=draw), cache

    model = Atomic()
    trie = DocidTrie.build(np.arange(1000, 5000), np.arange(4001))
    found = Decoder(ModuleStepper(model), trie, beams=50)([0, 1])
    assert model.seen == [2]
    logits = Atomic().decode_step(torch.zeros(2), None)[0]
    best = logits.log_softmax(1)[:, 1000:].topk(50)
    np.testing.assert_array_equal(found.rows, best.indices.numpy())
    np.testing.assert_allclose(found.scores, best.values.numpy(), rtol=1e-6)


def test_tokens_of_minus_infinity_come_last_and_nan_is_refused() -> None:
    trie = DocidTrie.from_lists([[2], [3], [4, 2], [4, 3]])
    model = Table(0, whole=False)
    model.logits[..., 2] = -math.inf
    found = Decoder(ModuleStepper(model), trie, beams=9)([0])
    assert sorted(found.rows[0, :4].tolist()) == [0, 1, 2, 3]
    assert set(found.rows[0, :2].tolist()) == {1, 3}
    model.logits[0, 0, 0] = math.nan
    with pytest.raises(InputError, match="NaN"):
        Decoder(ModuleStepper(model), trie, beams=9)([0])


@QUICK
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 12))
def test_top_takes_the_first_of_equals(seed: int, width: int, most: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 4, (5, width), generator=draw).float()
    values[torch.rand(values.shape, generator=draw) < 0.2] = -math.inf
    found = _top(values, most)
    for row, at in zip(values.tolist(), found.tolist(), strict=True):
        order = sorted((i for i in range(width) if row[i] > -math.inf), key=lambda i: (-row[i], i))[:most]
        assert [i for i in at if i < width] == sorted(order)
        assert at == sorted(at)


def test_logsumexp_in_blocks() -> None:
    logits = torch.randn(37, 40_000) * 20
    logits[3, :] = -math.inf
    logits[4, 1:] = -math.inf
    torch.testing.assert_close(_logsumexp(logits), torch.logsumexp(logits, dim=1))


# -- without a trie -----------------------------------------------------------------------------------------


def plain_free(
    model: Table, query: int, sets: list[list[int]], end: int | None, beams: int
) -> list[tuple[int, ...]]:
    running: list[tuple[tuple[int, ...], np.float32]] = [((), np.float32(0))]
    finished: list[tuple[tuple[int, ...], Any]] = []
    for at, allowed in enumerate(sets):
        candidates = []
        for path, total in running:
            logits = model.logits[query % 3, at, path[-1] if path else 0]
            norm = torch.logsumexp(logits[None], dim=1)[0]
            candidates += [((*path, t), total + (logits[t] - norm).numpy()) for t in allowed]
        candidates.sort(key=lambda c: (-c[1], c[0]))
        over = [c for c in candidates if c[0][-1] == end or at == len(sets) - 1]
        finished += [(p, s / np.float32(at + 1)) for p, s in candidates[:beams] if (p, s) in over]
        running = [c for c in candidates if c[0][-1] != end][:beams]
    finished.sort(key=lambda c: (-c[1], c[0]))
    return [p for p, _ in finished[:beams]]


@settings(QUICK, max_examples=60)
@given(
    DOCIDS,
    st.integers(0, 10**6),
    st.booleans(),
    st.integers(1, 30),
    st.sampled_from(["none", "per-position"]),
)
def test_invalid_docids_are_dropped_and_counted(
    docids: list[list[int]], seed: int, whole: bool, beams: int, mode: Any
) -> None:
    trie = DocidTrie.from_lists(docids, end=END)
    model = Table(seed, whole=whole)
    found = Decoder(ModuleStepper(model), trie, beams=beams, mode=mode)([0, 1], k=len(docids))
    leaves = lists_of(trie)
    sets = [list(range(VOCABULARY))] * trie.depth
    if mode == "per-position":
        sets = [sorted({d[i] for d in leaves if len(d) > i}) for i in range(trie.depth)]
    for query in range(2):
        expected = plain_free(model, query, sets, END, beams)
        valid = [d for d in expected if d in leaves]
        assert hits(found, query)[0] == [r for d in valid for r in trie.rows_of(leaves.index(d)).tolist()]
        assert found.invalid[query] == len(expected) - len(valid)


def test_positions_of_fixed_length() -> None:
    trie = DocidTrie.from_lists([[2, 5], [3, 6], [4, 7]])
    model = ModuleStepper(Table(1, whole=False))
    for normalisation in ("full", "docid", "children"):
        decoder = Decoder(model, trie, mode="per-position", normalisation=normalisation, beams=9)  # type: ignore[arg-type]
        found = decoder([0, 1])
        assert found.invalid.tolist() == [6, 6]
        every = decoder.score_all([0, 1])
        for query in range(2):
            rows, scores = hits(found, query)
            assert rows == by_rule(trie, every[query])
            np.testing.assert_array_equal(np.float32(scores), every[query][rows])
    digits = PositionMask.everywhere(np.array([2, 3, 5]), 2)
    found = Decoder(model, trie, mode="per-position", positions=digits, beams=9)([0])
    assert hits(found, 0)[0] == [0]
    assert found.invalid.tolist() == [8]


def test_options_that_make_no_sense() -> None:
    stepper = ModuleStepper(Table(0, whole=True))
    uneven = DocidTrie.from_lists([[2], [3, 4]])
    with pytest.raises(ValueError, match="need an end token"):
        Decoder(stepper, uneven, mode="none")
    with pytest.raises(ValueError, match="no sense"):
        Decoder(stepper, DocidTrie.from_lists([[2]]), mode="none", normalisation="docid")
    with pytest.raises(ValueError, match="has 9 tokens"):
        Decoder(stepper, DocidTrie.from_lists([[20]]))
    with pytest.raises(ValueError, match="end in"):
        Decoder(
            stepper, DocidTrie.from_lists([[2]]), mode="per-position", positions=PositionMask.none(1, end=END)
        )
    with pytest.raises(ValueError, match="without an end token"):
        ListDecoder(stepper, DocidTrie.from_lists([[2]], end=END), separator=0, end=7)
    with pytest.raises(ValueError, match="occur in no docid"):
        ListDecoder(stepper, uneven, separator=2, end=1)


# -- lists --------------------------------------------------------------------------------------------------


def plain_list(model: Table, query: int, docids: list[tuple[int, ...]], most: int, least: int) -> list[int]:
    """Greedy decoding of a list without repetition."""
    out: list[int] = []
    path: tuple[int, ...] = ()
    last = 0
    for at in range(model.positions):
        left = [d for i, d in enumerate(docids) if i not in out]
        allowed = sorted({d[len(path)] for d in left if len(d) > len(path) and d[: len(path)] == path})
        if path in left:
            allowed += [0] if len(out) + 1 < most else []
            allowed += [END] if len(out) + 1 >= least else []
        assert allowed, "a dead end"
        logits = model.logits[query % 3, at, last]
        last = max(allowed, key=lambda t: (float(logits[t]), -allowed.index(t)))
        if last in (0, END):
            out.append(docids.index(path))
            path = ()
            if last == END:
                return out
        else:
            path = (*path, last)
    raise AssertionError("no end")


@settings(QUICK, max_examples=150)
@given(
    st.lists(st.lists(st.integers(2, 5), min_size=1, max_size=3), min_size=1, max_size=10),
    st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 8),
)  # fmt: skip
def test_greedy_lists(docids: list[list[int]], seed: int, most: int, least: int) -> None:
    trie = DocidTrie.from_lists(docids)
    model = Table(seed, whole=False)
    decoder = ListDecoder(ModuleStepper(model), trie, separator=0, end=END, docids=most, least=least)
    found = decoder([0, 1, 2], k=len(docids))
    leaves = lists_of(trie)
    most, least = min(most, trie.leaves), min(least, most, trie.leaves)
    for query in range(3):
        expected = plain_list(model, query, leaves, most, least)
        rows, scores = hits(found, query)
        assert rows == [r for leaf in expected for r in trie.rows_of(leaf).tolist()]
        assert sorted(scores, reverse=True) == scores
        assert scores[-1] == -len(expected)
    np.testing.assert_array_equal(decoder([1], k=len(docids)).rows[0], found.rows[1])


@settings(QUICK, max_examples=60)
@given(
    st.lists(st.lists(st.integers(2, 5), min_size=1, max_size=3), min_size=1, max_size=10),
    st.integers(0, 10**6), st.booleans(), st.integers(2, 8), st.sampled_from([0.0, 1.0]),
)  # fmt: skip
def test_lists_of_beams_never_repeat(
    docids: list[list[int]], seed: int, whole: bool, beams: int, penalty: float
) -> None:
    trie = DocidTrie.from_lists(docids)
    for merge in ("best", "all"):
        decoder = ListDecoder(
            ModuleStepper(Table(seed, whole=whole)), trie, separator=0, end=END, docids=6, least=3, beams=beams,
            length_penalty=penalty, scores="logprob", merge=merge,  # type: ignore[arg-type]
        )  # fmt: skip
        found = decoder([0, 1], k=len(docids))
        for query in range(2):
            rows, scores = hits(found, query)
            assert len(set(rows)) == len(rows)
            assert len(rows) >= min(3, trie.leaves)
            assert all(s <= 0 for s in scores)
        assert not found.invalid.any()


def test_the_best_list_of_enough_beams_is_the_best_of_all() -> None:
    model = Table(4, whole=False)
    trie = DocidTrie.from_lists([[2], [2, 3], [4]])
    leaves = lists_of(trie)
    import itertools

    best = (-math.inf, [-1], [0.0])
    for length in (1, 2, 3):
        for order in itertools.permutations(range(3), length):
            at, last, each = 0, 0, []
            for place, leaf in enumerate(order):
                total = 0.0
                for token in (*leaves[leaf], END if place == length - 1 else 0):
                    total += float(model.logits[0, at, last].log_softmax(0)[token])
                    at, last = at + 1, token
                each.append(total)
            if sum(each) / at > best[0]:
                best = (sum(each) / at, list(order), each)
    found = ListDecoder(ModuleStepper(model), trie, separator=0, end=END, beams=60, scores="logprob")([0])
    rows, scores = hits(found, 0)
    assert rows == best[1]
    np.testing.assert_allclose(scores, best[2], rtol=1e-5)


# -- transformers -------------------------------------------------------------------------------------------

SIZE = 40  # tokens of the tiny models


def t5(seed: int = 0, **more: Any) -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=SIZE, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=END, **{"tie_word_embeddings": False, "initializer_factor": 8.0, **more},
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def bart(seed: int = 0) -> Any:
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(seed)
    config = BartConfig(
        vocab_size=SIZE, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, init_std=0.8,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64,
        pad_token_id=0, eos_token_id=END, bos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    model = BartForConditionalGeneration(config).eval()
    model.final_logits_bias.normal_()
    return model


def gpt2(seed: int = 0) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=SIZE, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5, bos_token_id=2,
        eos_token_id=END, pad_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def gated_t5() -> Any:
    """As T5 v1.1 and mT5, but with tied and scaled embeddings."""
    return t5(
        1, feed_forward_proj="gated-gelu", tie_word_embeddings=True, relative_attention_num_buckets=6,
        initializer_factor=2.0,
    )  # fmt: skip


MODELS: dict[str, Callable[[], Any]] = {"t5": t5, "gated": gated_t5, "bart": bart, "gpt2": gpt2}


def prompts(kind: str, rows: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    """Inputs of several lengths in one batch, padded on the left for a decoder-only model."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, SIZE, (rows, 7), generator=draw)
    mask = torch.ones_like(ids)
    for row in range(rows):
        padding = slice(0, row) if kind == "gpt2" else slice(7 - row, 7)
        ids[row, padding], mask[row, padding] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def docids_for(seed: int, count: int, *, fixed: bool = False) -> list[list[int]]:
    """Of one to four tokens, some a prefix of others."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 4, count) if fixed else rng.integers(1, 5, count)
    made = {tuple(rng.integers(3, 9, n).tolist()) for n in lengths}
    return [list(d) for d in sorted(made)]


def generated(
    model: Any, batch: dict[str, torch.Tensor], trie: DocidTrie, beams: int, *, constrained: bool = True,
    **options: Any,
) -> list[list[tuple[tuple[int, ...], float]]]:  # fmt: skip
    """transformers' beams, (docid tokens, score) a query. Beams that hold nothing are filled up with scores
    from -1e9, which are left out."""
    prompt = 1 if model.config.is_encoder_decoder else batch["input_ids"].shape[1]
    if constrained:
        options["prefix_allowed_tokens_fn"] = trie.as_prefix_fn(prompt, pad=END)
    out = model.generate(
        **batch, num_beams=beams, num_return_sequences=beams, max_new_tokens=trie.depth, do_sample=False,
        return_dict_in_generate=True, output_scores=True, **options,
    )  # fmt: skip
    found: list[list[tuple[tuple[int, ...], float]]] = []
    sequences = out.sequences[:, prompt:].view(len(batch["input_ids"]), beams, -1).tolist()
    for rows, scores in zip(sequences, out.sequences_scores.view(-1, beams).tolist(), strict=True):
        mine = []
        for row, score in zip(rows, scores, strict=True):
            whole = row[: row.index(END) + 1] if END in row else row
            if score > -1e6:
                mine.append((tuple(whole), score))
        found.append(mine)
    return found


def same(found: Decoded, expected: list[list[tuple[tuple[int, ...], float]]], trie: DocidTrie) -> None:
    leaves = lists_of(trie)
    for query, wanted in enumerate(expected):
        rows, scores = hits(found, query)
        valid = [(d, s) for d, s in wanted if d in leaves]
        assert rows == [int(trie.rows_of(leaves.index(d))[0]) for d, _ in valid]
        np.testing.assert_allclose(scores, [s for _, s in valid], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("penalty", [-0.5, 0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize(("stop", "early"), [("exact", "never"), ("heuristic", False), ("first", True)])
def test_equals_generate_beam_for_beam(kind: str, penalty: float, stop: Any, early: Any) -> None:
    model, batch = MODELS[kind](), prompts(kind, rows=6)
    trie = DocidTrie.from_lists(docids_for(1, 150), end=END)
    for beams in (1, 2, 5):
        decoder = Decoder(stepper_of(model), trie, beams=beams, length_penalty=penalty, stop=stop)
        if (
            beams == 1
        ):  # `generate` with one beam is greedy search: it gives no scores and no docid but the first
            options = {"prefix_allowed_tokens_fn": trie.as_prefix_fn(1 if kind != "gpt2" else 7, pad=0)}
            out = model.generate(**batch, max_new_tokens=trie.depth, do_sample=False, **options)
            if stop == "first":
                continue
            first = out[:, 1 if kind != "gpt2" else 7 :].tolist()
            found = decoder(batch)
            for query, row in enumerate(first):
                score = found.scores[query, 0]
                leaf = lists_of(trie).index(tuple(row[: row.index(END) + 1]))
                if found.rows[query, 0] != trie.rows_of(leaf)[0]:
                    # a shorter docid, finished on the way, was better than the greedy one
                    assert score > decoder.score_all(batch)[query, trie.rows_of(leaf)[0]]
            continue
        expected = generated(model, batch, trie, beams, length_penalty=penalty, early_stopping=early)
        assert all(len(e) == beams for e in expected)
        same(decoder(batch), expected, trie)


def test_the_rules_of_stopping_differ() -> None:
    """Or the test above would say nothing of them."""
    trie = DocidTrie.from_lists(docids_for(1, 150), end=END)
    for kind, penalty, rules in (
        ("bart", 2.0, ("exact", "heuristic")),
        ("gpt2", 2.0, ("heuristic", "first")),
    ):
        one, other = (
            Decoder(stepper_of(MODELS[kind]()), trie, beams=2, length_penalty=penalty, stop=stop)  # type: ignore[arg-type]
            for stop in rules
        )
        assert (one(prompts(kind, rows=6)).rows != other(prompts(kind, rows=6)).rows).any()


@pytest.mark.parametrize("kind", MODELS)
def test_equals_generate_with_more_beams_than_docids(kind: str) -> None:
    """With early_stopping=True `generate` counts filled-up beams as finished ones and may stop before it has
    seen every docid; ours never does (`first` then finds all docids too)."""
    model, batch = MODELS[kind](), prompts(kind, seed=3)
    trie = DocidTrie.from_lists(docids_for(2, 12), end=END)
    for stop, early in (("exact", "never"), ("heuristic", False)):
        decoder = Decoder(stepper_of(model), trie, beams=20, stop=stop)  # type: ignore[arg-type]
        found = decoder(batch)
        same(found, generated(model, batch, trie, 20, early_stopping=early), trie)
        assert ((found.rows >= 0).sum(1) == trie.leaves).all()
    first = Decoder(stepper_of(model), trie, beams=20, stop="first")(batch)
    np.testing.assert_array_equal(first.rows, found.rows)


@pytest.mark.parametrize("kind", MODELS)
def test_equals_generate_without_an_end_token(kind: str) -> None:
    """Docids of one length need no end: `generate` then stops by the number of tokens."""
    model, batch = MODELS[kind](), prompts(kind, seed=4)
    model.generation_config.eos_token_id = None
    trie = DocidTrie.from_lists(docids_for(3, 60, fixed=True))
    found = Decoder(stepper_of(model), trie, beams=6)(batch)
    same(found, generated(model, batch, trie, 6), trie)


@pytest.mark.parametrize("kind", MODELS)
def test_equals_generate_without_constraint(kind: str) -> None:
    model, batch = MODELS[kind](), prompts(kind, seed=5)
    everything = [[a, b] for a in range(3, SIZE, 2) for b in range(2, SIZE, 3)] + [
        [a] for a in range(2, SIZE)
    ]
    trie = DocidTrie.from_lists(everything, end=END)
    found = Decoder(stepper_of(model), trie, beams=8, mode="none", stop="heuristic")(batch)
    expected = generated(model, batch, trie, 8, constrained=False, early_stopping=False)
    same(found, expected, trie)
    leaves = set(lists_of(trie))
    assert found.invalid.tolist() == [sum(d not in leaves for d, _ in e) for e in expected]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("normalisation", ["full", "docid", "children"])
def test_transformers_and_exhaustive_scoring(kind: str, normalisation: Any) -> None:
    """Beams >= docids; and every score is that of one plain forward pass with the docid as the target."""
    model, batch = MODELS[kind](), prompts(kind, seed=6)
    docids = docids_for(4, 30)
    trie = DocidTrie.from_lists(docids, end=END)
    decoder = Decoder(stepper_of(model), trie, beams=40, normalisation=normalisation)
    assert (decoder.narrow is not None) == (normalisation == "docid")
    found, every = decoder(batch), decoder.score_all(batch)
    for query in range(3):
        rows, scores = hits(found, query)
        assert rows == by_rule(trie, every[query])
        np.testing.assert_allclose(scores, every[query][rows], rtol=1e-4, atol=1e-5)
    if normalisation == "full":
        for row in (0, len(docids) // 2):
            np.testing.assert_allclose(every[:, row], forward(model, batch, [*docids[row], END]), rtol=1e-4)


def forward(model: Any, batch: dict[str, torch.Tensor], target: list[int]) -> list[float]:
    rows = len(batch["input_ids"])
    labels = torch.tensor([target] * rows)
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            start = torch.full((rows, 1), model.config.decoder_start_token_id)
            logits = model(**batch, decoder_input_ids=torch.cat([start, labels[:, :-1]], dim=1)).logits
        else:
            ids = torch.cat([batch["input_ids"], labels], dim=1)
            mask = torch.cat([batch["attention_mask"], torch.ones_like(labels)], dim=1)
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
            logits = logits[:, -len(target) - 1 : -1]
    values = logits.log_softmax(-1).gather(2, labels[..., None])[..., 0]
    return (values.sum(1) / len(target)).tolist()


@pytest.mark.parametrize("kind", MODELS)
def test_the_batch_changes_nothing(kind: str) -> None:
    model, batch = MODELS[kind](), prompts(kind, rows=5, seed=7)
    trie = DocidTrie.from_lists(docids_for(5, 80), end=END)
    decoder = Decoder(stepper_of(model), trie, beams=7)
    together = decoder(batch)
    for row in range(5):
        alone = decoder({name: values[row : row + 1] for name, values in batch.items()})
        np.testing.assert_array_equal(alone.rows[0], together.rows[row])
        np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=1e-4, atol=1e-5)


def test_half_precision_scores_in_float32() -> None:
    model = t5().to(torch.bfloat16)
    found = Decoder(stepper_of(model), DocidTrie.from_lists(docids_for(5, 80), end=END), beams=7)(
        prompts("t5")
    )
    assert found.scores.dtype == np.float32
    assert len(np.unique(found.scores)) > 15  # bfloat16 sums would coincide


def test_a_head_that_cannot_be_narrowed_is_not() -> None:
    """The narrowed output layer is tried against the model itself; another one is left alone."""
    model = t5()
    plain = model.lm_head.forward
    model.lm_head.forward = lambda hidden: torch.tanh(plain(hidden)) * 30
    trie = DocidTrie.from_lists(docids_for(5, 80), end=END)
    decoder = Decoder(stepper_of(model), trie, beams=90, normalisation="docid")
    assert decoder.narrow is None
    found, every = decoder(prompts("t5")), decoder.score_all(prompts("t5"))
    assert hits(found, 0)[0] == by_rule(trie, every[0])


@pytest.mark.parametrize("kind", MODELS)
def test_a_stepper_follows_any_parents(kind: str) -> None:
    """Rows are multiplied, dropped, reordered and moved to another query, also with their number unchanged."""
    batch = prompts(kind, rows=3, seed=8)
    model = MODELS[kind]()
    steppers = [stepper_of(model)]
    assert isinstance(steppers[0], T5Stepper) == (model.config.model_type == "t5")
    if isinstance(steppers[0], T5Stepper):
        steppers.append(Seq2SeqStepper(model))
    for stepper in steppers:
        follow(stepper, batch)


def follow(stepper: Any, batch: dict[str, torch.Tensor]) -> None:
    state: Any
    state, _ = stepper.start(batch)
    moves = [
        ([0, 0, 1, 2], [5, 6, 7, 8]),
        ([3, 1, 2, 3], [4, 9, 5, 6]),
        ([0, 3], [8, 8]),
        ([1, 1, 0], [3, 4, 5]),
    ]
    paths: list[tuple[int, ...]] = [(0,), (1,), (2,)]  # a query and its tokens
    with torch.no_grad():
        for parents, tokens in moves:
            logits = stepper.step(state, torch.tensor(parents), torch.tensor(tokens))
            paths = [(*paths[p], t) for p, t in zip(parents, tokens, strict=True)]
            for path, row in zip(paths, logits, strict=True):
                own = {name: values[path[0] : path[0] + 1] for name, values in batch.items()}
                alone: Any
                alone, expected = stepper.start(own)
                for token in path[1:]:
                    expected = stepper.step(alone, torch.tensor([0]), torch.tensor([token]))
                torch.testing.assert_close(row, expected[0], rtol=1e-4, atol=1e-4)


def test_t5_far_out_and_changed_t5() -> None:
    """Positions beyond the table of biases; and what the fast path must leave to the model."""
    model = t5(relative_attention_max_distance=20, relative_attention_num_buckets=8)
    fast, plain = T5Stepper.of(model), Seq2SeqStepper(model)
    assert fast is not None
    fast.LONGEST = 4  # type: ignore[misc]
    with torch.no_grad():
        (one, _), (other, _) = fast.start(prompts("t5")), plain.start(prompts("t5"))
        for token in range(3, 33):
            step = torch.tensor([0, 1, 2]), torch.tensor([token, 5, 6])
            torch.testing.assert_close(fast.step(one, *step), plain.step(other, *step), rtol=1e-4, atol=1e-4)
    assert T5Stepper.of(bart()) is None
    assert T5Stepper.of(t5().to(torch.bfloat16)) is None
    hooked = t5()
    hooked.decoder.block[0].layer[0].register_forward_hook(lambda *_: None)
    assert T5Stepper.of(hooked) is None
    adapted = t5()
    adapted.decoder.block[1].layer[1].EncDecAttention.q = torch.nn.Sequential(torch.nn.Linear(16, 16))
    assert T5Stepper.of(adapted) is None
    odd = t5()
    odd.lm_head.forward = lambda hidden: torch.tanh(hidden @ odd.lm_head.weight.T)
    assert T5Stepper.of(odd) is None
    model.train()
    with pytest.raises(ValueError, match="evaluation mode"):
        fast.start(prompts("t5"))


def test_steppers_refuse_what_they_cannot_do() -> None:
    batch = prompts("t5")  # padded on the right
    with pytest.raises(ValueError, match="on the left"):
        CausalStepper(gpt2()).start(batch)
    model = t5()
    model.config.decoder_start_token_id = None
    with pytest.raises(ValueError, match="start_token"):
        Seq2SeqStepper(model)
