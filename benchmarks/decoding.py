"""Trie-constrained beam search, side by side: seekbench's, and transformers' generate with a dictionary trie.

    python benchmarks/decoding.py --docids 10000 100000 --vocabulary 32128 1200 --batch 1 16 64

One seeded T5-like model (2 + 2 layers, random weights), 20 beams, docids of four tokens of 32 a level and the end
token. `full` normalises over the whole vocabulary, as transformers does, and must give the same beams; `docid`
over the docid tokens alone (so only their logits are computed); `generate` is transformers' with
`prefix_allowed_tokens_fn`. Every system runs in a fresh process, after one untimed batch; the figure is the best
of `--repeat` passes over the same queries.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

LEVELS, WIDTH, END = 4, 32, 1


def docid_tokens(count: int, vocabulary: int) -> np.ndarray:
    """int32 [count, LEVELS]: different docids; each level has tokens of its own, at the vocabulary's end."""
    chosen = np.random.default_rng(0).choice(WIDTH**LEVELS, size=count, replace=False)
    digits = np.stack([chosen // WIDTH**level % WIDTH for level in range(LEVELS)], axis=1)
    return (digits + vocabulary - (np.arange(LEVELS) + 1) * WIDTH).astype(np.int32)


def model(options: argparse.Namespace, vocabulary: int) -> Any:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=vocabulary, d_model=options.dim, d_kv=options.dim // 4, d_ff=options.dim * 4, num_layers=2,
        num_heads=4, decoder_start_token_id=0, pad_token_id=0, eos_token_id=END, initializer_factor=2.0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def inputs(options: argparse.Namespace, batch: int) -> list[dict[str, Any]]:
    import torch

    draw = torch.Generator().manual_seed(1)
    queries = max(batch, min(options.queries, 16 * batch))
    ids = torch.randint(2, 1000, (queries, 16), generator=draw)
    return [
        {"input_ids": part, "attention_mask": torch.ones_like(part)}
        for part in ids[: queries // batch * batch].split(batch)
    ]


def seekbench(options: argparse.Namespace, count: int, vocabulary: int, normalisation: Any) -> dict[str, Any]:
    from seekbench.retrievers.generative.decoding import Decoder
    from seekbench.retrievers.generative.steppers import stepper_of
    from seekbench.retrievers.generative.trie import DocidTrie

    tokens = docid_tokens(count, vocabulary)
    start = time.perf_counter()
    trie = DocidTrie.build(tokens.ravel(), np.arange(count + 1) * LEVELS, end=END)
    build = time.perf_counter() - start
    stepper = stepper_of(model(options, vocabulary))
    decoder = Decoder(stepper, trie, beams=options.beams, normalisation=normalisation)
    return {
        "build": build,
        "bytes": trie.bytes_per_docid,
        **timed(options, lambda batch: decoder(batch).rows),
    }


def full(options: argparse.Namespace, count: int, vocabulary: int) -> dict[str, Any]:
    return seekbench(options, count, vocabulary, "full")


def docid(options: argparse.Namespace, count: int, vocabulary: int) -> dict[str, Any]:
    return seekbench(options, count, vocabulary, "docid")


def generate(options: argparse.Namespace, count: int, vocabulary: int) -> dict[str, Any]:
    tokens = docid_tokens(count, vocabulary)
    start = time.perf_counter()
    root: dict[int, Any] = {}
    for path in tokens.tolist():
        node = root
        for token in path:
            node = node.setdefault(token, {})
        node[END] = {}
    build = time.perf_counter() - start
    rows = {tuple(path): row for row, path in enumerate(tokens.tolist())}
    network = model(options, vocabulary)

    def allowed(_: int, sequence: Any) -> list[int]:
        node = root
        for token in sequence.tolist()[1:]:
            node = node.get(token, {})
        return list(node) or [0]

    def decode(batch: dict[str, Any]) -> np.ndarray:
        out = network.generate(
            **batch, num_beams=options.beams, num_return_sequences=options.beams, max_new_tokens=LEVELS + 1,
            do_sample=False, prefix_allowed_tokens_fn=allowed,
        )  # fmt: skip
        found = [rows.get(tuple(path), -1) for path in out[:, 1 : LEVELS + 1].tolist()]
        return np.array(found).reshape(-1, options.beams)

    return {"build": build, "bytes": size(root) / count, **timed(options, decode)}


def size(node: dict[int, Any]) -> int:
    return sys.getsizeof(node) + sum(size(child) for child in node.values())


def timed(options: argparse.Namespace, decode: Any) -> dict[str, Any]:
    """Queries a second by batch size, and the hits of the last."""
    speed, hits = {}, np.empty((0, 0))
    for batch in options.batch:
        parts = inputs(options, batch)
        decode(parts[0])
        best = float("inf")
        for _ in range(options.repeat):
            start = time.perf_counter()
            found = [decode(part) for part in parts]
            best = min(best, time.perf_counter() - start)
            hits = np.concatenate(found)
        speed[str(batch)] = len(parts) * batch / best
    return {"speed": speed, "hits": hits.tolist()}


SYSTEMS = {"full": full, "docid": docid, "generate": generate}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--docids", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[32_128, 1_200])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--beams", type=int, default=20)
    parser.add_argument("--dim", type=int, default=64, help="the model's width")
    parser.add_argument("--queries", type=int, default=128, help="at most, a pass")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        system, count, vocabulary = options.one
        found = SYSTEMS[system](options, int(count), int(vocabulary))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**found, "peak": peak}))
        return
    batches = [f"q/s, batch {b}" for b in options.batch]
    header = "  ".join(f"{b:>14}" for b in batches)
    print(f"{'docids':>7} {'tokens':>6} {'system':<9} {header} {'build s':>8} {'B/docid':>8} {'peak MiB':>9}")
    for count in options.docids:
        for vocabulary in options.vocabulary:
            rows = {}
            for system in SYSTEMS:
                command = [
                    sys.executable,
                    __file__,
                    *sys.argv[1:],
                    "--one",
                    system,
                    str(count),
                    str(vocabulary),
                ]
                ran = subprocess.run(command, check=True, capture_output=True, text=True)
                rows[system] = row = json.loads(ran.stdout.strip().splitlines()[-1])
                speeds = "  ".join(f"{row['speed'][str(b)]:14,.1f}" for b in options.batch)
                print(f"{count:7} {vocabulary:6} {system:<9} {speeds} {row['build']:8.2f} {row['bytes']:8.1f} "
                      f"{row['peak']:9.0f}", flush=True)  # fmt: skip
            theirs, same = (
                rows["generate"],
                np.array(rows["full"]["hits"]) == np.array(rows["generate"]["hits"]),
            )
            for system in ("full", "docid"):
                ratios = "  ".join(
                    f"{rows[system]['speed'][b] / theirs['speed'][b]:.1f}" for b in theirs["speed"]
                )
                print(f"ratio {system} / generate: {ratios}")
            print(f"hits of `full` at the place where `generate` has them: {same.mean():.1%}")


if __name__ == "__main__":
    main()
