"""The card of a repository of vectors: what its files say of themselves, for people and for the hub's search.

A YAML header (base model, languages, licence, tags), then what the vectors are for and what they harm, what
they gained where that was measured, how to use them, and what they were learned from.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langsteer.look.words import counted, noun, signed
from langsteer.steering.change import Change
from langsteer.steering.foreign import UNKNOWN
from langsteer.steering.router import Router
from langsteer.text.languages import language_name

LICENCE = "other"
TAGS = ("langsteer", "steering-vector", "multilingual")
HUB_NAMES = {  # of models that come as packages
    "gemma-3-270m": "google/gemma-3-270m",
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
}
HARMS = {  # by the objective that was learned with
    "centred": (
        "It makes the model answer in {pivot}, also where an answer in the language is wanted; it gains "
        "nothing where answers in the language are scored, and shifts which answers are likely beforehand. "
        "Questions about facts can be answered worse."
    ),
    "translation": "It is for reading: answers in the language can get worse.",
}
HARM = "What helps with one thing can harm another."
_DATA_SET = re.compile(r"(?:hf:)?([A-Za-z0-9][\w.-]*/[\w.-]+)(?:/[\w.-]+)?")


@dataclass(frozen=True)
class CardOptions:
    """What the files do not know: the licence, the model's id on the hub, and results.

    `results` are rows as `langsteer evaluate --json` prints them.
    """

    licence: str = LICENCE
    base_model: str | None = None
    results: Sequence[Mapping[str, Any]] = ()


def model_card(
    repository: str,
    changes: Mapping[str, Change],
    router: Router | None,
    options: CardOptions = CardOptions(),
) -> str:
    """The text of README.md for files by their name, such as `sw.safetensors`."""
    model = _model_name(changes, router)
    parts = [
        _header(changes, router, options),
        f"# {_title(changes, router)} for {model}\n",
        _what(changes, router, model),
        _purposes(changes),
        _gains(changes, options.results),
        _use(repository, changes, router, options.base_model or model),
        _origin(changes, router, options.licence),
    ]
    return "\n".join(part for part in parts if part)


def hub_name(model: str) -> str | None:
    """The id of a model on the hub, where its name is one or is known."""
    if model in HUB_NAMES:
        return HUB_NAMES[model]
    return model if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", model) else None


def _header(changes: Mapping[str, Change], router: Router | None, options: CardOptions) -> str:
    import huggingface_hub

    tags = _languages(changes, router)
    base = options.base_model or hub_name(_model_name(changes, router))
    subtags = list(dict.fromkeys(tag.partition("-")[0] for tag in tags))
    more: dict[str, Any] = {"base_model_relation": "adapter"} if base else {}
    if subtags != tags:
        more["language_bcp47"] = tags
    data = huggingface_hub.ModelCardData(
        base_model=base,
        language=[tag for tag in subtags if tag != UNKNOWN] or None,
        license=options.licence,
        library_name="langsteer",
        pipeline_tag="text-generation",
        tags=list(TAGS),
        datasets=_data_sets(changes) or None,
        **more,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _languages(changes: Mapping[str, Change], router: Router | None) -> list[str]:
    if changes:
        return list(dict.fromkeys(change.language for change in changes.values()))
    return list(router.languages) if router is not None else []


def _name(tag: str) -> str:
    return "an unnamed language" if tag == UNKNOWN else language_name(tag)


def _data_sets(changes: Mapping[str, Change]) -> list[str]:
    """The ids of data sets of the hub that were learned from."""
    names = [str(change.corpus.get("name", "")) for change in changes.values()]
    matched = [_DATA_SET.fullmatch(name) for name in dict.fromkeys(names)]
    return [match[1] for match in matched if match]


def _model_name(changes: Mapping[str, Change], router: Router | None) -> str:
    owner = next((change.model for change in changes.values()), router.model if router else {})
    return str(owner.get("name", "an unknown model"))


def _title(changes: Mapping[str, Change], router: Router | None) -> str:
    if not changes:
        return "A router of languages"
    names = [_name(tag) for tag in _languages(changes, router)]
    kinds = {change.kind.name for change in changes.values()}
    kind = noun(kinds.pop() if len(kinds) == 1 else "change", len(changes))
    listed = ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]
    return f"Steering {kind} for {listed}"


def _what(changes: Mapping[str, Change], router: Router | None, model: str) -> str:
    lines = []
    if changes:
        lines += [
            f"Made with langsteer for {model}. {_done(changes)} which moves what the model makes of the "
            f"language towards its {_name(next(iter(changes.values())).pivot)}. The model's weights "
            "stay as they are. Layers are counted from 0.\n",
            "| file | language | layer | strength | tokens | method |",
            "| --- | --- | ---: | ---: | --- | --- |",
            *(_row(name, change) for name, change in changes.items()),
            "",
        ]
    if router is not None:
        told = ", ".join(_name(tag) for tag in router.languages)
        lines += [f"`router.safetensors` tells which language a text is in, of {told}.\n"]
    return "\n".join(lines)


def _done(changes: Mapping[str, Change]) -> str:
    if {change.kind.name for change in changes.values()} == {"vector"}:
        return "A vector is added to the hidden states at one layer,"
    if not any(change.layers for change in changes.values()):
        return "The logits of what is written are changed,"
    return "The hidden states are changed at the layers that are named,"


def _row(name: str, change: Change) -> str:
    objective = change.options.get("objective")
    cells = [
        f"`{name}`",
        f"{_name(change.language)} ({change.language})",
        ", ".join(map(str, change.layers)) or "–",
        _strengths(change),
        " + ".join(dict.fromkeys(str(part.positions) for part in change.parts)),
        f"{change.method}, {objective}" if objective else change.method,
    ]
    return "| " + " | ".join(cells) + " |"


def _strengths(change: Change) -> str:
    """Of each part as it is used; said once where all are the same."""
    strengths = [f"{part.strength:g}" for part in change.used_parts]
    return strengths[0] if len(set(strengths)) == 1 else " + ".join(strengths)


def _purposes(changes: Mapping[str, Change]) -> str:
    if not changes:
        return ""
    lines = ["## What it is for, and what it harms\n"]
    by_purpose: dict[tuple[str, str], list[str]] = {}
    for name, change in changes.items():
        harm = HARMS.get(change.options.get("objective", ""), HARM)
        purpose = (change.serves, harm.format(pivot=_name(change.pivot)))
        by_purpose.setdefault(purpose, []).append(f"`{name}`")
    for (serves, harm), names in by_purpose.items():
        told = f"for {serves}" if serves else "nothing was noted of what it is for"
        lines.append(f"- {', '.join(names)}: {told}. {harm}")
    lines.append(
        "\nA vector moves what the model already understands; it teaches nothing. It may weaken what the "
        "model was taught to refuse. Measure it on your own items before you rely on it.\n"
    )
    return "\n".join(lines)


def _gains(changes: Mapping[str, Change], results: Sequence[Mapping[str, Any]]) -> str:
    if not changes:
        return ""
    lines = ["## What it gains\n"]
    if results:
        lines += [
            "Without and with the vector, on the same items; in brackets the 95% interval of the "
            "difference.\n",
            "| task | language | items | metric | without | with | difference |",
            "| --- | --- | ---: | --- | ---: | ---: | --- |",
            *(_result(row) for row in results),
            "",
        ]
    else:
        lines.append("Not measured on any task. `langsteer evaluate` does that.\n")
    divergences = [_divergence(name, change) for name, change in changes.items()]
    if any(divergences):
        pivot = _name(next(iter(changes.values())).pivot)
        lines.append(
            f"Divergence from the model reading {pivot}, in nats, on held-out lines (lower is nearer):\n"
        )
        lines += [line for line in divergences if line] + [""]
    return "\n".join(lines)


def _result(row: Mapping[str, Any]) -> str:
    change = row["change"]
    interval = f"[{signed(change['low'], '.3f')}, {signed(change['high'], '.3f')}]"
    cells = [
        row["task"], row["language"], row["items"], row["metric"], f"{row['unsteered']:.3f}",
        f"{row['steered']:.3f}", f"{signed(change['value'], '.3f')} {interval}",
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def _divergence(name: str, change: Change) -> str:
    scores = change.scores
    if not {"divergence", "divergence_unsteered"} <= set(scores):
        return ""
    return f"- `{name}`: {scores['divergence_unsteered']:.3f} → {scores['divergence']:.3f}"


def _use(repository: str, changes: Mapping[str, Change], router: Router | None, model: str) -> str:
    if not changes:
        return (
            "## Use\n\n```python\nimport langsteer\n\n"
            f'router = langsteer.Router.load("{repository}")\n```\n'
        )
    name, change = next(iter(changes.items()))
    chosen = "" if router is not None or len(changes) == 1 else f', language="{change.language}"'
    text = f"""## Use

With [langsteer](https://arxiv.org/abs/2505.12584) (`pip install langsteer`):

```python
import langsteer

model = langsteer.steered("{model}", "{repository}")
print(model.generate(["..."]{chosen}))
```

Inside anything of transformers that calls `generate`, such as a pipeline: `with model.applied(): ...`.
"""
    if change.kind.name != "vector":
        return text
    return f"""{text}
With transformers alone, at every token:

```python
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file

vector = load_file(hf_hub_download("{repository}", "{name}"))["values"]


def add(module, args, output):
    states = output[0] if isinstance(output, tuple) else output
    states += {change.strength:g} * vector.to(states)


network.get_decoder().{_blocks(change)}[{change.layers[0]}].register_forward_hook(add)
```

With llama.cpp, at every token too:

```bash
langsteer export {repository} --to gguf --everywhere -o {"control/" if len(changes) > 1 else "vector.gguf"}
llama-server -m model.gguf --control-vector {f"control/{change.language}.gguf" if len(changes) > 1 else "vector.gguf"}
```
"""


def _blocks(change: Change) -> str:
    """What transformers calls the list of blocks in the decoder of the architecture."""
    architecture = str(change.model.get("fingerprint", {}).get("architecture", ""))
    return "h" if architecture in ("gpt2", "bloom", "gptj", "gpt_neo") else "layers"


def _corpus(corpus: Mapping[str, Any]) -> str:
    """How much text was learned from, and which; empty where neither was noted. The lines of a
    router are counted by language.
    """
    lines, name = corpus.get("lines"), corpus.get("name")
    told = f"{lines} lines" if lines else "text" if name else ""
    if isinstance(lines, Mapping) and lines:
        fewest, most = min(lines.values()), max(lines.values())
        each = (
            f"{most} lines of each" if fewest == most else f"from {fewest} to {most} lines of each"
        )
        told = f"{counted(len(lines), 'language')}, {each}"
    return f"{told} of {name}" if name and told else told


def _origin(changes: Mapping[str, Change], router: Router | None, licence: str) -> str:
    learned: dict[str, Change | Router] = dict(changes)
    if router is not None:
        learned["router.safetensors"] = router
    texts = [
        f"- `{name}`: {told}" for name, part in learned.items() if (told := _corpus(part.corpus))
    ]
    builtin = any(part.corpus.get("name") == "builtin" for part in learned.values())
    lines = [
        "## What it was learned from\n",
        *(texts or ["- not noted"]),
        "\nThe terms of the model and the licence of that text hold for what was learned from them"
        + ("; langsteer's built-in corpus is under CC BY 4.0.\n" if builtin else ".\n"),
        f"Written by langsteer {next(iter(learned.values())).version}. Licence of these files: {licence}.\n",
    ]
    return "\n".join(lines)
