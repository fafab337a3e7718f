"""The rows of `datasets/mteb_tasks.tsv`, `mteb_counts.tsv` and `mteb_suites.tsv`, from the metadata of the package mteb
(2.26.24).

To write the files anew: python tests/datasets/mteb_tasks_of_the_package.py datasets
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from seekbench.errors import InputError
from seekbench.metrics.measure import parse

#: Tasks with code of their own that reads nothing else than the common layout (`<language>-corpus`, …).
SAME_LAYOUT = {"COIRCodeSearchNetRetrieval", "CodeSearchNetCCRetrieval"}
TYPES = ["Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking"]
HEADER = "task\ttype\trepo\trevision\tsplits\tlanguages\tmain_score\texclude\tlicence"


def rows() -> list[str]:
    """Of all text tasks that mteb reads in its own hub layout, without code of the task's own, and whose main metric we
    have. languages: as `eng-Latn`, or `subset:languages` of each subset; a comma between languages."""
    import mteb
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    found = []
    for task in mteb.get_tasks(task_types=TYPES, exclude_superseded=False, exclude_aggregate=True):
        data, kind = task.metadata, type(task)
        own = (
            kind.load_data is not AbsTaskRetrieval.load_data
            or kind.dataset_transform is not AbsTaskRetrieval.dataset_transform
        )
        if (own and data.name not in SAME_LAYOUT) or set(data.modalities) != {"text"}:
            continue
        try:
            parse(data.main_score)
        except InputError:
            continue
        langs = data.eval_langs
        languages = (
            [f"{subset}:{','.join(codes)}" for subset, codes in langs.items()]
            if isinstance(langs, dict)
            else [",".join(langs)]
        )
        found.append(
            "\t".join(
                [
                    data.name, data.type, data.dataset["path"], data.dataset["revision"], " ".join(data.eval_splits),
                    " ".join(languages), data.main_score, "identical_id" if task.ignore_identical_ids else "none",
                    str(data.license or "not stated"),
                ]
            )
        )  # fmt: skip
    return sorted(found)


COUNTS_HEADER = "task\tsplit\tsubset\tdocuments\tqueries"


def counts(known: set[str]) -> list[str]:
    """Documents and queries of every split and subset that mteb has counted."""
    import mteb

    found = []
    for name in sorted(known):
        for split, counted in (mteb.get_task(name).metadata.descriptive_stats or {}).items():
            subsets = counted.get("hf_subset_descriptive_stats") or {"": counted}
            for subset, said in subsets.items():
                if said.get("num_documents") and said.get("num_queries"):
                    key = "" if subset == "default" else subset
                    found.append(f"{name}\t{split}\t{key}\t{said['num_documents']}\t{said['num_queries']}")
    return found


SUITES_HEADER = "suite\tbenchmark\tmembers\tlacking"


def suites(known: set[str]) -> list[str]:
    """The retrieval and re-ranking tasks of every benchmark that has three and more of them: those that are known here
    (`task`, or `task:subset,subset` where it takes some of the subsets), and those that are not."""
    import mteb

    found = []
    for benchmark in mteb.get_benchmarks():
        if benchmark.name == "BEIR":  # has a card of its own
            continue
        tasks = [
            t for t in benchmark.tasks if t.metadata.type in TYPES and set(t.metadata.modalities) == {"text"}
        ]
        there = [_member(t) for t in tasks if t.metadata.name in known]
        lacking = [t.metadata.name for t in tasks if t.metadata.name not in known]
        if len(there) >= 3:
            slug = re.sub(r"[^a-z0-9.]+", "-", benchmark.name.lower()).strip("-")
            found.append("\t".join([slug, benchmark.name, " ".join(there), " ".join(lacking)]))
    return sorted(found)


def _member(task: Any) -> str:
    langs = task.metadata.eval_langs
    if not isinstance(langs, dict) or set(task.hf_subsets) == set(langs):
        return str(task.metadata.name)
    return f"{task.metadata.name}:{','.join(s for s in langs if s in task.hf_subsets)}"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    lines = rows()
    (folder / "mteb_tasks.tsv").write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    names = {line.partition("\t")[0] for line in lines}
    (folder / "mteb_counts.tsv").write_text(
        "\n".join([COUNTS_HEADER, *counts(names)]) + "\n", encoding="utf-8"
    )
    of_suites = suites(names)
    (folder / "mteb_suites.tsv").write_text("\n".join([SUITES_HEADER, *of_suites]) + "\n", encoding="utf-8")
