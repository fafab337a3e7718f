"""ir_metadata 0.1 (https://www.ir-metadata.org): what a run file's scores were made by, as YAML beside the run, or on
request as comment lines at its top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seekbench.errors import Report
from seekbench.submission.bundle import Bundle, Cell
from seekbench.submission.targets import File, Submission
from seekbench.submission.trec import DEPTH, check_tag, run_file

#: Seen to raise an error for a run file that begins with comments.
_BREAK = "pytrec_eval, ir_measures, ranx and PyTerrier's read_results"
#: Packages named among the libraries: those that search.
_LIBRARIES = ("numpy", "scipy", "torch", "transformers", "sentence-transformers", "faiss-cpu", "pyserini")


def export(bundle: Bundle, report: Report) -> Submission:
    out = Submission()
    tag = check_tag(bundle, report)
    depth = bundle.options.depth or DEPTH
    inline = bundle.options.inline
    if inline:
        report.warning(
            "inline", f"{_BREAK} can't read a run file with comment lines", remedy="leave --inline out"
        )
    if not bundle.metadata.ir_metadata.actor:
        report.warning("no-actor", "nobody is named as the run's author", where=bundle.metadata.where)
    for cell in bundle.cells:
        text = as_yaml(metadata_of(cell, bundle, tag))
        header = _commented(text) if inline else b""
        made = run_file(bundle, cell, tag, depth, report, header=header)
        if made is None:
            continue
        out.files.append(made[0])
        out.rows.append(made[1])
        if not inline:
            out.files.append(_side_file(made[0].path.removesuffix(".trec") + ".ir_metadata.yaml", text))
    out.next_steps = ["publish each run together with its metadata"]
    return out


def metadata_of(cell: Cell, bundle: Bundle, tag: str) -> dict[str, Any]:
    """The record in ir_metadata's terms, and over it what the user gave."""
    record = cell.record
    dataset, retriever, hardware = record["dataset"], record["retriever"], record["hardware"]
    source = dataset["source"]
    analyzer = (record.get("index") or {}).get("analyzer") or {}
    training = record.get("training")
    told = {
        "schema-version": 0.1,
        "tag": tag,
        "platform": {
            "hardware": {
                "cpu": {
                    "model": hardware.get("cpu"),
                    "architecture": hardware.get("machine"),
                    "number of cores": hardware.get("cores"),
                },
                "gpu": [{"model": gpu} for gpu in hardware.get("gpus") or ()],
                "ram": f"{hardware['memory_gib']} GiB" if hardware.get("memory_gib") else None,
            },
            "operating system": {"kernel": hardware.get("system")},
            "software": {
                "libraries": [
                    f"{name} {record['versions'][name]}" for name in _LIBRARIES if name in record["versions"]
                ],
                "retrieval toolkit": [f"seekbench {record['versions'].get('seekbench')}"],
            },
        },
        "research goal": {
            "evaluation": {
                "reported_measures": list(record["metrics"]),
                "baseline": [b for b in [record.get("baseline")] if b and b != cell.system],
            }
        },
        "implementation": {"source": {"lang": ["python"]}},
        "method": {
            "automatic": "true",
            "score ties": record["policies"].get("ranking"),
            "indexing": {
                "tokenizer": analyzer.get("analyzer"),
                "stemmer": analyzer.get("stemmer"),
                "stopwords": analyzer.get("stopwords"),
            },
            "retrieval": [
                {
                    "name": cell.system,
                    "method": retriever["type"],
                    **retriever["config"],
                    "interpolates" if retriever["type"] == "fusion" else "reranks": retriever["needs"],
                }
            ],
        },
        "data": {
            "test collection": {
                "name": dataset["id"],
                "source": source.get("repo"),  # a folder's path says nothing elsewhere
                "qrels": dataset["split"],
                "topics": dataset["split"],
            },
            "training data": [{"name": dataset["id"], "folds": training["split"]}] if training else [],
        },
    }
    given = bundle.metadata.ir_metadata.model_dump(by_alias=True)
    merged: dict[str, Any] = _plain(_merged(told, given))
    return merged


def as_yaml(metadata: Mapping[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, width=10_000)
    return text


def _merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are merged, everything else is replaced."""
    out = dict(base)
    for key, value in top.items():
        old = out.get(key)
        out[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return out


def _plain(value: Any) -> Any:
    """Without what is not known, and without what that leaves empty."""
    if isinstance(value, Mapping):
        kept = {name: _plain(v) for name, v in value.items()}
        return {name: v for name, v in kept.items() if v not in (None, {}, [])}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _commented(text: str) -> bytes:
    lines = ["ir_metadata.start", *text.splitlines(), "ir_metadata.end"]
    return "".join(f"# {line}\n" for line in lines).encode()


def _side_file(path: str, text: str) -> File:
    return File(path, lambda: iter([text.encode()]))
