"""Codes of languages: ISO 639-1 for what others write with three letters or a script."""

from __future__ import annotations

#: ISO 639-2/3 codes of languages that are known by two letters here, as MTEB's `eng-Latn` begins.
_THREE_LETTERS = {
    "ara": "ar", "arb": "ar", "ben": "bn", "dan": "da", "deu": "de", "ger": "de", "eng": "en", "spa": "es",
    "fas": "fa", "per": "fa", "fin": "fi", "fra": "fr", "fre": "fr", "hin": "hi", "hun": "hu", "ind": "id",
    "ita": "it", "jpn": "ja", "kor": "ko", "nld": "nl", "dut": "nl", "nor": "no", "nob": "no", "nb": "no",
    "pol": "pl", "por": "pt", "rus": "ru", "swe": "sv", "swa": "sw", "swh": "sw", "tel": "te", "tha": "th",
    "tur": "tr", "ukr": "uk", "zho": "zh", "cmn": "zh", "chi": "zh",
}  # fmt: skip


def canonical(language: str) -> str:
    """`eng-Latn`, `EN`, `en_US` -> `en`; what is not known comes back in lower case, without its region."""
    base = language.strip().lower().replace("_", "-").split("-")[0]
    return _THREE_LETTERS.get(base, base)
