"""The light guess at languages: right where it speaks, silent where it can't know."""

from __future__ import annotations

from pathlib import Path

import pytest

from seekbench.collection import Records
from seekbench.datasets.builder import Builder
from seekbench.datasets.folder import open_collection
from seekbench.datasets.formats.beir import Beir
from seekbench.datasets.languages import guess_language
from seekbench.datasets.statistics import languages
from seekbench.progress import NoProgress


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The cat sat on the mat and it was of no use to anybody.", "en"),
        ("Der Hund ist nicht mit der Katze auf dem Dach.", "de"),
        ("Le chat est dans la maison avec les enfants.", "fr"),
        ("東京は日本の首都です。", "ja"),
        ("北京是中华人民共和国的首都", "zh"),
        ("서울은 대한민국의 수도이다", "ko"),
        ("Что это было и как он от них ушел", "ru"),
        ("12345 !?", "unknown"),
        ("", "unknown"),
        ("xylophone", "unknown"),
    ],
)
def test_guess(text: str, code: str) -> None:
    assert guess_language(text) == code


def test_shares_are_of_filled_texts() -> None:
    records = Records.from_lists(["a", "b", "c"], ["the end of the day", "", "und das ist nicht der Fall"])
    assert languages(records) == {"en": 0.5, "de": 0.5}
    assert languages(Records.from_lists([], [])) == {}


def test_real_texts_of_twelve_languages(collections: Path, tmp_path: Path) -> None:
    """XQuAD: 240 paragraphs a language. A wrong language (unlike `unknown`) is hardly ever said."""
    folders = sorted(p for p in (collections / "xquad").iterdir())
    assert len(folders) == 12
    for folder in folders:
        (tmp_path / folder.name).mkdir()
        builder = Builder(tmp_path / folder.name)
        Beir(folder).read(builder, progress=NoProgress())
        builder.close()
        found = languages(open_collection(tmp_path / folder.name).corpus)
        assert found[folder.name] > 0.6
        assert found[folder.name] + found.get("unknown", 0) > 0.97
