"""What a generator reads: documents rendered by a template, in each language, cut to a number of tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from seekbench.collection import Records, Template
from seekbench.errors import InputError

_PARTS = re.compile(r"(\{\{|\}\}|\{language\})")


@dataclass(frozen=True)
class Prompt:
    """A template of documents for one language.

    head: the template up to its last field of the document; tail: the words after it, which a cut must not take (a
    causal model is asked there).
    """

    head: Template
    tail: str

    @classmethod
    def of(cls, template: str, language: str | None) -> Prompt:
        """Raises InputError for `{language}` without a language, and for a template without a field."""
        parts = _PARTS.split(template)
        if language is None and "{language}" in parts:
            raise InputError(
                f"template {template!r} has {{language}}, but no languages are stated",
                remedy="e.g. languages: [English]",
            )
        if language is not None and "{language}" not in parts:
            raise InputError(
                f"languages are stated, but template {template!r} has no {{language}}",
                remedy="every language would get the same queries; put {language} into the template",
            )
        word = (language or "").replace("{", "{{").replace("}", "}}")
        whole = Template("".join(word if p == "{language}" else p for p in parts))
        last = "{" + whole.fields[-1] + "}"
        for field in whole.fields:
            if whole.pattern.rfind("{" + field + "}") > whole.pattern.rfind(last):
                last = "{" + field + "}"
        end = whole.pattern.rfind(last) + len(last)
        tail = whole.pattern[end:].replace("{{", "{").replace("}}", "}").rstrip()
        return cls(Template(whole.pattern[:end]), tail)

    def check(self, records: Records) -> None:
        """Raises InputError where the template names a field that no record has."""
        records.check_template(self.head)

    def heads(self, records: Records, start: int, stop: int) -> list[str]:
        """The texts of rows start..stop without the tail; '' for a document whose fields are all blank, of which
        nothing could be asked."""
        bare = records.texts(" ".join("{" + f + "}" for f in self.head.fields), start, stop)
        heads = records.texts(self.head, start, stop)
        return [head if text else "" for head, text in zip(heads, bare, strict=True)]


def tokens_of(tokenizer: Any, heads: list[str], tail: str, longest: int) -> tuple[list[list[int]], int]:
    """(token ids of each head with the tail, special tokens included; how many heads were cut).

    At most `longest` tokens each: what is too long loses the end of its head. Raises InputError where the tail
    leaves no room.
    """
    from seekbench.retrievers.dense.encode import unwarned

    with unwarned():
        if not tail:
            rows = tokenizer(heads, truncation=True, max_length=longest, return_attention_mask=False)
            cut = sum(
                len(ids) >= longest and bool(rows.encodings[i].overflowing)
                for i, ids in enumerate(rows["input_ids"])
            )
            return list(rows["input_ids"]), cut
        ids = list(tokenizer([head + tail for head in heads], return_attention_mask=False)["input_ids"])
        cut = 0
        for i, head in enumerate(heads):
            if len(ids[i]) > longest:
                ids[i] = _shortened(tokenizer, head, tail, longest)
                cut += 1
    return ids, cut


def _shortened(tokenizer: Any, head: str, tail: str, longest: int) -> list[int]:
    """Token ids of the longest beginning of `head`, cut at the end of a token, that fits before the tail."""
    ends = [
        e for _, e in tokenizer(head, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    ]
    keep = len(ends)
    while True:
        ids: list[int] = tokenizer((head[: ends[keep - 1]] if keep else "") + tail)["input_ids"]
        if len(ids) <= longest:
            return ids
        if not keep:
            raise InputError(
                f"the words after the document in the template are {len(ids)} tokens, max_input is {longest}"
            )
        # Tokens at the seam may merge or split, so this is repeated until it fits.
        keep = max(0, keep - max(1, len(ids) - longest))
