"""Training texts in scripts with and without spaces between words."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench.retrievers.generative import pairs

CHINESE = "机器学习是一部分。它与搜索有关！第三句？结束。"
JAPANESE = "検索エンジンとは、文書を探す仕組みです。「速い。」と言われる！"
#: Letters of many scripts with spaces, marks, all kinds of white space; and the marks that end sentences.
SPACED = st.text(
    st.sampled_from("aBz é'\"-_.!?。！？)’\n\t\r\x1c\u00a0\u3000\u2028,;0٣я한e\u0301☃"), max_size=120
)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


# -- texts with spaces: as before -----------------------------------------------------------------------------


def plain_sentences(text: str, least_words: int) -> list[str]:
    """What sentences were before scripts without spaces were looked at."""
    out: list[str] = []
    for piece in re.split(r"(?<=[.!?。！？])[\"'”’)\]]*\s+(?=[^a-z\s])|\n\s*\n", text):
        words = piece.split()
        if words and out and len(words) < least_words:
            out[-1] += " " + " ".join(words)
        elif words:
            out.append(" ".join(words))
    return out


@settings(deadline=None)
@given(SPACED, SPACED, st.integers(1, 9), st.integers(1, 5))
def test_texts_with_spaces_are_cut_at_them(title: str, text: str, words: int, least: int) -> None:
    tokens = f"{title} {text}".split()
    assert pairs.first(title, text, rng(), words=words) == [" ".join(tokens[:words])]
    places = max(1, len(tokens) - words + 1)
    chosen = np.sort(rng().choice(places, size=min(3, places), replace=False))
    wanted = [" ".join(tokens[i : i + words]) for i in chosen]
    assert pairs.chunks(title, text, rng(), words=words, count=3) == wanted
    assert pairs.sentences(text, least_words=least) == plain_sentences(text, least)
    found = plain_sentences(text, 1)
    lead = [" ".join(found[i : i + 2]) for i in (0, 2, 4)]
    assert pairs.lead(title, text, rng(), size=2) == ([p for p in lead if p] or ([title] if title else []))
    stretches = [" ".join(found[i : i + 2]) for i in range(0, max(1, len(found) - 1), 1)]
    assert pairs.passages(text, size=2, stride=1) == [p for p in stretches if p]
    inner = plain_sentences(text, 4)
    if len(inner) <= 11:
        assert pairs.inner_sentences(title, text, rng()) == ([title] if title else []) + inner


@given(SPACED)
def test_keywords_of_texts_with_spaces_are_words(text: str) -> None:
    wanted = [w.lower() for w in re.findall(r"\w[\w'-]*", text)]
    maker = pairs.KeywordQueries(iter([[text]]))
    assert set(maker.frequency) == set(wanted)
    made = maker("", text, rng(), count=1, words=(99, 99))
    assert made == ([" ".join(dict.fromkeys(wanted))] if wanted else [])


# -- texts without spaces -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (CHINESE, ["机器学习是一部分。", "它与搜索有关！", "第三句？", "结束。"]),
        ("他说：“好。”然后走了。\n\n第二段没有句号", ["他说：“好。”", "然后走了。", "第二段没有句号"]),
        ("真的吗？！是……的。", ["真的吗？！", "是……的。"]),
        ("他用 Python 3.5。It is fast. 他走了。", ["他用 Python 3.5。", "It is fast.", "他走了。"]),
        ("ខ្ញុំទៅ។អ្នកមក។", ["ខ្ញុំទៅ។", "អ្នកមក។"]),
        ("ฉันไป เธอมา", ["ฉันไป เธอมา"]),
        ("。！？", ["。！？"]),
    ],
)
def test_sentences_need_no_space_behind(text: str, found: list[str]) -> None:
    assert pairs.sentences(text) == found


def test_short_sentences_are_joined_without_a_space() -> None:
    assert pairs.sentences(CHINESE, least_words=4) == ["机器学习是一部分。", "它与搜索有关！第三句？结束。"]
    assert pairs.sentences("机器学习。 好。\n好。", least_words=3) == ["机器学习。 好。 好。"]
    assert pairs.lead("", CHINESE, rng(), size=2) == ["机器学习是一部分。它与搜索有关！", "第三句？结束。"]
    assert pairs.passages(CHINESE) == [CHINESE]


@pytest.mark.parametrize(
    ("text", "words", "cut"),
    [
        (CHINESE, 4, "机器学习"),
        (CHINESE, 8, "机器学习是一部分。"),
        (JAPANESE, 8, "検索エンジンとは、"),
        ("「你好」，world再见", 2, "「你好」，"),
        ("「你好」，world再见", 3, "「你好」，world"),
        ("用 Python3.12,x 写\n\n程序", 3, "用 Python3.12,x 写"),
        ("用 Python3.12,x 写\n\n程序", 4, "用 Python3.12,x 写 程"),
        ("ที่นี่", 1, "ที่"),  # a letter keeps its vowel and tone
        ("ខ្ញុំទៅ", 1, "ខ្ញុំ"),  # and the letter below it
        ("မြန်မာ", 1, "မြ"),
        ("ປະເທດ", 2, "ປະ"),
        ("が\u304b\u3099", 2, "が\u304b\u3099"),
        ("\U00020000\U00020001", 1, "\U00020000"),
        ("葛\U000e0100城", 1, "葛\U000e0100"),  # a variation selector
    ],
)
def test_first_counts_characters(text: str, words: int, cut: str) -> None:
    assert pairs.first("", text, rng(), words=words) == [cut]
    assert pairs.first("题", text, rng(), words=words + 1) == [f"题 {cut}"]


MIXED = st.text(st.sampled_from("机器か゚ーที่ខ្ញុំြမ္မ。！「」ab.' \n\u3000\u200b๒１"), max_size=80)


@settings(deadline=None)
@given(MIXED, st.integers(1, 6))
def test_cuts_are_slices_of_the_text(text: str, words: int) -> None:
    whole = " ".join(text.split())
    (beginning,) = pairs.first("", text, rng(), words=words)
    assert whole.startswith(beginning)
    made = pairs.chunks("", text, rng(), words=words, count=1000)
    assert all(piece in whole for piece in made)
    assert made[0] == beginning
    assert whole.endswith(made[-1])
    assert pairs.first("", text, rng(), words=1000) == [whole]
    # Nothing is lost and nothing comes in but what white space and swallowed quotes make.
    squeezed = "".join(text.split())
    assert re.sub(r"['」]", "", "".join("".join(pairs.sentences(text)).split())) == re.sub(
        r"['」]", "", squeezed
    )


def test_chunks_are_windows_of_characters() -> None:
    made = pairs.chunks("", CHINESE, rng(), words=5, count=100)
    assert made[:2] == ["机器学习是", "器学习是一"]
    assert len(made) == 19 - 5 + 1
    assert made[-1] == "第三句？结束。"


def test_keywords_are_bigrams() -> None:
    texts = ["机器学习 in Python、A\u304b\u3099ー", "机器翻译 字", "ที่นี่"]
    maker = pairs.KeywordQueries(iter([texts]))
    assert maker.frequency["机器"] == 2
    assert set(maker.frequency) == {
        "机器", "器学", "学习", "in", "python", "a", "\u304b\u3099ー", "器翻", "翻译", "字", "ที่นี่",
    }  # fmt: skip
    made = maker("", texts[0], rng(), count=1, words=(99, 99))
    assert made == ["机器 器学 学习 in python a \u304b\u3099ー"]


def test_central_sentences_share_bigrams() -> None:
    text = "天气很好今天。机器学习与搜索引擎。搜索引擎与文本检索。机器学习与文本检索。"
    made = pairs.central("", text, rng(), passages_kept=1, sentences_kept=3)
    assert made[-3:] == ["机器学习与搜索引擎。", "搜索引擎与文本检索。", "机器学习与文本检索。"]


def test_long_documents_take_no_time() -> None:
    began = time.perf_counter()
    for text in (
        CHINESE * 5000,
        "。" * 100_000 + "字",
        "(" * 100_000 + "字",
        "a" * 100_000 + "字",
        "ที่" * 30_000,
    ):
        pairs.first("", text, rng())
        pairs.chunks("", text, rng())
        pairs.sentences(text, least_words=4)
        pairs.KeywordQueries(iter([[text]]))
    assert time.perf_counter() - began < 5
