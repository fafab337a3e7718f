"""MTEB's model_meta.json: what the user says of the model, and of the rest what its records tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seekbench.datasets import mteb_tasks
from seekbench.errors import Report, did_you_mean
from seekbench.submission.bundle import Cell
from seekbench.submission.metadata import Metadata, ModelSheet

#: Without these a reviewer sends the sheet back; open weights have a license, too.
_NEEDED = ("name", "revision", "release_date", "languages", "open_weights", "training_datasets")

#: A reviewer asks for these where they are known.
_WANTED = (
    "n_parameters", "max_tokens", "embed_dim", "memory_usage_mb", "license", "framework", "reference",
    "similarity_fn_name", "use_instructions", "public_training_code", "public_training_data",
)  # fmt: skip

_TYPES = {"dense": "dense", "sparse": "sparse", "multi_vector": "late-interaction", "bm25": "sparse"}
_SIMILARITIES = {
    "cosine": "cosine", "dot": "dot", "maxsim": "MaxSim", "euclidean": "euclidean", "manhattan": "manhattan",
}  # fmt: skip


def model_sheet(metadata: Metadata, cells: Sequence[Cell], report: Report) -> ModelSheet:
    """The sheet with what the records tell filled in. What is missing, or contradicts them, goes to the report."""
    told = _told(cells[0]) if cells else {}
    given = {name: v for name, v in metadata.model if v is not None}
    for key in ("revision", "n_parameters", "embed_dim", "similarity_fn_name"):
        if key in told and key in given and given[key] != told[key]:
            report.warning(
                "sheet-differs",
                f"model.{key} is {given[key]}, the records say {told[key]}",
                where=metadata.where,
            )
    sheet = ModelSheet.model_validate({**told, **given})
    missing = [name for name in _NEEDED if getattr(sheet, name) is None]
    if sheet.open_weights and sheet.license is None:
        missing.append("license")
    if missing:
        said = {"name": "name (org/name)", "training_datasets": "training_datasets ([] says: none)"}
        report.error(
            "sheet-incomplete",
            f"missing of the model: {', '.join(said.get(name, name) for name in missing)}",
            where=metadata.where,
            remedy="under `model:` in the file of --meta",
        )
    tasks = mteb_tasks.tasks()
    for name in sheet.training_datasets or ():
        if name not in tasks:
            near = did_you_mean(name, tasks)
            report.warning(
                "training-name",
                f"'{name}' in training_datasets is no retrieval task of MTEB that is known here",
                where=metadata.where,
                remedy=near if near.startswith("did") else "names are MTEB's, as SciFact",
            )
    known = {code for task in tasks.values() for codes in task.languages.values() for code in codes}
    strange = [code for code in sheet.languages or () if code not in known]
    if strange:
        report.warning(
            "languages",
            f"no task of MTEB is in {', '.join(strange)}",
            where=metadata.where,
            remedy="is it ISO 639-3 and ISO 15924, as eng-Latn?",
        )
    rest = [name for name in _WANTED if getattr(sheet, name) is None and name not in missing]
    if rest:
        report.warning("sheet-gaps", f"not said of the model: {', '.join(rest)}", where=metadata.where)
    return sheet


def as_json(sheet: ModelSheet) -> dict[str, Any]:
    """All keys, in mteb's order. An embedding that can be cut is said by its full size, as mteb writes it."""
    values = sheet.model_dump()
    if isinstance(values["embed_dim"], list):
        values["embed_dim"] = max(values["embed_dim"])
    values |= {"framework": sheet.framework or [], "modalities": sheet.modalities or ["text"]}
    values["model_type"] = sheet.model_type or ["dense"]
    return {
        "loader_kwargs": {},
        **values,
        "experiment_kwargs": None,
        "extra_requirements_groups": None,
        "loader": None,
        "is_cross_encoder": "cross-encoder" in values["model_type"],
    }


def _told(cell: Cell) -> dict[str, Any]:
    """What a record tells of its model; no more than is certain."""
    retriever = cell.record["retriever"]
    about: dict[str, Any] = retriever.get("describe") or {}
    out: dict[str, Any] = {
        "revision": about.get("revision"),
        "n_parameters": about.get("parameters"),
        "embed_dim": about.get("dim"),
        "max_tokens": about.get("max_length"),
        "similarity_fn_name": _SIMILARITIES.get(str(about.get("similarity")).lower()),
    }
    if about.get("source") in ("hub", "package") and str(about.get("model")).count("/") == 1:
        out["name"] = about["model"]
    if "query_prompt" in about:
        out["use_instructions"] = bool(about["query_prompt"] or about.get("document_prompt"))
    if retriever["type"] in _TYPES:
        out["model_type"] = [_TYPES[retriever["type"]]]
    return {name: value for name, value in out.items() if value is not None}
