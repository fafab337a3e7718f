"""What boards want to know and records can't tell, from a YAML file; every mistake with file and line.

model: {name: org/model, revision: ..., release_date: 2026-01-31, languages: [eng-Latn], license: mit, ...}
datasets:
  scifact: {task: SciFact, revision: d56462d0...}
air_bench: {version: AIR-Bench_24.05}
ir_metadata: {actor: {name: ..., role: experimenter}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from seekbench import yamlfile
from seekbench.errors import InputError, Report, did_you_mean
from seekbench.validation import add_validation_errors
from seekbench.yamlfile import Marked

#: ISO 639-3 and ISO 15924, as MTEB writes languages.
Language = Annotated[str, Field(pattern=r"^[a-z]{3}-[A-Z][a-z]{3}$|^[a-z]+-Code$")]
#: Files and folders are called after it.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Url = Annotated[str, Field(pattern=r"^https?://\S+$")]


#: What mteb 2.26 takes as a licence, besides an address.
LICENCES = (
    "not specified", "mit", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "cc-by-nd-4.0", "openrail", "openrail++",
    "odc-by", "afl-3.0", "apache-2.0", "cc-by-nd-2.1-jp", "cc0-1.0", "bsd-3-clause", "gpl-3.0", "lgpl", "lgpl-3.0",
    "cdla-sharing-1.0", "mpl-2.0", "msr-la-nc", "multiple", "gemma", "eupl-1.2", "openmdw-1.1",
)  # fmt: skip
#: A branch moves; a result is of one state of a model.
BRANCHES = ("main", "master", "head", "latest", "default")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSheet(_Model):
    """The keys of MTEB's model_meta.json (`ModelMeta` of mteb 2.26), without those that only mteb itself sets.

    name: org/name, as on the Hugging Face hub. training_datasets: MTEB tasks whose data it learnt from; [] says: none.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._-]+$")] | None = None
    revision: Name | None = None
    release_date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    languages: list[Language] | None = None
    n_parameters: Annotated[int, Field(ge=0)] | None = None
    n_active_parameters_override: Annotated[int, Field(ge=0)] | None = None
    n_embedding_parameters: Annotated[int, Field(ge=0)] | None = None
    memory_usage_mb: Annotated[float, Field(ge=0)] | None = None
    max_tokens: Annotated[float, Field(gt=0)] | None = None
    embed_dim: Annotated[int, Field(gt=0)] | list[Annotated[int, Field(gt=0)]] | None = None
    license: str | None = None
    open_weights: bool | None = None
    public_training_code: str | None = None
    public_training_data: str | bool | None = None
    framework: list[
        Literal[
            "Sentence Transformers", "PyTorch", "GritLM", "LLM2Vec", "TensorFlow", "JAX", "API", "Tevatron",
            "NumPy", "PyLate", "ColBERT", "ColPali", "GGUF", "safetensors", "ONNX", "OpenVINO", "Transformers",
        ]
    ] | None = None  # fmt: skip
    reference: Url | None = None
    similarity_fn_name: Literal["cosine", "dot", "MaxSim", "euclidean", "manhattan", "custom"] | None = None
    use_instructions: bool | None = None
    training_datasets: list[str] | None = None
    adapted_from: str | None = None
    superseded_by: str | None = None
    modalities: list[Literal["text", "image", "audio", "video"]] | None = None
    model_type: (
        list[Literal["dense", "cross-encoder", "late-interaction", "sparse", "router", "hybrid"]] | None
    ) = None
    citation: str | None = None
    contacts: list[str] | None = None
    output_dtypes: list[str] | None = None

    @field_validator("license")
    @classmethod
    def _licence(cls, value: str | None) -> str | None:
        if value is None or value in LICENCES or value.startswith(("https://", "http://")):
            return value
        near = did_you_mean(value.lower(), LICENCES)
        said = near if near.startswith("did") else f"one of {', '.join(LICENCES)}, or an address"
        raise ValueError(f"mteb has no licence '{value}' ({said})")

    @field_validator("release_date")
    @classmethod
    def _date(cls, value: str | None) -> str | None:
        if value is not None:
            date.fromisoformat(value)  # says which part is out of range
        return value

    @field_validator("revision")
    @classmethod
    def _no_branch(cls, value: str | None) -> str | None:
        if value is not None and value.lower() in BRANCHES:
            raise ValueError(f"'{value}' is a branch, which moves: give the commit, or a version of your own")
        return value


class AirBenchPlace(_Model):
    """Where a dataset stands in AIR-Bench. dataset_name: `default` where the domain has one alone."""

    task_type: Literal["qa", "long-doc"]
    domain: Name
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")]
    dataset_name: Name = "default"
    split: Literal["dev", "test"] = "test"


class DatasetEntry(_Model):
    """What a board calls a dataset. task, subset, languages, main_score: MTEB's. revision: the commit of the data that
    was searched, on the hub."""

    task: Name | None = None
    revision: Name | None = None
    subset: str = "default"
    languages: list[Language] | None = None
    main_score: Annotated[str, Field(pattern=r"^(ndcg|map|recall|precision|mrr|hit_rate)_at_\d+$")] = (
        "ndcg_at_10"
    )
    air_bench: AirBenchPlace | None = None


class AirBench(_Model):
    """version: of the benchmark. model_name, reranker_name: as the board shows them; the first is the model's name."""

    version: Literal["AIR-Bench_24.04", "AIR-Bench_24.05"] = "AIR-Bench_24.05"
    model_name: Name | None = None
    reranker_name: Name = "NoReranker"


class IrMetadata(_Model):
    """The parts of ir_metadata 0.1 that a record does not know; their keys go before what it does know."""

    platform: dict[str, Any] = Field(default_factory=dict)
    research_goal: dict[str, Any] = Field(default_factory=dict, alias="research goal")
    implementation: dict[str, Any] = Field(default_factory=dict)
    method: dict[str, Any] = Field(default_factory=dict)
    actor: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)


class MetadataModel(_Model):
    model: ModelSheet = ModelSheet()
    datasets: dict[str, DatasetEntry] = Field(default_factory=dict)
    air_bench: AirBench = AirBench()
    ir_metadata: IrMetadata = IrMetadata()


@dataclass(frozen=True)
class Metadata:
    """where: what to call it in messages."""

    model: ModelSheet
    datasets: Mapping[str, DatasetEntry]
    air_bench: AirBench
    ir_metadata: IrMetadata
    where: str

    def entry(self, dataset: str) -> DatasetEntry:
        return self.datasets.get(dataset, DatasetEntry())


def load(
    path: Path | None,
    *,
    datasets: Sequence[str],
    tasks: Sequence[str] = (),
    revisions: Sequence[str] = (),
) -> Metadata:
    """The file, and over it the command line's `DATASET=TASK` and `DATASET=REVISION`. datasets: ids that there are
    results of. Raises InputError with every mistake found, those of the file with their lines."""
    report = Report(shown=50)
    marked = Marked({}, {(): ("--meta", None)}) if path is None else yamlfile.load(path)
    if marked.value is None:
        marked.value = {}
    if not isinstance(marked.value, dict):
        raise InputError("a file of metadata is a mapping", where=str(path), line=1)
    model = MetadataModel()
    try:
        model = MetadataModel.model_validate(marked.value)
    except ValidationError as error:
        add_validation_errors(report, error, marked, (), MetadataModel, what="a file of metadata")
    named = marked.value.get("datasets")
    for name in named if isinstance(named, dict) else ():
        if name not in datasets:
            where, line = marked.where(("datasets", name))
            report.error(
                "unknown-dataset",
                f"there are no results of '{name}'",
                where=where,
                line=line,
                remedy=did_you_mean(name, datasets),
            )
    given = dict(model.datasets)
    for option, key, values in (("--task", "task", tasks), ("--dataset-revision", "revision", revisions)):
        for name, value in _pairs(option, values, datasets, report):
            before = given.get(name, DatasetEntry())
            try:
                given[name] = DatasetEntry.model_validate({**before.model_dump(), key: value})
            except ValidationError:
                report.error("pair", f"{value!r} is no {key}", where=option)
    report.raise_if_errors()
    return Metadata(
        model.model, given, model.air_bench, model.ir_metadata, "--meta" if path is None else str(path)
    )


def _pairs(
    option: str, values: Sequence[str], datasets: Sequence[str], report: Report
) -> list[tuple[str, str]]:
    out = []
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            report.error("pair", f"give it as DATASET=VALUE, not {text!r}", where=option)
        elif name not in datasets:
            report.error(
                "unknown-dataset",
                f"there are no results of '{name}'",
                where=option,
                remedy=did_you_mean(name, datasets),
            )
        else:
            out.append((name, value))
    return out


def paths(option: str, values: Sequence[str], datasets: Sequence[str]) -> dict[str, Path]:
    """`DATASET=FILE` options. Raises InputError."""
    report = Report()
    found = {name: Path(value) for name, value in _pairs(option, values, datasets, report)}
    report.raise_if_errors()
    return found
