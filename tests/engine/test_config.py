"""The run config: every mistake at once, with file, line and a suggestion."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seekbench import config
from seekbench.errors import InputError
from seekbench.retrievers.protocol import Context


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text('{"_id": "d1", "text": "one"}\n')
    (data / "queries.jsonl").write_text('{"_id": "q1", "text": "one"}\n')
    (tmp_path / "some.trec").write_text("q1 Q0 d1 1 1.0 x\n")
    (data / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    return tmp_path


def write(folder: Path, text: str, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


GOOD = """\
datasets: [{path: ./data}]
retrievers:
  bm25: {type: bm25}
  run: {type: run_file, path: some.trec}
  both: {type: fusion, of: [bm25, run]}
baseline: bm25
"""


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        config.load(path, overrides)
    return [line.replace(str(path), "FILE") for line in caught.value.report.lines()]


def test_a_good_one(folder: Path) -> None:
    loaded = config.load(write(folder, GOOD))
    assert loaded.name == "run"
    assert [r.name for r in loaded.retrievers] == ["bm25", "run", "both"]
    assert [m.name for m in loaded.measures] == ["ndcg@10", "recall@100", "map", "mrr@10"]
    assert loaded.datasets[0].split == "test"


def test_every_mistake_at_once(folder: Path) -> None:
    path = write(
        folder,
        """\
datasets:
  - {path: ./data}
  - {path: ./dta}
  - pydosc
retrievers:
  bm25: {type: bm25, kk1: 1.2}
  dens: {type: dens, model: x}
  mix:
    type: fusion
    of: [bm25, minilm]
metrics: [ndgc@10, recall@100]
basline: bm25
""",
    )
    found = "\n".join(problems(path))
    for line, text in [
        (3, "dta"),
        (4, "'pydosc'"),
        (6, "has no key 'kk1'"),
        (7, "unknown retriever type 'dens' (did you mean 'dense'?)"),
        (10, "needs 'minilm'"),
        (11, "unknown metric 'ndgc@10' (did you mean 'ndcg@10'"),
        (12, "has no key 'basline' (did you mean 'baseline'?)"),
    ]:
        assert any(f"FILE:{line}:" in p and text in p for p in found.splitlines()), (line, text, found)


def test_types_are_checked(folder: Path) -> None:
    found = problems(write(folder, GOOD + "k: many\nmetrics: []\n"))
    assert any("FILE:7:" in p and "integer" in p and "'many'" in p for p in found), found
    assert any("FILE:8:" in p and "metrics" in p for p in found), found


def test_a_metric_deeper_than_the_run(folder: Path) -> None:
    assert "looks deeper" in problems(write(folder, GOOD + "k: 10\nmetrics: [recall@100]\n"))[0]


def test_repeated_keys(folder: Path) -> None:
    found = problems(write(folder, "datasets: [pydocs]\ndatasets: [pydocs]\nretrievers: {a: {type: bm25}}\n"))
    assert "FILE:2: the key 'datasets' is repeated" in found[0]


def test_no_yaml(folder: Path) -> None:
    assert "FILE:2" in problems(write(folder, "datasets: [\n}\n"))[0]
    assert "a config is a mapping" in problems(write(folder, "- 1\n"))[0]
    assert problems(write(folder, ""))


def test_overrides(folder: Path) -> None:
    path = write(folder, GOOD)
    loaded = config.load(path, ["retrievers.bm25.k1=1.2", "k=50", "metrics=[map]", "datasets.0.split=test"])
    assert loaded.retriever("bm25").retriever.params.k1 == 1.2
    assert loaded.k == 50
    assert [m.name for m in loaded.measures] == ["map"]
    assert "no retriever 'bm52' (did you mean 'bm25'?)" in problems(path, "retrievers.bm52.k1=1.2")[0]
    assert problems(path, "retrievers.bm25.k1=high")[0].startswith("error: --set retrievers.bm25.k1=high:")
    assert problems(path, "nonsense")


def test_names_with_dots_can_be_overridden(folder: Path) -> None:
    path = write(folder, "datasets: [{path: ./data}]\nretrievers: {bm25.v2: {type: bm25}}\n")
    assert config.load(path, ["retrievers.bm25.v2.k1=1.5"]).retrievers[0].retriever.params.k1 == 1.5


def test_sweeps_make_a_matrix(folder: Path) -> None:
    path = write(
        folder,
        """\
datasets: [{path: ./data}]
retrievers:
  bm25: {type: bm25, sweep: {k1: [0.9, 1.2], b: [0.4, 0.75]}}
""",
    )
    loaded = config.load(path)
    assert [r.name for r in loaded.retrievers] == [
        "bm25-k1=0.9-b=0.4",
        "bm25-k1=0.9-b=0.75",
        "bm25-k1=1.2-b=0.4",
        "bm25-k1=1.2-b=0.75",
    ]
    assert loaded.retrievers[3].retriever.params.b == 0.75
    top = write(
        folder,
        "datasets: [{path: ./data}]\nretrievers: {bm25: {type: bm25}}\nsweep: {retrievers.bm25.k1: [1, 2]}\n",
    )
    assert [r.name for r in config.load(top).retrievers] == ["bm25-k1=1", "bm25-k1=2"]


def test_a_swept_retriever_must_be_named_in_full(folder: Path) -> None:
    path = write(
        folder,
        """\
datasets: [{path: ./data}]
retrievers:
  bm25: {type: bm25, sweep: {k1: [1, 2]}}
  mix: {type: fusion, of: [bm25, bm25-k1=1]}
""",
    )
    assert "'bm25' is swept" in problems(path)[0]


def test_circles(folder: Path) -> None:
    path = write(
        folder,
        "datasets: [{path: ./data}]\n"
        "retrievers: {a: {type: fusion, of: [b, c]}, b: {type: fusion, of: [a, c]}, c: {type: bm25}}\n",
    )
    assert "need each other: a, b" in problems(path)[0]


def test_includes(folder: Path) -> None:
    write(folder, "retrievers: {bm25: {type: bm25, k1: 0.9}}\nmetrics: [map]\n", "base.yaml")
    path = write(folder, "include: base.yaml\ndatasets: [{path: ./data}]\nretrievers: {bm25: {k1: 2.0}}\n")
    loaded = config.load(path)
    assert loaded.retrievers[0].retriever.params.k1 == 2.0
    assert [m.name for m in loaded.measures] == ["map"]
    write(folder, "retrievers: {bm25: {type: bm52}}\n", "base.yaml")
    assert "base.yaml:1" in problems(path)[0]
    write(folder, "include: run.yaml\n", "base.yaml")
    assert "includes itself" in problems(path)[0]


def test_yaml_1_2_scalars(folder: Path) -> None:
    from seekbench.yamlfile import parse_value

    assert parse_value("1e-5") == 1e-5
    assert parse_value("no") == "no"
    assert parse_value("010") == 10
    assert parse_value("[1, true, null, 'x']") == [1, True, None, "x"]


def test_code_cannot_be_named(folder: Path) -> None:
    path = write(
        folder,
        "datasets: [{path: ./data}]\nretrievers: {a: {type: os.system}, b: !!python/object/apply:os.system [ls]}\n",
    )
    found = problems(path)
    assert found
    assert "unknown retriever type" in "\n".join(found) or "could not determine a constructor" in "\n".join(
        found
    )


def test_schema_is_valid_json_schema() -> None:
    schema = config.json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    types = [
        c["properties"]["type"]["const"]
        for c in schema["properties"]["retrievers"]["additionalProperties"]["oneOf"]
    ]
    assert types == [
        "bm25",
        "dense",
        "fusion",
        "generative",
        "multi_vector",
        "prompt_reps",
        "run_file",
        "sparse",
    ]


def test_all_shipped_configs_are_good() -> None:
    from seekbench.cli.common import shipped_configs

    found = list(shipped_configs())
    names = {name for name, _ in found}
    assert {"quickstart", "generative/dsi-qg", "studies/scaling"} <= names
    for name, path in found:
        if name.startswith("studies/"):
            with pytest.raises(InputError, match="this is the file of a study"):
                config.load(path)
        else:
            assert not config.check_resolvable(config.load(path), Context(offline=True)).errors
    from seekbench.studies import scaling

    assert scaling.load(dict(found)["studies/scaling"]).cells


def test_missing_run_files_are_named(folder: Path) -> None:
    found = problems(write(folder, GOOD.replace("some.trec", "'runs/{dataset}.{split}.trec'")))
    assert "FILE:4:" in found[0]
    assert "runs/data.test.trec" in found[0]


def test_names_that_would_share_a_folder(folder: Path) -> None:
    text = "datasets: [{path: ./data, id: a/b}, {path: ./data, id: A__b}]\nretrievers: {bm25: {type: bm25}}\n"
    assert "is there already" in problems(write(folder, text))[0]


def test_a_sweep_does_not_take_a_name_that_is_there(folder: Path) -> None:
    text = (
        "datasets: [{path: ./data}]\n"
        "retrievers: {bm25: {type: bm25, sweep: {k1: [1]}}, bm25-k1=1: {type: bm25}}\n"
    )
    assert "a sweep makes a 'bm25-k1=1' too" in problems(write(folder, text))[0]


def test_infinite_parameters_are_refused(folder: Path) -> None:
    found = problems(
        write(folder, "datasets: [{path: ./data}]\nretrievers: {bm25: {type: bm25, k1: .inf}}\n")
    )
    assert "finite" in found[0]


def test_words_of_a_metric_are_checked(folder: Path) -> None:
    assert "gain can't be 'foo'" in problems(write(folder, GOOD + "metrics: [ndcg(gain=foo)@10]\n"))[0]


# -- nested parameters, training splits, what `show` tells -----------------------------------------------------------


def generative(**parts: str) -> str:
    lines = "".join(f"    {key}: {value}\n" for key, value in parts.items())
    return f"datasets: [{{path: ./data}}]\nretrievers:\n  g:\n    type: generative\n{lines}"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "inputs",
            "\n      - kind: generated\n        generator:\n          model: x\n          cuont: 3",
            "FILE:9: inputs.0.generator has no key 'cuont' (did you mean 'count'?)",
        ),
        (
            "inputs",
            "\n      - kind: generated\n        generator:\n          model: x\n          keep:\n"
            "            kind: round-trip\n            encoder:\n              model: y\n              poolign: cls",
            "FILE:13: inputs.0.generator.keep.encoder has no key 'poolign' (did you mean 'pooling'?)",
        ),
        ("model", "\n      width: wide", "FILE:6: model.width: input should be a valid integer"),
        ("model", "\n      type: encoder\n      layres: 3", "FILE:7: model has no key 'layres' (did you mean"),
        ("model", "\n      type: vectr", "FILE:6: model.type: unknown 'vectr' (did you mean 'vector'?)"),
        ("model", "{type: checkpoint}", "FILE:5: the key 'model.name' is missing"),
        (
            "inputs",
            "[{kind: generated, generator: {model: x, keep: {top: 1}}}]",
            "FILE:5: the key 'inputs.0.generator.keep.kind' is missing",
        ),
        ("inputs", "\n      - {kind: first}\n      - {kind: chunks, wieght: 2}", "FILE:7: inputs.1 has no key"),
        ("growth", "{first: -1}", "FILE:5: growth.first: input should be greater than 0, not -1"),
        ("trian", "x", "FILE:5: type 'generative' has no key 'trian' (did you mean 'train'"),
    ],
)  # fmt: skip
def test_mistakes_in_nested_parameters(folder: Path, key: str, value: str, said: str) -> None:
    (found,) = problems(write(folder, generative(**{key: value})))
    assert found.removeprefix("error: ").startswith(said)


def test_a_mistake_that_a_sweep_makes_is_named_in_full(folder: Path) -> None:
    text = generative(model="{type: encoder}", sweep="{model.width: [8, wide]}")
    (found,) = problems(write(folder, text))
    assert "FILE:5: model.width: input should be a valid integer" in found


def test_the_evaluated_split_is_no_training_split(folder: Path) -> None:
    (found,) = problems(write(folder, generative(train="test")))
    assert found.startswith(
        "error: FILE:5: train: 'test' is the split that data is evaluated on (train on another"
    )
    (found,) = problems(write(folder, generative(seed="1", sweep="{train: [null, test]}")))
    assert found.startswith("error: FILE:6: train: 'test'")
    assert config.load(write(folder, generative(train="train"))).retrievers


def shown(name: str) -> str:
    from typer.testing import CliRunner

    from seekbench.cli.app import app

    result = CliRunner().invoke(app, ["show", name])
    assert result.exit_code == 0, result.output
    return result.output


def test_show_tells_of_nested_parameters() -> None:
    text = shown("generative")
    for heading, field in [
        ("model, type: vector", "slots"),
        ("model, type: encoder", "freeze"),
        ("model, type: checkpoint", "dtype"),
        ("training", "smoothing"),
        ("decoding", "length_penalty"),
        ("lists", "most"),
        ("growth", "replay"),
        ("inputs[]", "weight"),
        ("inputs[].generator", "count"),
        ("inputs[].generator.sampling", "top_k"),
        ("inputs[].generator.keep, kind: cross-encoder", "least"),
        ("inputs[].generator.keep, kind: round-trip", "top"),
    ]:
        section = text.split(f"\n{heading} (default):\n")[1].split(" (default):\n")[0]
        assert f"\n  {field} " in f"\n{section}", (heading, field)
    assert "options of sentences: count, least_words" in text
    assert "one of trie, per-position, none" in text
    assert "\n  rqvae " in text


def test_show_tells_of_docids() -> None:
    from seekbench.retrievers.generative.docids import registry

    for name, line in registry.known().items():
        text = shown(name)
        assert text.startswith(f"docid builder {name}: {line}\n")
        for field in registry.resolve(name).Params.model_fields:
            assert f"\n  {field} " in text
    assert "docids.parts[] (default):\n  type " in shown("hybrid")


def test_show_loads_no_model_library() -> None:
    code = (
        "import sys\nfrom seekbench.cli.app import app\n"
        "for name in ('generative', 'rqvae', 'collaborative'):\n"
        "    app(['show', name], standalone_mode=False)\n"
        "assert not {'torch', 'transformers', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
