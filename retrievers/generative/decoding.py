"""Beam search over docids: only the logits of what may follow are looked at, for all beams of a batch at once.

This module needs torch at import: import it only where a model is about to run.

**The search.** Step t extends every beam of a query by every allowed token. A *candidate's* sum is its beam's
sum plus the token's log-probability. Of all candidates of the step, the best `beams` are looked at: those that
complete a docid are *finished* and set aside with score = sum / length^length_penalty, where length counts
all decoded tokens, the end token too. Of the candidates that can go on, the best `beams` become the next
beams. A finished docid takes no beam from the others. The answer is the best `beams` of all that finished. So
with at least as many beams as there are docids nothing is ever cut, and the answer equals scoring every docid.

**Ties** are decided by sequence order everywhere (score descending, then token ids ascending, a prefix before
its extensions): beams always stand in the order of their sequences, so a candidate's place is its order.

**Stopping**, for each query alone. `exact`: when even the best beam, its sum divided by the longest docid's
length^length_penalty (the current length's where the penalty is not positive), is below the worst of `beams`
finished ones; as sums only fall, this changes no answer (transformers: early_stopping="never"). `heuristic`:
the same with the current length always, which for a positive penalty can stop too early (early_stopping=False,
transformers' default). `first`: as soon as `beams` docids have finished (early_stopping=True).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seekbench.errors import InputError
from seekbench.retrievers.generative.steppers import Stepper
from seekbench.retrievers.generative.trie import DocidTrie, PositionMask

Mode = Literal["trie", "per-position", "none"]
Normalisation = Literal["full", "docid", "children"]
Stop = Literal["exact", "heuristic", "first"]

NEVER = float("-inf")
# A model may give -inf to an allowed token; such docids come last, but they are found.
LEAST = -1e9


@dataclass(frozen=True)
class Decoded:
    """The hits of B queries, and how they were found.

    rows: int64 [B, k], padded with -1; scores: float32 [B, k], padded with -inf.
    invalid: int64 [B], finished sequences among the best `beams` that are no docid, and were dropped;
    duplicate: int64 [B], hits whose docid an earlier hit of the query has (collisions; for lists, docids that
    were emitted again and dropped); tied: int64 [B], hits whose score equals that of a neighbour;
    tokens: int64 [B], tokens that the model was run on (beams at each step), the start token included.
    """

    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    invalid: npt.NDArray[np.int64]
    duplicate: npt.NDArray[np.int64]
    tied: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    settings: dict[str, Any]


class Decoder:
    """Beam search for one model, one set of docids and one set of options; call it with batches.

    mode: `trie` emits nothing but docids; `per-position` restricts each position to a set of tokens
    (`positions`, by default those that docids have there); `none` restricts nothing. In the last two, sequences
    have at most trie.depth tokens and what is no docid is dropped and counted.
    normalisation: what log-probabilities are over: `full`, the whole vocabulary, as transformers; `docid`, the
    tokens that occur in docids; `children`, what is allowed at the place (sums then favour sparse branches).
    """

    def __init__(
        self,
        stepper: Stepper,
        trie: DocidTrie,
        *,
        beams: int = 20,
        mode: Mode = "trie",
        normalisation: Normalisation = "full",
        length_penalty: float = 1.0,
        stop: Stop = "exact",
        positions: PositionMask | None = None,
    ) -> None:
        if beams < 1:
            raise ValueError("beams must be at least 1")
        if int(trie.tokens[-1]) >= stepper.vocabulary:
            raise ValueError(
                f"docids use token {int(trie.tokens[-1])}, the model has {stepper.vocabulary} tokens"
            )
        if mode == "none" and normalisation == "docid":
            raise ValueError("mode 'none' allows all tokens, so a softmax over docid tokens makes no sense")
        self.trie, self.mode, self.normalisation = trie, mode, normalisation
        self.beams, self.length_penalty, self.stop = beams, length_penalty, stop
        self.full = stepper
        self.positions: PositionMask | None = None
        wanted: npt.NDArray[Any] = trie.tokens
        if mode != "trie":
            self.positions = positions or (
                PositionMask.of(trie)
                if mode == "per-position"
                else PositionMask.none(trie.depth, end=trie.end)
            )
            if self.positions.end != trie.end:
                raise ValueError(f"the docids end in {trie.end}, the positions in {self.positions.end}")
            if self.positions.end is None and len(set(_lengths(trie))) > 1:
                raise ValueError(f"docids of several lengths need an end token in mode '{mode}'")
            sets = [p for p in self.positions.positions if p is not None]
            if any(len(p) == 0 or p[0] < 0 or p[-1] >= stepper.vocabulary for p in sets):
                raise ValueError(
                    f"a position allows no token, or one beyond the model's {stepper.vocabulary}"
                )
            wanted = np.unique(np.concatenate([wanted, *sets])) if sets else wanted
        # Only where the rest of the vocabulary cannot change a score may its logits be left out.
        self.docid_tokens = torch.from_numpy(wanted.astype(np.int64))
        self.narrow = stepper.narrow(self.docid_tokens) if normalisation == "docid" else None
        self.stepper = self.narrow or stepper
        self._space: _TrieSpace | _FreeSpace | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """JSON facts: the options, as a run must record them."""
        return {
            "mode": self.mode, "beams": self.beams, "normalisation": self.normalisation,
            "length_penalty": self.length_penalty, "stop": self.stop,
        }  # fmt: skip

    @torch.inference_mode()
    def __call__(self, batch: Any, k: int | None = None) -> Decoded:
        """The best k hits of each input of a batch (default: as many as beams).

        A docid that several rows share gives a hit for each, in the order of rows.
        """
        state, logits = self.stepper.start(batch)
        device, queries = logits.device, len(logits)
        space = self._at(device)
        depth = space.depth
        finished: list[tuple[Tensor, Tensor, Tensor]] = []  # queries [A], scores [A, m], keys [A, m, ...]
        most = min(self.beams, self.trie.leaves) if self.mode == "trie" else self.beams
        query = torch.arange(queries, device=device)
        cum = torch.zeros((queries, 1), device=device)
        best = torch.full((queries, most), NEVER, device=device)
        counted = torch.ones(queries, dtype=torch.int64, device=device)
        beams = space.root(queries)
        for t in range(depth):
            step = space.expand(beams, t, cum, logits)
            if step.ends:
                at = _top(step.values, self.beams)
                sums = _taken(step.values, at)
                chosen = space.choose(step, at)
                scores = (sums / math.pow(t + 1, self.length_penalty)).masked_fill(
                    ~space.is_end(chosen, t), NEVER
                )
                finished.append((query, scores, space.key(chosen)))
                if step.goes:
                    best = torch.cat([best, scores], dim=1).topk(most, dim=1).values
            if not step.goes:
                break
            values = step.running
            at = _top(values, self.beams)
            cum = _taken(values, at)
            live = cum > NEVER
            keep = live.any(1)
            if self.stop != "exact" or step.ended:
                keep &= ~self._is_done(best, cum, t + 1, depth)
            kept = keep.nonzero()[:, 0]
            if not len(kept):
                break
            # Dead places stand last in each query's row, so a narrower table drops those that all queries have.
            width = int(live[kept].sum(1).max())
            chosen = space.choose(step, at)
            beams = space.moved(chosen, kept, width)
            cum, query, best = cum[kept, :width], query[kept], best[kept]
            parents = kept[:, None] * step.width + chosen.beam[kept, :width]
            counted[query] += (cum > NEVER).sum(1)
            logits = self.stepper.step(state, parents.reshape(-1), chosen.token[kept, :width].reshape(-1))
        return self._answer(finished, queries, counted, k or self.beams)

    def _is_done(self, best: Tensor, cum: Tensor, length: int, depth: int) -> Tensor:
        """bool [A]: queries that need no further step, by the rule of `stop`."""
        worst = best[:, -1]
        if self.stop == "first":
            return worst > NEVER
        longest = depth if self.stop == "exact" and self.length_penalty > 0 else length
        bound: Tensor = cum.max(dim=1).values / math.pow(longest, self.length_penalty)
        if self.stop == "exact":
            # An equal score could still win by sequence order.
            return worst > bound
        return (worst > NEVER) & (bound <= worst)

    def _at(self, device: torch.device) -> _TrieSpace | _FreeSpace:
        if self._space is None or self._space.device != device:
            if self.positions is None:
                self._space = _TrieSpace(self, device)
            else:
                self._space = _FreeSpace(self, device, self.positions)
        return self._space

    def _answer(
        self, finished: list[tuple[Tensor, Tensor, Tensor]], queries: int, counted: Tensor, k: int
    ) -> Decoded:
        total = sum(scores.shape[1] for _, scores, _ in finished)
        scores = np.full((queries, max(total, 1)), NEVER, dtype=np.float32)
        extra = finished[0][2].shape[2:] if finished else ()
        length = self.positions and len(self.positions.positions)
        keys = np.full((*scores.shape, *((length,) if extra else ())), -1, dtype=np.int64)
        at = 0
        for query, values, key in finished:
            here = slice(at, at + values.shape[1])
            rows = query.cpu().numpy()
            scores[rows, here] = values.cpu().numpy()
            if extra:
                keys[rows, here, : key.shape[2]] = key.cpu().numpy()
            else:
                keys[rows, here] = key.cpu().numpy()
            at = here.stop
        order_by = [keys] if not extra else [keys[..., i] for i in range(keys.shape[-1] - 1, -1, -1)]
        by = np.lexsort((*order_by, -scores), axis=1)[:, : self.beams]
        scores = np.take_along_axis(scores, by, axis=1)
        if extra:
            sequences = np.take_along_axis(keys, by[..., None], axis=1)
            nodes = self.trie.walk(sequences.reshape(-1, sequences.shape[-1]))
            leaf = self.trie.leaf(nodes).reshape(scores.shape)
        else:
            leaf = np.take_along_axis(keys, by, axis=1)
        hit = scores > NEVER
        leaf = np.where(hit, leaf, -1)
        rows, out, duplicate = _rows(self.trie, leaf, scores, k)
        return Decoded(
            rows=rows,
            scores=out,
            invalid=(hit & (leaf < 0)).sum(axis=1).astype(np.int64),
            duplicate=duplicate,
            tied=_ties(out),
            tokens=counted.cpu().numpy(),
            settings=self.settings,
        )

    # -- scoring every docid -----------------------------------------------------------------------------

    @torch.inference_mode()
    def score_all(self, batch: Any, *, rows: int = 4096) -> npt.NDArray[np.float32]:
        """float32 [B, docids]: the score of every docid, by running the model along each of them.

        For tests and small corpora: it shares nothing with the search but the softmax. `rows` bounds the
        rows of a forward pass.
        """
        trie, stepper = self.trie, self.full
        sequences = trie.sequences()
        queries = len(stepper.start(batch)[1])
        found = np.empty((queries, trie.leaves), dtype=np.float32)
        step = max(1, rows // max(queries, 1))
        for at in range(0, trie.leaves, step):
            block = sequences[at : at + step]
            found[:, at : at + step] = self._forced(stepper, batch, block, queries)
        out = np.empty((queries, trie.docids), dtype=np.float32)
        sizes = np.diff(trie.leaf_indptr)
        out[:, trie.leaf_rows] = np.repeat(found, sizes, axis=1)
        return out

    def _forced(
        self, stepper: Stepper, batch: Any, block: npt.NDArray[np.int32], queries: int
    ) -> npt.NDArray[np.float32]:
        """float32 [B, block]."""
        state, logits = stepper.start(batch)
        device = logits.device
        docids, query = len(block), np.repeat(np.arange(queries), len(block))
        docid = np.tile(np.arange(docids), queries)
        sums = torch.zeros(queries * docids, device=device)
        lengths = (block >= 0).sum(axis=1)
        places = np.arange(queries * docids)  # the rows that go on
        source = query  # the model's row of each of them
        for t in range(block.shape[1]):
            goes = lengths[docid[places]] > t
            places, source = places[goes], source[goes]
            if t:
                last = torch.from_numpy(block[docid[places], t - 1].astype(np.int64)).to(device)
                logits = stepper.step(state, torch.from_numpy(source).to(device), last)
                source = np.arange(len(places))
            token = torch.from_numpy(block[docid[places], t].astype(np.int64)).to(device)
            own = logits[torch.from_numpy(source).to(device)]
            norm = self._forced_norm(own, block[docid[places], :t])
            value = own.gather(1, token[:, None])[:, 0].clamp(min=LEAST) - norm
            sums[torch.from_numpy(places).to(device)] += value
        per_length = [math.pow(n, self.length_penalty) for n in range(1, block.shape[1] + 1)]
        per = torch.tensor(per_length, device=device)[torch.from_numpy(lengths[docid] - 1).to(device)]
        return cast(npt.NDArray[np.float32], (sums / per).reshape(queries, docids).cpu().numpy())

    def _forced_norm(self, logits: Tensor, prefixes: npt.NDArray[np.int32]) -> Tensor:
        if self.normalisation == "full":
            return _logsumexp(logits)
        if self.normalisation == "docid":
            return _logsumexp(logits[:, self.docid_tokens.to(logits.device)])
        if self.positions is not None:
            allowed = self.positions.positions[prefixes.shape[1]]
            return _logsumexp(logits if allowed is None else logits[:, torch.from_numpy(allowed)])
        out = torch.empty(len(logits), device=logits.device)
        for i, node in enumerate(self.trie.walk(prefixes)):
            tokens = self.trie.allowed(np.array([node]))[0].astype(np.int64)
            out[i] = _logsumexp(logits[i : i + 1, torch.from_numpy(tokens).to(logits.device)])[0]
        return out


# -- what may follow ----------------------------------------------------------------------------------------


@dataclass
class _Step:
    """The candidates of one step, in the order of their sequences.

    values: float32 [A, W], sums, -inf where there is no candidate; running: the same, -inf for those that cannot
    go on. width: beams a query had; ends, goes: whether any candidate may end, may go on; ended: whether any
    may have ended by now.
    """

    values: Tensor
    running: Tensor
    width: int
    ends: bool
    goes: bool
    ended: bool
    parts: Any


@dataclass
class _Chosen:
    """[A, m] candidates: the beam each came from, its token, and its node or its tokens so far."""

    beam: Tensor
    token: Tensor
    path: Tensor


class _TrieSpace:
    """Beams are nodes of a trie: int64 [A, w], -1 where there is none."""

    def __init__(self, decoder: Decoder, device: torch.device) -> None:
        self.device = device
        self.trie = trie = decoder.trie
        self.norm = decoder.normalisation
        arrays = trie.tensors(device)
        self.indptr, self.token = arrays["child_indptr"], arrays["child_token"]
        self.leaf_first, self.terminal = arrays["leaf_first"], arrays["terminal"]
        self.tokens = decoder.docid_tokens.to(device)
        self.narrowed = decoder.narrow is not None
        self.column = self.token
        if self.narrowed:
            # The columns of a narrowed model are the docid tokens in order.
            self.column = torch.searchsorted(self.tokens.to(torch.int32), self.token, out_int32=True)
        self.depth = trie.depth
        # What a level holds is known beforehand, so no step asks the device.
        level, goes = trie.level_indptr, np.diff(trie.child_indptr) > 0
        bounds = [(int(level[i]), int(level[i + 1])) for i in range(1, self.depth + 1)]
        self.any_end = [bool(trie.terminal[a:b].any()) for a, b in bounds]
        self.any_goes = [bool(goes[a:b].any()) for a, b in bounds]
        self.all_go = [bool(goes[a:b].all()) for a, b in bounds]
        first = self.column[: int(trie.child_indptr[1])]
        low, high = int(first[0]), int(first[-1]) + 1
        self.first: slice | Tensor = slice(low, high) if high - low == len(first) else first.long()

    def root(self, queries: int) -> Tensor:
        return torch.zeros((queries, 1), dtype=torch.int64, device=self.device)

    def expand(self, nodes: Tensor, t: int, cum: Tensor, logits: Tensor) -> _Step:
        queries, width = nodes.shape
        known = nodes.clamp(min=0)
        first = self.indptr[known].long()
        counts = (self.indptr[known + 1] - first).masked_fill(nodes < 0, 0)
        inner: Tensor | None = None
        mixed = self.any_goes[t] and not self.all_go[t]
        if t == 0:
            # One node for all queries: its children are a slice or a selection of columns.
            found = logits[:, self.first].clamp(min=LEAST)
            norm = self._norm(logits, found)
            values = found - norm[:, None]
            if mixed:
                children = torch.arange(1, values.shape[1] + 1, device=self.device)
                inner = (self.indptr[children + 1] > self.indptr[children]).expand(queries, -1)
        else:
            values, inner = self._ragged(first, counts, cum, logits, mixed)
        running = values if inner is None else values.masked_fill(~inner, NEVER)
        return _Step(
            values,
            running,
            width,
            self.any_end[t],
            self.any_goes[t],
            any(self.any_end[: t + 1]),
            (first, counts),
        )

    def _ragged(
        self, first: Tensor, counts: Tensor, cum: Tensor, logits: Tensor, mixed: bool
    ) -> tuple[Tensor, Tensor | None]:
        """(values [A, W], which can go on) of all children of all beams, end to end: a node with thousands of
        children must not make its neighbours' rows as wide."""
        queries, width = counts.shape
        flat = counts.reshape(-1)
        ends = flat.cumsum(0)
        totals = counts.sum(1)
        total, widest = int(ends[-1]), int(totals.max())
        row = torch.repeat_interleave(torch.arange(len(flat), device=self.device), flat, output_size=total)
        place = torch.arange(total, device=self.device)
        edge = place + (first.reshape(-1) - (ends - flat))[row]
        found = logits.reshape(-1)[row * logits.shape[1] + self.column[edge]].clamp(min=LEAST)
        if self.norm == "children":
            most = int(flat.max())
            table = found.new_full((len(flat), most), NEVER)
            table.view(-1)[row * most + place - (ends - flat)[row]] = found
            norm = torch.logsumexp(table, dim=1)
        else:
            norm = self._norm(logits, found)
        # The same order of operations as in score_all, so that equal sums are equal to the last bit.
        found = cum.reshape(-1)[row] + (found - norm[row])
        inner = self.indptr[edge + 2] > self.indptr[edge + 1] if mixed else None
        if total == queries * widest:
            return found.view(queries, widest), None if inner is None else inner.view(queries, widest)
        query = row // width
        spot = (
            place + (torch.arange(queries, device=self.device) * widest - (totals.cumsum(0) - totals))[query]
        )
        values = found.new_full((queries, widest), NEVER)
        values.view(-1)[spot] = found
        if inner is None:
            return values, None
        table = torch.zeros((queries, widest), dtype=torch.bool, device=self.device)
        table.view(-1)[spot] = inner
        return values, table

    def _norm(self, logits: Tensor, found: Tensor) -> Tensor:
        """float32 [rows]: what log-probabilities are over."""
        if self.norm == "children":
            return _logsumexp(found)
        if self.norm == "docid" and not self.narrowed:
            return _logsumexp(logits[:, self.tokens])
        return _logsumexp(logits)

    def choose(self, step: _Step, at: Tensor) -> _Chosen:
        first, counts = step.parts
        upto = counts.cumsum(1)
        beam = torch.searchsorted(upto, at, right=True).clamp(max=step.width - 1)
        edge = first.gather(1, beam) + at - (upto - counts).gather(1, beam)
        dead = _taken(step.values, at) == NEVER
        edge = edge.masked_fill(dead, 0)
        return _Chosen(beam, self.token[edge].long(), (edge + 1).masked_fill(dead, -1))

    def is_end(self, chosen: _Chosen, _: int) -> Tensor:
        return self.terminal[chosen.path.clamp(min=0)] & (chosen.path >= 0)

    def key(self, chosen: _Chosen) -> Tensor:
        """The leaf, whose number is its place in sequence order."""
        return self.leaf_first[chosen.path.clamp(min=0)]

    def moved(self, chosen: _Chosen, kept: Tensor, width: int) -> Tensor:
        return chosen.path[kept, :width]


class _FreeSpace:
    """Beams are sequences: int64 [A, w, t]; what may follow depends on the position alone."""

    def __init__(self, decoder: Decoder, device: torch.device, positions: PositionMask) -> None:
        self.device, self.end, self.norm = device, positions.end, decoder.normalisation
        self.depth = len(positions.positions)
        self.tokens = decoder.docid_tokens.to(device)
        self.narrowed = decoder.narrow is not None
        self.sets = [None if p is None else torch.from_numpy(p).to(device) for p in positions.positions]
        self.columns = [
            None if p is None else (torch.searchsorted(self.tokens, p) if self.narrowed else p)
            for p in self.sets
        ]
        self.has_end = [
            self.end is not None and (p is None or bool((p == self.end).any())) for p in positions.positions
        ]

    def root(self, queries: int) -> Tensor:
        return torch.zeros((queries, 1, 0), dtype=torch.int64, device=self.device)

    def expand(self, paths: Tensor, t: int, cum: Tensor, logits: Tensor) -> _Step:
        queries, width, _ = paths.shape
        columns, allowed = self.columns[t], self.sets[t]
        found = logits if columns is None else logits[:, columns]
        if self.norm == "children":
            norm = _logsumexp(found)
        elif self.norm == "docid" and not self.narrowed:
            norm = _logsumexp(logits[:, self.tokens])
        else:
            norm = _logsumexp(logits)
        values = (found - norm[:, None]).view(queries, width, -1) + cum[..., None]
        last = t == self.depth - 1
        running = values
        if not last and self.has_end[t]:
            running = values.clone()
            where = self.end if allowed is None else int(torch.searchsorted(allowed, cast(int, self.end)))
            running[..., where] = NEVER
        ends = last or self.has_end[t]
        parts = (paths, allowed, found.shape[1])
        ended = any(self.has_end[: t + 1])
        return _Step(values.flatten(1), running.flatten(1), width, ends, not last, ended, parts)

    def choose(self, step: _Step, at: Tensor) -> _Chosen:
        paths, allowed, options = step.parts
        beam = (at // options).clamp(max=step.width - 1)
        place = at % options
        token = place if allowed is None else allowed[place]
        path = torch.cat([_beams_of(paths, beam), token[..., None]], dim=2)
        return _Chosen(beam, token, path)

    def is_end(self, chosen: _Chosen, t: int) -> Tensor:
        if t == self.depth - 1:
            return torch.ones_like(chosen.token, dtype=torch.bool)
        return chosen.token == (-1 if self.end is None else self.end)

    def key(self, chosen: _Chosen) -> Tensor:
        return chosen.path

    def moved(self, chosen: _Chosen, kept: Tensor, width: int) -> Tensor:
        return chosen.path[kept, :width]


# -- lists of docids ----------------------------------------------------------------------------------------


@dataclass
class _Lists:
    """The state of list decoding: A queries of w hypotheses.

    node: int64 [A, w], -1 where there is none; used: int64 [A, w, m], leaves emitted, in order; each: float32
    [A, w, m], their log-probabilities; open: float32 [A, w], the log-probability of the docid under way.
    """

    node: Tensor
    used: Tensor
    each: Tensor
    open: Tensor

    def gathered(self, beam: Tensor) -> _Lists:
        """The hypotheses `beam` (int64 [A, m]) of each query."""
        return _Lists(
            self.node.gather(1, beam), _beams_of(self.used, beam), _beams_of(self.each, beam),
            self.open.gather(1, beam),
        )  # fmt: skip

    def kept(self, rows: Tensor) -> _Lists:
        return _Lists(self.node[rows], self.used[rows], self.each[rows], self.open[rows])


class ListDecoder:
    """Ranked lists `docid separator docid separator ... end` in one pass (CorpusLM).

    A docid that a hypothesis has emitted is taken out of its trie, with the branches that become empty, so a
    list never repeats and never runs into a dead end. The separator and the end stand only where a docid does;
    the end only after `least` docids, or where the list is full or the trie empty.
    docids: the most a list may hold. beams=1 is greedy and stops at the end token. scores: `rank`, -1 for the
    first docid, -2 for the second; `logprob`, each docid's sum with the token that closes it.
    merge: `best` takes the best hypothesis' list; `all` appends those of the others, without repetition.
    """

    def __init__(
        self,
        stepper: Stepper,
        trie: DocidTrie,
        *,
        separator: int,
        end: int,
        docids: int = 10,
        least: int = 1,
        beams: int = 1,
        length_penalty: float = 1.0,
        scores: Literal["rank", "logprob"] = "rank",
        merge: Literal["best", "all"] = "best",
    ) -> None:
        if trie.end is not None:
            raise ValueError("lists need a trie without an end token: separator and end close its docids")
        if separator == end or np.isin([separator, end], trie.tokens).any():
            raise ValueError("separator and end must differ and occur in no docid")
        if max(separator, end, int(trie.tokens[-1])) >= stepper.vocabulary:
            raise ValueError(f"the model has only {stepper.vocabulary} tokens")
        self.stepper, self.trie, self.separator, self.end = stepper, trie, separator, end
        self.docids, self.least = min(docids, trie.leaves), min(least, docids, trie.leaves)
        self.beams, self.length_penalty = beams, length_penalty
        self.scores, self.merge = scores, merge

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "mode": "list", "beams": self.beams, "normalisation": "full", "length_penalty": self.length_penalty,
            "docids": self.docids, "least": self.least, "scores": self.scores, "merge": self.merge,
        }  # fmt: skip

    @torch.inference_mode()
    def __call__(self, batch: Any, k: int | None = None) -> Decoded:
        """The lists of a batch; k: hits a query, by default as many as may be written (a list, or all of them)."""
        state, logits = self.stepper.start(batch)
        device, queries = logits.device, len(logits)
        self._arrays(device)
        lists = _Lists(
            torch.zeros((queries, 1), dtype=torch.int64, device=device),
            torch.full((queries, 1, 0), -1, dtype=torch.int64, device=device),
            torch.zeros((queries, 1, 0), device=device),
            torch.zeros((queries, 1), device=device),
        )
        cum = torch.zeros((queries, 1), device=device)
        query = torch.arange(queries, device=device)
        best = torch.full((queries, self.beams), NEVER, device=device)
        counted = torch.ones(queries, dtype=torch.int64, device=device)
        done: list[list[tuple[float, int, list[int], list[float]]]] = [[] for _ in range(queries)]
        longest = self.docids * (self.trie.depth + 1)
        for t in range(longest):
            width = lists.node.shape[1]
            edges, gains, values = self._candidates(lists, cum, logits)
            options = values.shape[2]
            table = values.flatten(1)
            at = _top(table, self.beams)
            sums = _taken(table, at)
            ends = (at % options == options - 1) & (sums > NEVER)
            if bool(ends.any()):
                made = self._followed(lists, edges, gains, at, options)
                scores = (sums / math.pow(t + 1, self.length_penalty)).masked_fill(~ends, NEVER)
                self._put(done, query, scores, made)
                best = torch.cat([best, scores], dim=1).topk(self.beams, dim=1).values
            values[..., -1] = NEVER
            table = values.flatten(1)
            at = _top(table, self.beams)
            cum = _taken(table, at)
            live = cum > NEVER
            bound = cum.max(dim=1).values / math.pow(
                longest if self.length_penalty > 0 else t + 1, self.length_penalty
            )
            finished = best[:, -1] > (NEVER if self.beams == 1 else bound)
            kept = (live.any(1) & ~finished).nonzero()[:, 0]
            if not len(kept):
                break
            shown = int(live[kept].sum(1).max())
            beam = (at // options).clamp(max=width - 1)
            token = self._tokens(edges, at, options)
            lists = self._followed(lists, edges, gains, at, options).kept(kept)
            lists = lists.gathered(torch.arange(shown, device=device).expand(len(kept), -1))
            parents = kept[:, None] * width + beam[kept, :shown]
            cum, query, best = cum[kept, :shown], query[kept], best[kept]
            lists.node.masked_fill_(cum == NEVER, -1)
            counted[query] += (cum > NEVER).sum(1)
            logits = self.stepper.step(state, parents.reshape(-1), token[kept, :shown].reshape(-1))
        return self._answer(done, counted, k or self.docids * (self.beams if self.merge == "all" else 1))

    def _arrays(self, device: torch.device) -> None:
        arrays = self.trie.tensors(device)
        self._indptr, self._token = arrays["child_indptr"], arrays["child_token"]
        self._first, self._terminal = arrays["leaf_first"], arrays["terminal"]
        self._count = torch.from_numpy(self.trie.leaf_count).to(device)

    def _candidates(self, lists: _Lists, cum: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(edges [A, w, C], log-probabilities and sums [A, w, C + 2]): the children that still hold a docid,
        the separator, the end."""
        node = lists.node.clamp(min=0)
        first = self._indptr[node].long()
        counts = (self._indptr[node + 1] - first).masked_fill(lists.node < 0, 0)
        most = int(counts.max())
        place = torch.arange(most, device=node.device)
        inside = place < counts[..., None]
        edges = (first[..., None] + place).masked_fill(~inside, 0)
        child = (edges + 1).clamp(max=len(self._terminal) - 1)
        left = self._count[child].long().masked_fill(~inside, 0)
        number = lists.used.shape[2]
        own = torch.zeros_like(lists.node, dtype=torch.bool)  # this node's docid has been emitted
        if number:
            # The leaves below a child are a range: each leaf that was emitted is counted at the child whose
            # range holds it.
            begins = self._first[child].long().masked_fill(~inside, len(self._terminal))
            low = self._first[node].long()[..., None]
            under = (lists.used >= low) & (lists.used < low + self._count[node][..., None])
            at = torch.searchsorted(begins, lists.used, right=True) - 1
            own = ((at < 0) & under).any(2) & self._terminal[node]
            spent = torch.zeros((*left.shape[:2], most + 1), dtype=torch.int64, device=node.device)
            spent.scatter_add_(2, at.clamp(min=0), (under & (at >= 0)).long())
            left -= spent[..., :most]
        table = (logits - _logsumexp(logits)[:, None]).clamp(min=LEAST).view(*node.shape, -1)
        closes = self._terminal[node] & ~own & (lists.node >= 0)
        emitted = (lists.used >= 0).sum(2)
        full = emitted + 1 >= self.docids
        gains = torch.cat(
            [
                table.gather(2, self._token[edges].long()).masked_fill(left <= 0, NEVER),
                table[..., self.separator, None].masked_fill(~(closes & ~full)[..., None], NEVER),
                table[..., self.end, None].masked_fill(~closes[..., None], NEVER),
            ],
            dim=2,
        )
        gains[..., -1].masked_fill_(emitted + 1 < self.least, NEVER)
        return edges, gains, cum[..., None] + gains

    def _tokens(self, edges: Tensor, at: Tensor, options: int) -> Tensor:
        place = at % options
        beam = (at // options).clamp(max=edges.shape[1] - 1)
        if options == 2:
            token = torch.zeros_like(place)
        else:
            flat = edges.flatten(1)
            spot = (beam * (options - 2) + place.clamp(max=options - 3)).clamp(max=flat.shape[1] - 1)
            token = self._token[flat.gather(1, spot)].long()
        token = token.masked_fill(place == options - 2, self.separator)
        return token.masked_fill(place == options - 1, self.end)

    def _followed(self, lists: _Lists, edges: Tensor, gains: Tensor, at: Tensor, options: int) -> _Lists:
        """The hypotheses after the chosen candidates."""
        place = at % options
        beam = (at // options).clamp(max=edges.shape[1] - 1)
        made = lists.gathered(beam)
        gain = gains.flatten(1).gather(1, at.clamp(max=gains[0].numel() - 1))
        closes = place >= options - 2
        leaf = self._first[made.node.clamp(min=0)].long()
        value = made.open + gain
        used = torch.cat([made.used, leaf.masked_fill(~closes, -1)[..., None]], dim=2)
        each = torch.cat([made.each, value.masked_fill(~closes, 0)[..., None]], dim=2)
        if options > 2:
            flat = edges.flatten(1)
            spot = (beam * (options - 2) + place.clamp(max=options - 3)).clamp(max=flat.shape[1] - 1)
            node = flat.gather(1, spot) + 1
        else:
            node = torch.zeros_like(made.node)
        # Emitted leaves stand at the left: hypotheses are at different places of their lists.
        order = (used < 0).long().sort(dim=2, stable=True).indices
        most = int((used >= 0).sum(2).max())
        return _Lists(
            node.masked_fill(closes, 0), used.gather(2, order)[..., :most], each.gather(2, order)[..., :most],
            value.masked_fill(closes, 0),
        )  # fmt: skip

    def _put(
        self,
        done: list[list[tuple[float, int, list[int], list[float]]]],
        query: Tensor,
        scores: Tensor,
        made: _Lists,
    ) -> None:
        for a, m in (scores > NEVER).nonzero().tolist():
            leaves = made.used[a, m]
            length = int((leaves >= 0).sum())
            mine = done[int(query[a])]
            each = made.each[a, m, :length].tolist()
            mine.append((float(scores[a, m]), len(mine), leaves[:length].tolist(), each))

    def _answer(
        self, done: list[list[tuple[float, int, list[int], list[float]]]], counted: Tensor, k: int
    ) -> Decoded:
        queries = len(done)
        leaf = np.full((queries, max(1, self.docids * self.beams)), -1, dtype=np.int64)
        scores = np.full(leaf.shape, NEVER, dtype=np.float32)
        repeated = np.zeros(queries, dtype=np.int64)
        for q, found in enumerate(done):
            found.sort(key=lambda one: (-one[0], one[2], one[1]))
            seen: dict[int, float] = {}
            for _, _, leaves, each in found[: 1 if self.merge == "best" else self.beams]:
                for number, value in zip(leaves, each, strict=True):
                    repeated[q] += number in seen
                    seen.setdefault(number, value)
            leaf[q, : len(seen)] = list(seen)
            ranks = -np.arange(1, len(seen) + 1)
            scores[q, : len(seen)] = ranks if self.scores == "rank" else list(seen.values())
        rows, out, duplicate = _rows(self.trie, leaf, scores, k)
        return Decoded(
            rows, out, np.zeros(queries, dtype=np.int64), duplicate + repeated, _ties(out),
            counted.cpu().numpy(), self.settings,
        )  # fmt: skip


# -- arrays -------------------------------------------------------------------------------------------------


def _logsumexp(logits: Tensor) -> Tensor:
    """float32 [rows] of [rows, columns]."""
    if logits.device.type != "cpu" or logits.shape[1] < 256:
        return _checked(torch.logsumexp(logits, dim=1))
    # In blocks that stay in the processor's cache: a third of the time of one pass over a large table.
    rows, columns = logits.shape
    step = max(1, (1 << 17) // columns)
    out = logits.new_empty(rows)
    buffer = logits.new_empty((min(step, rows), columns))
    for at in range(0, rows, step):
        block = logits[at : at + step]
        largest = block.amax(dim=1)
        # A row of nothing but -inf would subtract -inf from itself.
        largest = largest.masked_fill(largest == NEVER, 0)
        part = torch.sub(block, largest[:, None], out=buffer[: len(block)])
        out[at : at + step] = part.exp_().sum(dim=1).log_().add_(largest)
    return _checked(out)


def _checked(norm: Tensor) -> Tensor:
    if bool(norm.isnan().any()):
        raise InputError("the model gave NaN as a logit", remedy="check its weights and its dtype")
    return norm


def _top(values: Tensor, most: int) -> Tensor:
    """int64 [A, m]: the places of the best `most` values of each row (ties: the first places), ascending;
    places without a value (-inf) last, as the number of columns."""
    queries, width = values.shape
    if width <= most:
        at = torch.arange(width, device=values.device).expand(queries, -1)
        found = values
    else:
        best, at = values.topk(most + 1, dim=1)
        tied = (best[:, most - 1] == best[:, most]) & (best[:, most] > NEVER)
        found, at = best[:, :most], at[:, :most]
        if bool(tied.any()):
            # topk breaks ties as it likes: take all above the last value, and of its equals the first ones.
            rows = tied.nonzero()[:, 0]
            some, edge = values[rows], best[rows, most - 1 : most]
            above, equal = some > edge, some == edge
            room = most - above.sum(1, keepdim=True)
            chosen = (above | (equal & (equal.cumsum(1) <= room))).nonzero()[:, 1].view(-1, most)
            at, found = at.clone(), found.clone()
            at[rows], found[rows] = chosen, some.gather(1, chosen)
    return at.masked_fill(found == NEVER, width).sort(dim=1).values


def _taken(values: Tensor, at: Tensor) -> Tensor:
    """The values at `_top`'s places, -inf where there is none."""
    width = values.shape[1]
    return values.gather(1, at.clamp(max=width - 1)).masked_fill(at >= width, NEVER)


def _beams_of(values: Tensor, beam: Tensor) -> Tensor:
    """[A, m, ...]: the beams `beam` (int64 [A, m]) of values [A, w, x]."""
    return values.gather(1, beam[..., None].expand(-1, -1, values.shape[2]))


def _lengths(trie: DocidTrie) -> list[int]:
    level = trie.level_indptr
    return [i for i in range(1, trie.depth + 1) if trie.terminal[level[i] : level[i + 1]].any()]


def _rows(
    trie: DocidTrie, leaf: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """(rows [B, k], scores [B, k], duplicates [B]) of ranked leaves, [B, m]; -1 is skipped."""
    known = np.maximum(leaf, 0)
    first = trie.leaf_indptr[known].astype(np.int64)
    counts = np.where(leaf >= 0, trie.leaf_indptr[known + 1] - first, 0)
    flat = counts.ravel()
    ends = np.cumsum(flat)
    spot = np.repeat(np.arange(flat.size), flat)
    nth = np.arange(int(ends[-1])) - (ends - flat)[spot]  # which of its leaf's rows
    query = spot // leaf.shape[1]
    totals = counts.sum(axis=1)
    place = np.arange(len(spot)) - (np.cumsum(totals) - totals)[query]
    kept = place < k
    rows = np.full((len(leaf), k), -1, dtype=np.int64)
    out = np.full((len(leaf), k), NEVER, dtype=np.float32)
    at = query[kept], place[kept]
    rows[at] = trie.leaf_rows[(first.ravel()[spot] + nth)[kept]]
    out[at] = scores.ravel()[spot[kept]]
    duplicate = np.bincount(query[kept & (nth > 0)], minlength=len(leaf))
    return rows, out, duplicate.astype(np.int64)


def _ties(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """int64 [B]: hits whose score a neighbour has too."""
    equal = (scores[:, 1:] == scores[:, :-1]) & (scores[:, 1:] > NEVER)
    tied = np.zeros(scores.shape, dtype=np.bool_)
    tied[:, 1:] |= equal
    tied[:, :-1] |= equal
    return np.asarray(tied.sum(axis=1), dtype=np.int64)
