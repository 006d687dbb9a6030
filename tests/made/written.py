"""A benchmark of one's own that is answered in writing, and a stand-in for the engine that writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langsteer.engines.vllm.offline import Greedy
from langsteer.engines.vllm.rows import read_row
from langsteer.engines.vllm.steering import OPEN, Steering
from langsteer.model.model import Model
from langsteer.states.intervention import output_states
from tests.made.own import own_file
from tests.made.published import json_lines, write

WRITTEN = """
title: Sayings
kind: generate
metric: exact_match
languages: [en, sw]
layout: <code>.jsonl
parts: {test: test}
files:
  path: "{code}.jsonl"
  columns: {text: text, rest: text}
source: [text]
target: rest
forms:
  english:
    doc_to_text: "{{text}}\\nIn {language}:"
    doc_to_target: "{{rest}}"
    generation_kwargs: {until: ["\\n", "q"], max_gen_toks: 12, do_sample: false}
instructions: {en: Say it.}
"""


def written_benchmark(folder: Path, items: int = 6) -> dict[str, Any]:
    """What a comparison says of it: its file, and its data."""
    own_file(folder / "own", "sayings", WRITTEN)
    for code, word in (("en", "of"), ("sw", "wa")):
        rows = [{"text": f"{word} {i} {word * (i % 3)}", "rest": "so"} for i in range(items)]
        write(folder / "data" / f"{code}.jsonl", json_lines(rows))
    return {"benchmarks": "sayings", "benchmark_files": "own", "data": "data", "languages": "sw"}


class StandIn:
    """In place of `OfflineEngine`: the same model without a cache, what is added read from the folder.

    `slip` changes the last token of so many answers of each call.
    """

    model: Model
    slip = 0
    opened: list["StandIn"]

    def __init__(self, source: str, rows: Path, dtype: str, arguments: Mapping[str, Any]) -> None:
        self.source, self.rows, self.dtype, self.arguments = source, rows, dtype, arguments
        self.calls: list[int] = []
        self.closed = False
        self.opened.append(self)

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        steering: Sequence[Steering | None],
        greedy: Greedy,
        bias: Mapping[int, float] | None = None,
    ) -> list[list[int]]:
        self.calls.append(len(prompts))
        self.bias = torch.zeros(self.model.vocab_size)
        for token, number in (bias or {}).items():
            self.bias[token] = number
        written = [
            self._one(list(ids), steered, greedy)
            for ids, steered in zip(prompts, steering, strict=True)
        ]
        for ids in written[: self.slip]:
            ids[0] = 40 if ids[0] != 40 else 41
        return written

    def close(self) -> None:
        self.closed = True

    def _one(self, ids: list[int], steering: Steering | None, greedy: Greedy) -> list[int]:
        start, network = len(ids), self.model.network
        while len(ids) - start < greedy.longest:
            hooks = [
                self.model.blocks[layer].register_forward_hook(_adding(added))
                for layer, added in self._added(steering, len(ids)).items()
            ]
            with torch.inference_mode():
                logits = network(torch.tensor([ids])).logits[0, -1]
                ids.append(int((logits + self.bias).argmax()))
            for hook in hooks:
                hook.remove()
            text = self.model.tokenizer.decode(ids[start:], skip_special_tokens=True)
            if ids[-1] in greedy.ends or any(stop in text for stop in greedy.until):
                break
        return ids[start:]

    def _added(self, steering: Steering | None, count: int) -> dict[int, Tensor]:
        """By layer what is added to each token: [tokens, hidden]."""
        added: dict[int, Tensor] = {}
        for first, end, digest in steering.pieces if steering is not None else ():
            for layer, values in read_row(self.rows, digest).items():
                table = added.setdefault(layer, torch.zeros(count, self.model.hidden_size))
                table[first : count if end == OPEN else end] += values * steering.scale  # type: ignore[union-attr]
        return added


def _adding(added: Tensor) -> Any:
    def hook(module: Any, args: Any, output: Any) -> Any:
        hidden = output_states(output) + added
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    return hook
