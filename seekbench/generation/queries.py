"""Queries that a language model writes for documents: docT5query, DSI-QG, and prompts in any language.

`generate` runs over a corpus shard by shard; what it makes is a function of each document, the seed and the
parameters (`decoding` says how sampling is kept so).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from seekbench import hashing
from seekbench.collection import Records
from seekbench.errors import InputError
from seekbench.generation import columns, filters
from seekbench.generation.checkpoints import GeneratorFiles, resolve
from seekbench.generation.columns import GeneratedQueries, table_of
from seekbench.generation.prompts import Prompt, tokens_of
from seekbench.generation.shards import Shards
from seekbench.retrievers import protocol
from seekbench.retrievers.dense.checkpoint import place
from seekbench.retrievers.protocol import Context, TextView

#: Modules whose code makes the queries (for cache keys).
MODULES = (
    "seekbench.generation",
    "seekbench.generation.batches",
    "seekbench.generation.checkpoints",
    "seekbench.generation.columns",
    "seekbench.generation.decoding",
    "seekbench.generation.filters",
    "seekbench.generation.prompts",
    "seekbench.generation.queries",
    "seekbench.generation.shards",
)
#: Tokens of documents and queries, times queries a document, of one batch.
BATCH_TOKENS = {"cpu": 8192, "cuda": 131_072, "mps": 16_384}


class Sampling(protocol.Params):
    """How a query's tokens are chosen."""

    kind: Literal["sample", "beams", "greedy"] = Field(
        "sample", description="drawn at random, the best of a beam search, or the best token at each step"
    )
    top_k: int | None = Field(10, ge=1, description="draw from so many tokens; null for all")
    top_p: float | None = Field(
        None, gt=0, le=1, description="draw from the fewest tokens that have this probability together"
    )
    temperature: float = Field(1.0, gt=0, description="divides the logits")
    beams: int | None = Field(None, ge=1, description="of `kind: beams`; as many as `count` where not stated")

    @model_validator(mode="after")
    def _fitting(self) -> Sampling:
        of_kind = {"sample": {"top_k", "top_p", "temperature"}, "beams": {"beams"}, "greedy": set()}[
            self.kind
        ]
        other = sorted(self.model_fields_set - {"kind"} - of_kind)
        if other:
            raise ValueError(f"{', '.join(other)} has no meaning for kind: {self.kind}")
        return self


class Generator(protocol.Params):
    """A checkpoint that writes queries for documents."""

    model: str = Field(
        min_length=1, description="a hub name or a folder: any encoder-decoder or decoder-only checkpoint"
    )
    revision: str | None = Field(None, description="branch, tag or (better) commit on the hub")
    template: str = Field(
        "{title} {text}",
        description="what the model reads, e.g. 'Generate a {language} question for this passage: {title} {text}'",
    )
    languages: tuple[str, ...] = Field(
        (), description="each is put into {language} of the template in turn; none: one pass without"
    )
    count: int = Field(10, ge=1, description="queries a document and language")
    sampling: Sampling = Field(
        Sampling.model_validate({}),
        description="how tokens are chosen; drawn from the 10 best where not stated",
    )
    max_input: int = Field(
        256, ge=2, description="tokens that an input is cut to (the document, not the prompt)"
    )
    max_new_tokens: int = Field(32, ge=1, description="tokens of a query at most")
    seed: int = Field(0, ge=0)
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="padded tokens of one batch: (input + max_new_tokens) x count; rounding differs in last bits",
    )
    shard: int = Field(256, ge=1, description="documents whose queries are saved at a time")
    keep: filters.Filter | None = Field(
        None, description="a filter: only the queries that it keeps are given"
    )

    @model_validator(mode="after")
    def _fitting(self) -> Generator:
        if self.sampling.kind == "greedy" and self.count != 1:
            raise ValueError("greedy decoding gives one query a document; state count: 1")
        if self.sampling.beams is not None and self.sampling.beams < self.count:
            raise ValueError(f"{self.sampling.beams} beams can't give {self.count} queries")
        if len(set(self.languages)) < len(self.languages):
            raise ValueError("a language is named twice")
        return self

    def prompts(self) -> list[Prompt]:
        """One a language. Raises InputError for a template that does not fit."""
        return [Prompt.of(self.template, language) for language in self.languages or (None,)]

    def files(self, context: Context, base: Path | None, *, fetch: bool = False) -> GeneratorFiles:
        """The checkpoint. Raises InputError for inputs that its positions don't allow."""
        found = resolve(
            GeneratorFiles,
            place(self.model, base),
            self.revision,
            offline=context.offline,
            trust_remote_code=context.trust_remote_code,
            fetch=fetch,
        )
        limit = found.positions
        wanted = (
            max(self.max_input, self.max_new_tokens)
            if found.seq2seq
            else self.max_input + self.max_new_tokens
        )
        if limit is not None and wanted > limit:
            raise InputError(
                f"max_input {self.max_input} and max_new_tokens {self.max_new_tokens} are more than the {limit} "
                f"positions of {found.name}",
                remedy=f"e.g. max_input: {limit if found.seq2seq else max(2, limit - self.max_new_tokens)}",
            )
        return found


def identity(params: Generator, context: Context, base: Path | None = None) -> dict[str, Any]:
    """JSON facts that queries depend on beyond the parameters: content of the checkpoints and versions of what
    computes with them. Cheap: no model is loaded, weights that are on the hub are not downloaded.

    base: folder that relative paths of models are relative to. Raises MissingError / InputError.
    """
    params.prompts()
    found: dict[str, Any] = dict(params.files(context, base).content())
    found["versions"] = {name: version(name) for name in ("torch", "transformers", "tokenizers")}
    if params.keep is not None:
        found["keep"] = filters.identity(params.keep, context, base)
    return found


def recipe(documents: TextView, params: Generator, context: Context, base: Path | None) -> dict[str, Any]:
    """JSON: all that queries depend on."""
    from seekbench.retrievers.dense import Dense

    return {
        "subject": "generated queries",
        "documents": documents.records.content_hash,
        "params": params.model_dump(mode="json"),
        "identity": identity(params, context, base),
        "code": {m: hashing.of_code(m) for m in (*MODULES, *Dense.modules, "seekbench.collection")},
    }


def stored(
    documents: TextView, params: Generator, folder: Path, *, context: Context, base: Path | None
) -> GeneratedQueries:
    """From the store where there is one, since generating takes hours and several systems read the same queries; else
    made in `folder`."""
    if context.stored is None:
        return generate(documents, params, folder, context=context, base=base)

    def make(place: Path) -> Mapping[str, Any]:
        made = generate(documents, params, place, context=context, base=base)
        return {"seconds": made.facts["seconds"], "rate": len(documents) / max(made.facts["seconds"], 1e-9)}

    return GeneratedQueries.open(context.stored("queries", recipe(documents, params, context, base), make))


def generate(
    documents: TextView | Records,
    params: Generator,
    folder: Path,
    *,
    context: Context,
    base: Path | None = None,
) -> GeneratedQueries:
    """Queries for all documents, kept in `folder` (generated.arrow, generated.json), continuing what an interrupted
    call left there; with `params.keep`, those that the filter keeps (queries.arrow, queries.json).
    `GeneratedQueries.open` reads them again.

    A shard is tokenized, sorted and batched by itself, so where an earlier call stopped changes nothing. Queries of
    a document that are empty, or the same as an earlier one of it, are dropped; a document without any text gets
    none. `facts`: documents, inputs (documents with text x languages), generated, kept, duplicates, empty, truncated,
    truncation_rate (of inputs), input_tokens, tokens (generated), seconds.
    Raises InputError for parameters that don't fit the documents or the checkpoint, or a folder that holds other
    work; MissingError where a checkpoint can't be had.
    """
    records = documents.records if isinstance(documents, TextView) else documents
    view = documents if isinstance(documents, TextView) else TextView(documents)
    for prompt in params.prompts():
        prompt.check(records)
    folder.mkdir(parents=True, exist_ok=True)
    depends = params.model_dump(mode="json", exclude={"shard", "batch_tokens", "keep"})
    content = params.files(context, base).content()
    key = hashing.of_json([depends, content, records.content_hash])
    shards = Shards(folder, "generated", rows=len(records), size=params.shard, key=key)
    if not shards.done:
        todo = shards.missing()
        if todo:
            run = _Run(records, params, context, base)
            done = shards.rows_done() * len(run.prompts)
            total = len(records) * len(run.prompts)
            with context.progress.stage("generate queries", total=total, unit="inputs", done=done) as stage:
                for i in todo:
                    shards.save(i, *run.shard(*shards.bounds(i), stage.advance))
            run.release()
    shards.join(lambda facts: _total(facts, len(records), params), columns.SCHEMA)
    made = GeneratedQueries.read(folder, "generated")
    if params.keep is None:
        for left in ("queries.json", "queries.arrow"):  # what an earlier call kept with a filter
            (folder / left).unlink(missing_ok=True)
        return made
    return filters.apply(made, view, params.keep, folder, context=context, base=base)


class _Run:
    """A loaded generator and the documents that it reads."""

    def __init__(self, records: Records, params: Generator, context: Context, base: Path | None) -> None:
        import torch

        from seekbench.generation.batches import Batches
        from seekbench.generation.decoding import Decoder
        from seekbench.retrievers.dense.encode import pick_device

        self.records, self.params, self.prompts = records, params, params.prompts()
        self.device = pick_device(context.device)
        if self.device == "cpu" and context.threads and torch.get_num_threads() != context.threads:
            torch.set_num_threads(context.threads)
        files = params.files(context, base, fetch=True)
        model, self.tokenizer = files.load(params.dtype, self.device)
        s = params.sampling
        self.decoder = Decoder(
            model, self.tokenizer, name=files.name, seq2seq=files.seq2seq, kind=s.kind, count=params.count,
            steps=params.max_new_tokens, temperature=s.temperature, top_k=s.top_k, top_p=s.top_p,
            beams=1 if s.kind != "beams" else s.beams or params.count,
        )  # fmt: skip
        self.batches = Batches(
            params.batch_tokens or BATCH_TOKENS[self.device.partition(":")[0]],
            self.decoder.most,
            name=files.name,
            device=self.device,
            remedy="state a smaller max_input or count, or dtype: bfloat16",
        )

    def shard(self, start: int, stop: int, advance: Any) -> tuple[Any, dict[str, Any]]:
        """(table, facts) of the documents start..stop."""
        from seekbench.generation.decoding import Decoded, uniforms

        began, p = time.monotonic(), self.params
        docs: list[int] = []
        languages: list[int] = []
        texts: list[str] = []
        inputs: list[list[int]] = []
        truncated = 0
        for number, prompt in enumerate(self.prompts):
            heads = prompt.heads(self.records, start, stop)
            filled = [i for i, head in enumerate(heads) if head]
            ids, cut = (
                tokens_of(self.tokenizer, [heads[i] for i in filled], prompt.tail, p.max_input)
                if filled
                else ([], 0)
            )
            docs += [start + i for i in filled]
            languages += [number if p.languages else -1] * len(filled)
            texts += [heads[i] + prompt.tail for i in filled]
            inputs += ids
            truncated += cut
            advance(len(heads) - len(filled))
        made: list[tuple[list[str], Any, int]] = [([], None, 0)] * len(inputs)

        def work(rows: Any) -> None:
            numbers = None
            if p.sampling.kind == "sample":
                numbers = uniforms(p.seed, [texts[i] for i in rows], p.count, p.max_new_tokens)
            out: Decoded = self.decoder([inputs[i] for i in rows], numbers)
            for at, row in enumerate(rows):
                part = slice(at * p.count, (at + 1) * p.count)
                made[row] = (out.texts[part], out.score[part], int(out.tokens[part].sum()))

        lengths = np.array([len(ids) for ids in inputs], dtype=np.int64)
        # What attention holds at the end.
        costs = max(p.count, self.decoder.beams) * (lengths + p.max_new_tokens)
        self.batches.run(costs, work, advance)
        table, facts = _kept(docs, languages, made)
        facts |= {
            "inputs": len(inputs),
            "truncated": truncated,
            "input_tokens": int(lengths.sum()),
            "tokens": sum(tokens for _, _, tokens in made),
            "seconds": time.monotonic() - began,
        }
        return table, facts

    def release(self) -> None:
        """Lets go of the model, since a filter may need the memory for another."""
        import gc

        from seekbench.retrievers.dense.encode import free_memory

        del self.decoder
        gc.collect()
        free_memory(self.device)


def _kept(
    docs: list[int], languages: list[int], made: list[tuple[list[str], Any, int]]
) -> tuple[Any, dict[str, Any]]:
    """Queries by document, language and place, without empty ones and a document's repeated ones."""
    rows: list[tuple[int, str, int, float]] = []
    duplicates = empty = 0
    known: set[tuple[int, str]] = set()
    for i in sorted(range(len(docs)), key=lambda i: (docs[i], languages[i])):
        queries, scores, _ = made[i]
        for query, score in zip(queries, scores, strict=True):
            if not query:
                empty += 1
            elif (docs[i], query) in known:
                duplicates += 1
            else:
                known.add((docs[i], query))
                rows.append((docs[i], query, languages[i], float(score)))
    doc, text, language, score = zip(*rows, strict=True) if rows else ((), (), (), ())
    facts = {
        "generated": len(rows) + duplicates + empty,
        "kept": len(rows),
        "duplicates": duplicates,
        "empty": empty,
    }
    return table_of(doc, text, language, score), facts


def _total(facts: list[dict[str, Any]], documents: int, params: Generator) -> Mapping[str, Any]:
    names = (
        "inputs", "generated", "kept", "duplicates", "empty", "truncated", "input_tokens", "tokens", "seconds",
    )  # fmt: skip
    total = {name: sum(f[name] for f in facts) for name in names}
    return {
        "documents": documents,
        "languages": list(params.languages),
        **total,
        "truncation_rate": total["truncated"] / max(1, total["inputs"]),
    }
