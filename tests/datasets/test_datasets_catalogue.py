"""Cards and entries of configs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seekbench.datasets import catalogue
from seekbench.datasets.resolve import resolve
from seekbench.datasets.spec import HubSpec, NamedSpec, PathSpec, parse_spec
from seekbench.errors import InputError
from seekbench.metrics.measure import parse

BEIR = 26 + 4  # 14 of one part (with MS MARCO), and 12 forums of CQADupStack; 4 that are not public
#: Of the other collections that ship.
CARDS = {
    "pydocs": 4,
    "bright": 20,  # 12 domains, and 8 of them with long documents
    "msmarco": 2,
    "trec-dl": 4,
    "loco": 12,
    "esci": 3,
    "mmarco": 13,
    "mr-tydi": 11,
    "juristcu": 3,
    "kilt": 11,
    "muser": 1,
    "headlines": 1,
}
PRIVATE = {"beir/bioasq", "beir/robust04", "beir/signal1m", "beir/trec-news"}
#: Of one card each, whose data the user brings.
BROUGHT = {
    "apibench", "backtracing", "cosqa", "jobbert", "lbl2vec-ag-news", "metatool", "patents-cpc", "stsb", "tatoeba",
    "tatoeba-pooled", "toolbench", "xor-retrieve", "xquad", "xquad-r",
}  # fmt: skip


def test_every_card_is_sound() -> None:
    names = catalogue.names()
    assert len([n for n in names if n.startswith("beir/")]) == BEIR
    assert {"pydocs", "pydocs-small"} <= set(names)
    for prefix, count in CARDS.items():
        assert len([n for n in names if n.startswith(prefix)]) == count, prefix
    assert len(names) == BEIR + sum(CARDS.values()) + len(BROUGHT) == 129
    assert {n for n in names if catalogue.card(n).source.get is not None} == BROUGHT | {
        name for name in names if name.startswith("kilt/") or name in ("muser", *PRIVATE)
    }
    for name in names:
        card = catalogue.card(name)
        assert card.title == catalogue.titles()[name]
        assert parse(card.main_metric).name == card.main_metric
        # What the user brings is tested in test_cards.py and test_brought_cards.py.
        if card.source.get is not None:
            with pytest.raises(InputError, match=rf"'{name}.*(takes data that you bring|subsets)"):
                resolve(name)
            continue
        spec = resolve(name)
        assert (spec.id, spec.split) == (name, card.default_split)
        if name.startswith("beir/"):
            assert spec.split in card.expected.queries
            assert card.expected.documents
        if card.source.revision is not None:  # three are known by their abbreviation alone
            assert len(card.source.revision) == 40 or name.startswith("esci/")
    assert {n for n in names if catalogue.card(n).exclude == "identical_id"} == {
        "beir/arguana", "beir/fever", "beir/fiqa", "beir/msmarco", "beir/quora", "muser", "patents-cpc",
    }  # fmt: skip


def test_cqadupstack_has_all_its_queries() -> None:
    forums = [catalogue.card(n) for n in catalogue.names() if n.startswith("beir/cqadupstack-")]
    assert sum(c.expected.queries["test"] for c in forums) == 13_145  # BEIR's README
    assert sum(c.expected.documents or 0 for c in forums) == 457_199


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from seekbench.datasets import catalogue; assert catalogue.listing();"
        "print(sorted({'numpy','pyarrow','torch','datasets','pydantic','yaml','scipy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_resolving_imports_no_arrays() -> None:
    code = (
        "import sys; from seekbench.datasets import catalogue; assert catalogue.parse('beir/scifact');"
        "print(sorted({'numpy','pyarrow','torch','datasets','scipy','huggingface_hub'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ("pydocs", NamedSpec),
        ({"name": "beir/scifact", "split": "train"}, NamedSpec),
        ("./here", PathSpec),
        ("/there", PathSpec),
        ({"path": "x", "format": "trec", "topic_fields": ["title"], "qrels": {"dev": "a"}}, PathSpec),
        ({"hub": "mteb/scifact", "exclude": {"key": "excluded_ids"}}, HubSpec),
    ],
)
def test_entries(entry: Any, kind: type) -> None:
    assert isinstance(parse_spec(entry), kind)


@pytest.mark.parametrize(
    ("entry", "where", "message"),
    [
        ("beir/scifcat", "name", r"no dataset 'beir/scifcat'.*did you mean 'beir/scifact'"),
        ({"name": "pydocs", "splti": "x"}, "splti", r"unknown key 'splti' \(did you mean 'split'\?\)"),
        ({"name": "pydocs", "path": "x"}, "path", "come from elsewhere"),
        ({"name": "pydocs", "hub": "x/y"}, "", "one of 'name', 'path', 'hub'"),
        ({"nmae": "pydocs"}, "", "did you mean 'name'"),
        ({}, "", "one of 'name', 'path', 'hub'"),
        (7, "", "one of 'name', 'path', 'hub'"),
        ({"name": "pydocs", "split": "dev"}, "split", "no split 'dev'"),
        ({"path": "x", "format": "bier"}, "format", "'auto', 'beir', 'trec' or 'tables'"),
        ({"path": "x", "format": "beir", "topics": "t"}, "", "topics belong to 'format: trec'"),
        ({"path": "x", "format": "trec", "encoding": "utf-9"}, "", "no encoding 'utf-9'"),
        ({"path": "/nowhere"}, "path", "does not exist"),
        ({"hub": "scifact"}, "hub", "pattern"),
        ({"name": "pydocs", "template": "{title"}, "template", "lone brace"),
        ({"name": "pydocs", "limit": 0}, "limit", "greater than 0"),
        ({"name": "pydocs", "language": "English"}, "language", "pattern"),
        ({"name": "pydocs", "exclude": {"key": "a", "file": "b"}}, "exclude", "either 'key' or 'file'"),
    ],
)
def test_mistakes_name_the_key(entry: Any, where: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        catalogue.parse(entry)
    assert where in {p.where for p in caught.value.report.problems}


def test_all_mistakes_of_an_entry_are_reported() -> None:
    with pytest.raises(InputError) as caught:
        catalogue.parse({"name": "nope", "splti": 1, "limit": -1})
    assert {p.where for p in caught.value.report.problems} == {"name", "splti", "limit"}


def test_an_entry_goes_before_its_card() -> None:
    spec = resolve(
        {"name": "beir/arguana", "id": "mine", "template": "{text}", "exclude": "none", "language": "de"}
    )
    assert (spec.id, spec.template, spec.exclude, spec.language) == ("mine", "{text}", "none", "de")
    assert resolve("beir/arguana").exclude == "identical_id"


def test_schema_for_editors() -> None:
    text = json.dumps(catalogue.json_schema())
    assert "$ref" not in text
    assert '"topic_fields"' in text


def test_unknown_card() -> None:
    with pytest.raises(InputError, match="did you mean 'pydocs'"):
        catalogue.card("pydosc")
    assert catalogue.card_text("pydocs").startswith("id: pydocs\n")


def test_broken_card_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.yaml").write_text("id: bad\n")
    monkeypatch.setattr(catalogue, "CARDS", tmp_path)
    catalogue._files.cache_clear()
    try:
        with pytest.raises(InputError, match=r"bad\.yaml"):
            catalogue.card("bad")
    finally:
        catalogue._files.cache_clear()
