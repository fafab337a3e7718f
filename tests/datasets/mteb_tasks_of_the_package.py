"""The rows of `datasets/mteb_tasks.tsv`, from the metadata of the package mteb (2.26.24).

To write the file anew: python tests/datasets/mteb_tasks_of_the_package.py > datasets/mteb_tasks.tsv
"""

from __future__ import annotations

from seekbench.errors import InputError
from seekbench.metrics.measure import parse

TYPES = ["Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking"]
HEADER = "task\ttype\trepo\trevision\tsplits\tlanguages\tmetric\texclude\tlicence"


def rows() -> list[str]:
    """Of all text tasks that mteb reads in its own hub layout, without code of the task's own, and whose main metric we
    have. languages: ISO 639-3 codes, or `subset:codes` of each subset; a comma between codes."""
    import mteb
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    found = []
    for task in mteb.get_tasks(task_types=TYPES, exclude_superseded=False, exclude_aggregate=True):
        data, kind = task.metadata, type(task)
        own = (
            kind.load_data is not AbsTaskRetrieval.load_data
            or kind.dataset_transform is not AbsTaskRetrieval.dataset_transform
        )
        if own or set(data.modalities) != {"text"}:
            continue
        try:
            metric = parse(data.main_score).name
        except InputError:
            continue
        langs = data.eval_langs
        languages = (
            [f"{subset}:{','.join(_codes(codes))}" for subset, codes in langs.items()]
            if isinstance(langs, dict)
            else [",".join(_codes(langs))]
        )
        found.append(
            "\t".join(
                [
                    data.name, data.type, data.dataset["path"], data.dataset["revision"], " ".join(data.eval_splits),
                    " ".join(languages), metric, "identical_id" if task.ignore_identical_ids else "none",
                    str(data.license or "not stated"),
                ]
            )
        )  # fmt: skip
    return sorted(found)


def _codes(languages: list[str]) -> list[str]:
    return sorted({code.partition("-")[0] for code in languages})


if __name__ == "__main__":
    print("\n".join([HEADER, *rows()]))
