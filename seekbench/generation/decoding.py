"""Decoding queries with transformers' `generate`, each query's random numbers its own.

torch's sampling draws one stream of random numbers for a whole batch, so a query would depend on its company. Here
each query has uniform numbers of its own, one a step, made of (seed, input, number of the query), and a token is
drawn by inverting the cumulative distribution over the vocabulary's order. Company then moves the last bits of
probabilities only, and a token changes where a number lies within them: about once in a million tokens in float32.

This module needs torch at import: import it only where a model is about to run.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seekbench.errors import SeekbenchError

#: Bytes of scores that transformers' beam search may keep for one batch (all steps, all of the vocabulary).
_BEAM_SCORES = 1 << 30


@dataclass(frozen=True)
class Decoded:
    """Queries of a batch of inputs, `count` an input, in the order of inputs. score: float32, mean log-probability
    of a query's tokens; tokens: int64, how many they are, the closing one included."""

    texts: list[str]
    score: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int64]


def uniforms(seed: int, inputs: list[str], count: int, steps: int) -> npt.NDArray[np.float64]:
    """float64 [inputs x count, steps] in [0, 1): Philox streams keyed by the first 128 bits of sha256(seed, input).

    They depend on nothing else, so neither the place in the corpus nor the other inputs matter, and a higher `count`
    only adds rows.
    """
    out = np.empty((len(inputs), count, steps), dtype=np.float64)
    for i, text in enumerate(inputs):
        digest = hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "surrogatepass")).digest()
        key = int.from_bytes(digest[:16], "little")
        out[i] = np.random.Generator(np.random.Philox(key=key)).random((count, steps))
    return out.reshape(-1, steps)


class Choose:
    """A logits processor that leaves one token a row: the best, or one drawn by the row's uniform numbers; and keeps
    the model's log-probability of each.

    uniforms: float64 [rows, steps], None for the best. temperature divides logits; of what is left, the `top_k`
    highest and of them the fewest whose probabilities reach `top_p` (Holtzman et al. 2020) are drawn from.
    """

    def __init__(
        self,
        uniforms: npt.NDArray[np.float64] | None,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> None:
        self.uniforms = None if uniforms is None else torch.from_numpy(uniforms)
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.log_probabilities: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores: float32 [rows, vocabulary]."""
        log_p = torch.log_softmax(scores, dim=-1)
        if self.uniforms is None:
            self.log_probabilities.append(log_p.max(dim=-1).values)
            return scores
        token = self._drawn(scores, self.uniforms[:, len(self.log_probabilities)])
        self.log_probabilities.append(log_p.gather(1, token)[:, 0])
        return torch.full_like(scores, float("-inf")).scatter(1, token, 0.0)

    def _drawn(self, scores: Tensor, numbers: Tensor) -> Tensor:
        """int64 [rows, 1]."""
        values, ids = scores / self.temperature, None
        if self.top_k is not None and self.top_k < values.shape[1]:
            values, ids = values.topk(self.top_k, dim=-1)
            # In the vocabulary's order, since that of nearly equal values depends on the last bits.
            ids, order = ids.sort(dim=-1)
            values = values.gather(1, order)
        # MPS has no float64.
        device = torch.device("cpu") if values.device.type == "mps" else values.device
        p = torch.softmax(values.to(device).double(), dim=-1)
        if self.top_p is not None:
            highest, order = p.sort(dim=-1, descending=True, stable=True)
            highest[highest.cumsum(dim=-1) - highest >= self.top_p] = 0.0
            p = torch.zeros_like(p).scatter(1, order, highest)
        sums = p.cumsum(dim=-1)
        total = sums[:, -1:]
        below = torch.minimum(
            numbers.to(device)[:, None] * total, torch.nextafter(total, torch.zeros_like(total))
        )
        place = torch.searchsorted(sums, below, right=True).clamp(max=p.shape[1] - 1).to(scores.device)
        return place if ids is None else ids.gather(1, place)


class LineEnd:
    """A stopping criterion for models without an encoder: the end of the first line that is not blank.

    Of each token it is known whether its text has a newline, a visible character, and a newline after one.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, device: str) -> None:
        size = min(vocabulary, len(tokenizer))
        special = set(tokenizer.all_special_ids)
        texts = tokenizer.batch_decode([[i] for i in range(size)])
        newline = np.zeros(vocabulary, dtype=np.bool_)
        visible, closing = newline.copy(), newline.copy()
        for i, text in enumerate(texts):
            if i not in special:
                newline[i], visible[i] = "\n" in text, not text.isspace() and bool(text)
                closing[i] = "\n" in text.lstrip()
        self.newline, self.visible, self.closing = (
            torch.from_numpy(x).to(device) for x in (newline, visible, closing)
        )

    def ends(self, generated: Tensor) -> Tensor:
        """bool [rows, steps]: whether a first line is over with this token. generated: int64 [rows, steps]."""
        visible = self.visible[generated]
        seen_before = visible.cumsum(dim=-1) - visible.long() > 0
        found: Tensor = self.closing[generated] | (self.newline[generated] & seen_before)
        return found


class _Stop:
    def __init__(self, lines: LineEnd, prompt: int) -> None:
        self.lines, self.prompt = lines, prompt

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        return self.lines.ends(input_ids[:, self.prompt :]).any(dim=-1)


class Decoder:
    """A loaded generator.

    kind: `sample` (temperature, top_k, top_p), `greedy`, or `beams`. count: queries an input. steps: the most tokens
    of a query. Of the checkpoint's generation settings only the tokens that begin, end and pad a text are taken; what
    decides a distribution is stated here.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        seq2seq: bool,
        kind: Literal["sample", "greedy", "beams"],
        count: int,
        steps: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        beams: int = 1,
    ) -> None:
        from transformers import GenerationConfig

        self.model, self.tokenizer, self.name, self.seq2seq = model, tokenizer, name, seq2seq
        self.kind, self.count, self.steps, self.beams = kind, count, steps, beams
        self.choosing: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        own = model.generation_config
        end = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
        self.ends: list[int] = [] if end is None else [end] if isinstance(end, int) else list(end)
        pads = (tokenizer.pad_token_id, own.pad_token_id, *self.ends, 0)
        self.pad = int(next(p for p in pads if p is not None))
        self.vocabulary = int(model.get_output_embeddings().weight.shape[0])
        config = GenerationConfig(
            eos_token_id=self.ends or None,
            pad_token_id=self.pad,
            bos_token_id=own.bos_token_id,
            decoder_start_token_id=own.decoder_start_token_id,
            forced_bos_token_id=own.forced_bos_token_id,
            forced_eos_token_id=own.forced_eos_token_id,
        )
        # What `generate` is not told it takes from here.
        model.generation_config = copy.deepcopy(config)
        config.update(max_new_tokens=steps, do_sample=False, num_beams=1, return_dict_in_generate=True)
        if kind == "beams":
            # The mean log-probability decides, as for `score`.
            config.update(
                num_beams=beams, num_return_sequences=count, output_scores=True, length_penalty=1.0,
                early_stopping=False,
            )  # fmt: skip
        self.config = config
        self.lines = None if seq2seq else LineEnd(tokenizer, self.vocabulary, str(model.device))

    @property
    def most(self) -> int:
        """Inputs of a batch at most."""
        if self.kind != "beams":
            return 1024
        return max(1, _BEAM_SCORES // (4 * self.vocabulary * self.steps * self.beams))

    @torch.inference_mode()
    def __call__(self, inputs: list[list[int]], numbers: npt.NDArray[np.float64] | None) -> Decoded:
        """Queries of inputs given as token ids. numbers: of `uniforms`, for sampling."""
        from transformers import LogitsProcessorList, StoppingCriteriaList
        from transformers.modeling_outputs import BaseModelOutput

        ids, mask = self._padded(inputs)
        chooser = Choose(numbers, **self.choosing) if self.kind == "sample" else Choose(None)
        arguments: dict[str, Any] = {"attention_mask": mask}
        prompt = 1 if self.seq2seq else ids.shape[1]
        if self.kind == "beams":
            arguments["input_ids"] = ids
        else:
            arguments["logits_processor"] = LogitsProcessorList([chooser])
            arguments["attention_mask"] = mask.repeat_interleave(self.count, dim=0)
            if self.seq2seq:
                # Encoded once, however many queries are wanted.
                states = self.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
                arguments["encoder_outputs"] = BaseModelOutput(
                    last_hidden_state=states.repeat_interleave(self.count, dim=0)
                )
            else:
                arguments["input_ids"] = ids.repeat_interleave(self.count, dim=0)
        if self.lines:
            arguments["stopping_criteria"] = StoppingCriteriaList([_Stop(self.lines, prompt)])
        out = self.model.generate(generation_config=self.config, **arguments)
        generated = out.sequences[:, prompt:]
        length = self._lengths(generated)
        if self.kind == "beams":
            score = out.sequences_scores.float()
        else:
            steps = generated.shape[1]
            kept = torch.arange(steps, device=generated.device) < length[:, None]
            log_p = torch.stack(chooser.log_probabilities[:steps], dim=1)
            score = (log_p * kept).sum(dim=1) / length
        if not bool(torch.isfinite(score).all()):
            raise SeekbenchError(
                f"{self.name} gave probabilities that are not numbers in {self.model.dtype}; use dtype: float32"
            )
        return Decoded(self._texts(generated, length), score.float().cpu().numpy(), length.cpu().numpy())

    def _padded(self, inputs: list[list[int]]) -> tuple[Tensor, Tensor]:
        """int64 [inputs, width], tokens and mask: padded left where the text is continued, right where it is read."""
        width = max(len(row) for row in inputs)
        ids = np.full((len(inputs), width), self.pad, np.int64)
        mask = np.zeros_like(ids)
        for line, row in enumerate(inputs):
            where = slice(0, len(row)) if self.seq2seq else slice(width - len(row), width)
            ids[line, where], mask[line, where] = row, 1
        device = self.model.device
        return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)

    def _lengths(self, generated: Tensor) -> Tensor:
        """int64 [rows]: tokens up to the first that ends the text, that one included."""
        ends = torch.zeros_like(generated, dtype=torch.bool)
        for end in self.ends:
            ends |= generated == end
        if self.lines:
            ends |= self.lines.ends(generated)
        first = ends.long().argmax(dim=-1)
        return torch.where(ends.any(dim=-1), first + 1, generated.shape[1])

    def _texts(self, generated: Tensor, length: Tensor) -> list[str]:
        rows = [row[:n] for row, n in zip(generated.tolist(), length.tolist(), strict=True)]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        if not self.seq2seq:
            texts = [text.lstrip().split("\n", 1)[0] for text in texts]
        # A query is one line of single spaces.
        return [" ".join(text.split()) for text in texts]
