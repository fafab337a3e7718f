"""MTEB's tasks by name: facts of the package, cards, subsets, suites as entries of a config."""

from __future__ import annotations

import re

import pytest

from seekbench.datasets import catalogue, mteb_tasks, suites
from seekbench.errors import InputError
from seekbench.metrics.measure import parse


def test_the_table_is_what_the_package_says() -> None:
    """Every fact of every task; the package's version is in constraints.txt."""
    from mteb_tasks_of_the_package import COUNTS_HEADER, HEADER, SUITES_HEADER, counts, rows
    from mteb_tasks_of_the_package import suites as of_the_package

    assert mteb_tasks.TABLE.read_text(encoding="utf-8").splitlines() == [HEADER, *rows()]
    names = set(mteb_tasks.tasks())
    assert mteb_tasks.COUNTS.read_text(encoding="utf-8").splitlines() == [COUNTS_HEADER, *counts(names)]
    told = [SUITES_HEADER, *of_the_package(names)]
    assert suites.TABLE.read_text(encoding="utf-8").splitlines() == told


def test_cards_have_the_revision_that_the_package_evaluates() -> None:
    import mteb

    cards = [card for name in catalogue.names() if (card := catalogue.card(name)).mteb]
    assert len(cards) == 46
    for card in cards:
        assert card.mteb is not None
        task = mteb.get_task(card.mteb).metadata
        assert (card.source.repo, card.source.revision) == (task.dataset["path"], task.dataset["revision"])
        assert card.main_metric == parse(task.main_score).name
        assert card.default_split in task.eval_splits


def test_every_task_is_a_card() -> None:
    names = [n for task in mteb_tasks.tasks() for n in mteb_tasks.names_of(f"mteb/{task}")]
    assert len(mteb_tasks.tasks()) == 432
    assert len(names) > 900
    for name in names:
        card = catalogue.card(name)
        assert card.id == name
        assert parse(card.main_metric).name == card.main_metric
        assert card.default_split in card.splits
    with_candidates = [t for t in mteb_tasks.tasks().values() if "Reranking" in t.type]
    assert len(with_candidates) == 46


def test_every_suite() -> None:
    assert len(suites.names()) == 54
    for name in suites.names():
        found = suites.suite(name)
        assert all(catalogue.is_known(dataset) for dataset in found.datasets), name
        assert len(set(found.datasets)) == len(found.datasets)
    nano = [spec.id for spec in catalogue.parse("nanobeir")]
    assert len(nano) == 13
    french = dict(suites.suite("mteb-fra-v1").groups)
    assert french["mteb/XPQARetrieval"] == tuple(
        f"mteb/XPQARetrieval:{s}" for s in ("fra-fra", "eng-fra", "fra-eng")
    )
    assert "mteb/MintakaRetrieval:fr" in french
    assert "without SyntecRetrieval" in dict(suites.listing())["mteb-fra-v1"]


def test_entries() -> None:
    (one,) = catalogue.parse("mteb/SciFact")
    assert (one.id, one.split, one.main_metric) == ("mteb/SciFact", "test", "ndcg@10")
    assert one.source.identity(offline=True)["repo"] == "mteb/scifact"
    (german,) = catalogue.parse({"name": "mteb/MIRACLRetrieval:de", "limit": 5})
    assert (german.language, german.split, german.limit) == ("deu", "dev", 5)
    every = catalogue.parse("mteb/MIRACLRetrieval")
    assert len(every) == 18
    assert every[0].id == "mteb/MIRACLRetrieval:ar"
    beir = catalogue.parse({"name": "beir", "limit": 3})
    assert [spec.id for spec in beir] == suites.suite("beir").datasets
    assert {spec.limit for spec in beir} == {3}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("mteb/SciFakt", "did you mean .*'SciFact'"),
        ("mteb/MIRACLRetrieval:xx", "has no subset 'xx'"),
        ("beer", "there is no dataset 'beer'; did you mean 'beir'"),
        ({"name": "beir", "id": "mine"}, "'beir' means 26 datasets, which can't have one id"),
    ],
)
def test_wrong_names(entry: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        catalogue.parse(entry)


def test_a_card_of_several_subsets_is_refused() -> None:
    with pytest.raises(InputError, match=re.escape("choose one: ar, bn,")):
        catalogue.card("mteb/MIRACLRetrieval")
    assert not catalogue.is_known("mteb/MIRACLRetrieval")
    assert catalogue.is_known("mteb/MIRACLRetrieval:de")


def test_tasks_are_listed_and_shown() -> None:
    from typer.testing import CliRunner

    from seekbench.cli.app import app

    def said(*words: str) -> str:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == (2 if "Scifakt" in words[-1] else 0), result.output
        return result.output

    assert len(said("ls", "mteb").splitlines()) == 433
    assert "mteb/SciFact " not in said("ls"), "too many to be listed with all the rest"
    assert "de (deu-Latn)" in said("show", "mteb/MIRACLRetrieval")
    assert "did you mean 'SciFact'" in said("show", "mteb/Scifakt")
    assert "mteb/NanoSciFactRetrieval" in said("show", "nanobeir")
