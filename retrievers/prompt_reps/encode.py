"""Texts to prompts, and prompts to two vectors: the hidden state of the last layer at the last token of the prompt, and
log(1 + ReLU(logit)) of the next word, for the words of the text itself.

A text is cut to its length before it is put into the prompt, so the prompt stays whole. The words are those of the
text as the model read it.
"""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.errors import InputError, SeekbenchError
from seekbench.retrievers.dense.checkpoint import Checkpoint
from seekbench.retrievers.dense.encode import Encoder, loading, unwarned, weights_as
from seekbench.retrievers.prompt_reps.checkpoint import LENGTH, TEXT, PromptCheckpoint, PromptRecipe
from seekbench.retrievers.sparse.vectors import SparseVectors

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

#: Terms of a text that has no word of its own: the highest of the whole vocabulary.
WORDLESS = 10
#: The day that chat templates see which state the date: else every day would have its own prompts.
_DATE = datetime(2024, 7, 26)
#: Words whose tokens are remembered.
_REMEMBERED = 500_000

#: English words of closed classes. The list is our own: the usual articles, pronouns, prepositions, conjunctions,
#: auxiliaries and most common adverbs, close to but not the same as NLTK's, which the method's authors use.
_STOP = """
    a an the
    i me my mine myself we us our ours ourselves you your yours yourself yourselves
    he him his himself she her hers herself it its itself they them their theirs themselves
    this that these those who whom whose which what
    be am is are was were been being have has had having do does did doing done
    can could may might must shall should will would ought
    and but or nor if because as until while although though unless than whether so yet
    of at by for with about against between into through during before after above below to from up down in out on
    off over under upon within without toward towards among per via
    again further then once here there when where why how
    all any both each few more most other another some such no not only own same too very just also now ever even
    however therefore thus hence
"""
STOP_WORDS = frozenset(_STOP.split())
_CLITIC = re.compile("['\u2019](?:s|m|d|ll|re|ve)$")
_NEGATED = re.compile("n['\u2019]t$")


@cache
def _word() -> re.Pattern[str]:
    """Runs of letters, digits and their marks; hyphens, dots and apostrophes may stand inside, commas in numbers."""
    marks = "".join(chr(c) for c in range(0x300, 0x10000) if unicodedata.category(chr(c)).startswith("M"))
    letter = rf"(?:[^\W_]|[{re.escape(marks)}\u200c\u200d])"
    return re.compile(rf"{letter}+(?:(?:[-.'\u2019]|(?<=\d),(?=\d)){letter}+)*")


def words(text: str, *, english: bool) -> list[str]:
    """The distinct words of a text in lower case, in the order of their first places, without punctuation; of English
    without stop words and what is clipped onto words ('s, 'll, n't)."""
    found = _word().findall(text.lower())
    if english:
        bare = (_CLITIC.sub("", word) for word in found if not _NEGATED.search(word))
        found = [word for word in bare if word not in STOP_WORDS]
    return list(dict.fromkeys(found))


def is_english(language: str | None) -> bool:
    """Of a collection's language code; one that is not known is not English."""
    return (language or "").lower().replace("_", "-").split("-")[0] in ("en", "eng")


def highest(logits: Floats, ids: Ints, count: int) -> Ints:
    """The `count` (at least 1) ids of the highest logits, highest first, of equal ones the lower id first."""
    values = logits[ids]
    if count < len(ids):
        keep = values >= np.partition(values, len(ids) - count)[len(ids) - count]
        ids, values = ids[keep], values[keep]
    return ids[np.lexsort((ids, -values))][:count]


def terms_of(
    logits: Floats, own: Ints, vocabulary: npt.NDArray[np.bool_], outside: npt.NDArray[np.bool_], *,
    top: int, expansion: int = 0,
) -> tuple[npt.NDArray[np.int32], Floats]:  # fmt: skip
    """(terms ascending, weights) of one text: log(1 + ReLU(logit)) where that is above 0.

    logits: float32 [width]; own: ids of the tokens of its words; vocabulary: bool [width], ids that are tokens;
    outside: bool [width], those that may be added. The `top` highest of its own (where it has none the 10 highest of
    the vocabulary), and the `expansion` highest of what may be added and is neither.
    """
    chosen = highest(logits, own, top) if len(own) else highest(logits, np.flatnonzero(vocabulary), WORDLESS)
    if expansion:
        free = outside.copy()
        free[own] = free[chosen] = False
        chosen = np.concatenate([chosen, highest(logits, np.flatnonzero(free), expansion)])
    chosen = np.sort(chosen)
    weights = np.log1p(np.maximum(logits[chosen], np.float32(0)))
    keep = weights > 0
    return chosen[keep].astype(np.int32), weights[keep]


@cache
def _fixed_day() -> str:
    """A macro in the place of transformers' strftime_now. (A function can't be handed to a template.)"""
    values = {f"%{c}": _DATE.strftime(f"%{c}") for c in "aAbBdeHIjmMpSyY"}
    values |= {"%-d": str(_DATE.day), "%-m": str(_DATE.month)}
    replaced = "".join(f" | replace('{old}', '{new}')" for old, new in values.items())
    # What follows a variable keeps its line breaks.
    return f"{{% macro strftime_now(day) -%}}{{{{ day{replaced} }}}}{{%- endmacro %}}{{{{ '' }}}}"


def load_tokenizer(checkpoint: PromptCheckpoint) -> Any:
    """Raises InputError where it is not a fast one."""
    from transformers import AutoTokenizer

    with loading(checkpoint, "cpu"):
        tokenizer = AutoTokenizer.from_pretrained(
            str(checkpoint.folder),
            local_files_only=True,
            trust_remote_code=checkpoint.settings.trust_remote_code,
        )
    if not tokenizer.is_fast:
        raise InputError(f"{checkpoint.name} has no fast tokenizer (tokenizer.json), which prompts need")
    return tokenizer


@dataclass(frozen=True)
class Prompted:
    """texts: as they stand in the prompts, cut; prompts: whole; ids: tokens of each prompt; truncated: texts that were
    cut."""

    texts: list[str]
    prompts: list[str]
    ids: list[list[int]]
    truncated: int


class Prompter:
    """Puts texts into the prompts of a checkpoint. No model is loaded.

    length: tokens that a text is cut to. Raises InputError for a chat template that can't render the messages, and
    where prompt and text do not fit into the model's positions.
    """

    def __init__(self, checkpoint: PromptCheckpoint) -> None:
        self.name, self.recipe = checkpoint.name, checkpoint.recipe
        self.tokenizer = load_tokenizer(checkpoint)
        self._around = {side: self._split(self.recipe.prompt(side)) for side in ("query", "document")}
        self._positions = checkpoint.positions
        longest = max(len(ids) for side in self._around for ids in self._ids([self._put("", side)]))
        room = None if self._positions is None else self._positions - longest
        if room is not None and room < (self.recipe.length or 1):
            raise InputError(
                f"{self.name}: the prompt of {longest} tokens and a text of {self.recipe.length or 1} are more than "
                f"its {self._positions} positions",
                remedy=f"a length of at most {room}" if room > 0 else "a shorter prompt",
            )
        self.length: int = self.recipe.length or (LENGTH if room is None else min(LENGTH, room))

    # -- the prompt ---------------------------------------------------------------------------------------------

    def _split(self, user: str) -> tuple[str, str]:
        """What stands before and after the text."""
        alone = " ".join(part for part in (user, self.recipe.assistant) if part)
        whole = self._chat(user) if self.recipe.chat else alone
        if whole.count(TEXT) != 1:
            raise InputError(
                f"{self.name}: its chat template does not give the text and the answer's beginning back as they are",
                remedy="chat: false",
            )
        head, _, tail = whole.partition(TEXT)
        return head, tail

    def _chat(self, user: str) -> str:
        """The conversation up to where the model goes on: what the template puts behind the beginning of the answer
        (a mark of its end) is cut off."""
        from jinja2 import TemplateError

        recipe = self.recipe
        said = [("system", recipe.system), ("user", user), ("assistant", recipe.assistant)]
        messages = [{"role": role, "content": content} for role, content in said if content]
        try:
            whole: str = self.tokenizer.apply_chat_template(
                messages,
                chat_template=_fixed_day() + self.tokenizer.get_chat_template(),
                tokenize=False,
                add_generation_prompt=not recipe.assistant,
                date_string=_DATE.strftime("%d %b %Y"),
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.name}: its chat template refuses the prompt ({' '.join(str(error).split())[:200]})",
                remedy="`system: ''` where it knows no system messages, else `chat: false`",
            ) from error
        if not recipe.assistant:
            return whole
        # Templates may strip what is said.
        at = whole.rfind(recipe.assistant.strip())
        return whole[:at] + recipe.assistant.lstrip() if at >= 0 else ""

    def _put(self, text: str, side: str) -> str:
        head, tail = self._around[side]
        return head + text + tail

    def template(self, side: str) -> str:
        """The prompt, with TEXT where a text stands."""
        return self._put(TEXT, side)

    # -- texts --------------------------------------------------------------------------------------------------

    def prompted(self, texts: list[str], side: str) -> Prompted:
        """Prompts of texts, in their order. side: query or document."""
        if not texts:
            return Prompted([], [], [], 0)
        kept = self._cut(texts, self.length)
        prompts = [self._put(text, side) for text in kept]
        ids = self._ids(prompts)
        if self._positions is not None:
            for i, row in enumerate(ids):
                if len(row) > self._positions:
                    # Beside the prompt's own marks a text may be cut into more tokens than alone.
                    kept[i], prompts[i], ids[i] = self._shortened(kept[i], side, len(row) - self._positions)
        cut = sum(len(a) < len(b) for a, b in zip(kept, texts, strict=True))
        return Prompted(kept, prompts, ids, cut)

    def _cut(self, texts: list[str], length: int) -> list[str]:
        """The texts up to the end of their token `length`."""
        with unwarned():
            rows = self.tokenizer(
                texts,
                add_special_tokens=False,
                truncation=True,
                max_length=length,
                return_attention_mask=False,
            )
        return [
            text[: encoding.offsets[-1][1]] if encoding.overflowing else text
            for text, encoding in zip(texts, rows.encodings, strict=True)
        ]

    def _ids(self, prompts: list[str]) -> list[list[int]]:
        """Tokens of prompts. A chat template writes its special tokens itself; else the tokenizer's own are put before
        the prompt, and none behind it."""
        with unwarned():
            rows = self.tokenizer(
                prompts, add_special_tokens=not self.recipe.chat, return_special_tokens_mask=True,
                return_attention_mask=False,
            )  # fmt: skip
        if self.recipe.chat:
            return list(rows["input_ids"])
        out = []
        for ids, special in zip(rows["input_ids"], rows["special_tokens_mask"], strict=True):
            stop = len(ids)
            while stop and special[stop - 1]:
                stop -= 1
            out.append(ids[:stop])
        return out

    def _shortened(self, text: str, side: str, excess: int) -> tuple[str, str, list[int]]:
        assert self._positions is not None
        length = self.length
        while True:
            length = max(0, length - excess)
            text = self._cut([text], length)[0] if length else ""
            prompt = self._put(text, side)
            ids = self._ids([prompt])[0]
            excess = len(ids) - self._positions
            if excess <= 0:
                return text, prompt, ids


@dataclass(frozen=True)
class Represented:
    """vectors: float32 [texts, dim]; weights: of terms, of the same texts; read: tokens of the prompts; truncated:
    texts that lost tokens."""

    vectors: Floats
    weights: SparseVectors
    read: int
    truncated: int


class PromptEncoder(Encoder):
    """A loaded causal language model. Raises InputError where its tokenizer is not a fast one."""

    recipe: PromptRecipe
    checkpoint: PromptCheckpoint

    def __init__(
        self, checkpoint: Checkpoint, *, dtype: str, device: str, threads: int, batch_tokens: int | None
    ) -> None:
        super().__init__(checkpoint, dtype=dtype, device=device, threads=threads, batch_tokens=batch_tokens)
        self.prompter = Prompter(self.checkpoint)
        self.tokenizer = self.prompter.tokenizer
        self._head = self.model.get_output_embeddings()
        if self._head is None:
            raise InputError(f"{self.name}: {type(self.model).__name__} has no head for the next word")
        self.width, self.dim = (int(n) for n in self._head.weight.shape)
        self._takes_positions = "position_ids" in inspect.signature(self.model.forward).parameters
        self._known: dict[str, list[int]] = {}
        self._special = set(self.tokenizer.all_special_ids)
        self.vocabulary, self.outside = self._masks()

    def _load(self, dtype: Any) -> Any:
        from transformers import AutoModelForCausalLM

        with loading(self.checkpoint, self.device):
            model = AutoModelForCausalLM.from_pretrained(
                str(self.checkpoint.folder),
                local_files_only=True,
                trust_remote_code=self.checkpoint.settings.trust_remote_code,
                **weights_as(dtype),
            )
            return model.to(self.device).eval()

    def _takes_plain_text(self) -> bool:
        return False  # prompts are ours

    @property
    def modules(self) -> list[str]:
        return [type(self.model).__name__]

    # -- terms --------------------------------------------------------------------------------------------------

    def _masks(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """bool [width]: ids that are tokens (a model may have rows to spare), and of these the words of letters that
        begin with a-z, and the numbers. Where the tokenizer marks the beginning of a word that stands alone (▁), they
        have that mark."""
        first = self.tokenizer("a", add_special_tokens=False)["input_ids"][:1]
        mark = "▁" if any(t.startswith("▁") for t in self.tokenizer.convert_ids_to_tokens(first)) else ""
        vocabulary, outside = np.zeros(self.width, dtype=np.bool_), np.zeros(self.width, dtype=np.bool_)
        for token, i in self.tokenizer.get_vocab().items():
            if i < self.width:
                vocabulary[i] = True
                bare = token.removeprefix(mark)
                plain = bool(bare) and (bare.isdigit() or (bare.isalpha() and "a" <= bare[0] <= "z"))
                outside[i] = plain and token.startswith(mark) and i not in self._special
        return vocabulary, outside

    def word_ids(self, texts: list[str], *, english: bool) -> list[Ints]:
        """The distinct tokens of the words of each text, ascending. Words are tokenized one by one, without a space
        before them; what is no word (special tokens, the unknown one) is left out."""
        found = [words(text, english=english) for text in texts]
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        new = list(dict.fromkeys(word for row in found for word in row if word not in self._known))
        if new:
            with unwarned():
                rows = self.tokenizer(new, add_special_tokens=False, return_attention_mask=False)["input_ids"]
            for word, ids in zip(new, rows, strict=True):
                self._known[word] = [i for i in ids if i < self.width and i not in self._special]
        return [
            np.unique(np.array([i for word in row for i in self._known[word]], dtype=np.int64))
            for row in found
        ]

    # -- encoding -----------------------------------------------------------------------------------------------

    def represent(
        self,
        texts: list[str],
        side: str,
        *,
        english: bool = True,
        top: int = 128,
        expansion: int = 0,
        advance: Callable[[int], None] | None = None,
    ) -> Represented:
        """Both vectors of texts, in their order. side: query or document; english: whether stop words are dropped; top,
        expansion: see `terms_of`."""
        if not texts:
            return Represented(np.empty((0, self.dim), np.float32), SparseVectors.empty(self.width), 0, 0)
        self._use_threads()
        made = self.prompter.prompted(texts, side)
        own = self.word_ids(made.texts, english=english)
        lengths = np.array([len(ids) for ids in made.ids], dtype=np.int64)
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        rows: list[tuple[npt.NDArray[np.int32], Floats]] = [
            (np.empty(0, np.int32), np.empty(0, np.float32))
        ] * len(texts)
        for batch in self._batches(lengths):
            both = self._checked(self._forward({"input_ids": made.ids}, batch, {}, side))
            vectors[batch] = both[:, : self.dim]
            for row, logits in zip(batch.tolist(), both[:, self.dim :], strict=True):
                rows[row] = terms_of(
                    logits, own[row], self.vocabulary, self.outside, top=top, expansion=expansion
                )
            if advance:
                advance(len(batch))
        indptr = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(terms) for terms, _ in rows], out=indptr[1:])
        weights = SparseVectors(
            indptr, np.concatenate([t for t, _ in rows]), np.concatenate([w for _, w in rows]), self.width
        )
        return Represented(vectors, weights, int(lengths.sum()), made.truncated)

    def _padded(self, rows: Any, batch: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Tensors of a batch, padded on the tokenizer's side. Positions are those of the text whatever the side."""
        import torch

        pad = self.tokenizer.pad_token_id
        if pad is None:
            # Many have none; what stands there is masked.
            pad = self.tokenizer.eos_token_id or 0
        lists = [rows["input_ids"][i] for i in batch]
        width = max(len(ids) for ids in lists)
        tokens, mask = np.full((len(batch), width), pad, np.int64), np.zeros((len(batch), width), np.int64)
        left = self.tokenizer.padding_side == "left"
        for line, ids in enumerate(lists):
            where = slice(width - len(ids), width) if left else slice(0, len(ids))
            tokens[line, where], mask[line, where] = ids, 1
        arrays = {"input_ids": tokens, "attention_mask": mask}
        if self._takes_positions:
            arrays["position_ids"] = np.maximum(mask.cumsum(axis=1) - 1, 0)
        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}

    def _vectors(self, features: dict[str, Any], side: str) -> Floats:
        """float32 [texts, dim + width]: hidden state of the last layer (of length 1 where the recipe says so) and
        logits of the next word, at the last token of each prompt.

        The head for the next word is given that one state of each text, so there are no logits of other tokens; what a
        model does to its logits afterwards is its own code's.
        """
        import torch

        mask = features["attention_mask"]
        last = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(dim=1)
        lines = torch.arange(len(mask), device=mask.device)
        found: list[Any] = []

        def only_last(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
            if given[0].shape[:2] != mask.shape:
                raise SeekbenchError(
                    f"{self.name}: {type(self.model).__name__} feeds its head in another way"
                )
            found.append(given[0][lines, last])
            return (found[-1].unsqueeze(1), *given[1:])

        with torch.inference_mode():
            hook = self._head.register_forward_pre_hook(only_last)
            try:
                logits = self.model(**features, use_cache=False).logits
            finally:
                hook.remove()
            if len(found) != 1 or tuple(logits.shape) != (len(mask), 1, self.width):
                raise SeekbenchError(
                    f"{self.name}: {type(self.model).__name__} feeds its head in another way"
                )
            states = found[0].float()
            if self.recipe.normalize:
                states = torch.nn.functional.normalize(states, p=2, dim=1)
            both: Floats = torch.cat([states, logits[:, 0].float()], dim=1).cpu().numpy()
            return both
