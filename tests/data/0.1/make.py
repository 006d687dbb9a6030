"""Writes the files of this folder, and what they say, with the code of version 0.1.

    PYTHONPATH=CHECKOUT_OF_0.1/src python make.py

It does not run with later versions: the point of the files is that those did not write them.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

from langsteer.analysis.analyze import AnalysisOptions, analyze
from langsteer.analysis.drift import DriftOptions, drift
from langsteer.analysis.drift_report import DISPLACEMENTS_FILE
from langsteer.analysis.vectors import examine
from langsteer.corpus import ParallelCorpus, builtin
from langsteer.evaluation import compare as comparing
from langsteer.evaluation.benchmarks.sib200 import TOPICS
from langsteer.evaluation.configuration import comparison
from langsteer.evaluation.report import make_report
from langsteer.fitting import learn_all
from langsteer.fitting.average import average
from langsteer.fitting.low_rank import LowRankOptions
from langsteer.fitting.low_rank import fit as fit_low_rank
from langsteer.fitting.projection import ProjectionOptions
from langsteer.fitting.projection import fit as fit_projection
from langsteer.models import load_model, wrap_model
from langsteer.routing import fit_router
from langsteer.tokens import encode, pad_mask
from langsteer.tuning import Record, SftOptions, sft
from langsteer.tuning.data import Instructions
from langsteer.version import __version__

HERE = Path(__file__).parent
TEXTS = ("Habari ya asubuhi", "Tere hommikust, kuidas sul", "The cat sat on the mat.", "Ev")
LEARNED = {"steps": 6, "batch": 4}
WORDS = ("rain", "law", "team", "hill", "fever", "song", "road", "lamp")
SIZES = {"train": 21, "dev": 14, "test": 14}
TUNED = SftOptions(steps=6, batch=4, rate=0.02, half=False, rank=2)


def tokenizer() -> Any:
    characters = [chr(i) for i in range(32, 127)] + ["\n"]
    vocabulary = {
        name: i for i, name in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *characters])
    }
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(r"[\s\S]"), behavior="isolated"
    )
    backend.decoder = tokenizers.decoders.Fuse()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    named = {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "pad", "unk")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **named)


def make_model(folder: Path, seed: int, moved: float = 0.0) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=128, hidden_size=32, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=48, max_position_embeddings=1024,
        initializer_range=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    network = transformers.AutoModelForCausalLM.from_config(config).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += moved * torch.randn_like(parameter)
    if not moved:
        network.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        network = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    return wrap_model(network, tokenizer(), name="tiny" if not moved else "moved")


def pairs() -> ParallelCorpus:
    lines = builtin("sw", "et", "tr").lines(range(30))
    texts = {tag: tuple(line[:40] for line in text) for tag, text in lines.texts.items()}
    return ParallelCorpus(texts, "en", "pairs")


def topics(folder: Path) -> None:
    """SIB-200 as published, invented, in letters that the tokeniser has."""
    for code, mark in (("eng_Latn", "the"), ("swh_Latn", "ya"), ("est_Latn", "ja")):
        number = 0
        for part, size in SIZES.items():
            lines = ["index_id\tcategory\ttext"]
            for i in range(size):
                number += 1
                text = f"{mark} {WORDS[number % 8]} {mark} {WORDS[number % 7]} {number}"
                lines.append(f"{number}\t{TOPICS[i % 7]}\t{text}")
            path = folder / "sib200" / code / f"{part}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def instructions() -> Instructions:
    answers = {"en": ("yes", "no"), "sw": ("ndio", "hapana")}
    return Instructions(
        tuple(
            Record(str(i), tag, (("user", f"{tag} {i}?"),), good, bad)
            for tag, (good, bad) in answers.items()
            for i in range(10)
        ),
        "toy",
    )


def logits(model: Any, change: Any = None) -> list[list[float]]:
    """Of the last token of each text, changed or not."""
    encoded = encode(model, TEXTS)
    inputs = model.batch([text.ids for text in encoded])
    mask = pad_mask([text.source for text in encoded])
    with torch.no_grad():
        if change is None:
            found = model.network(**inputs).logits
        else:
            with change.applied(model, mask=mask):
                found = model.network(**inputs).logits
    return [[round(x, 7) for x in row] for row in found[:, -1].double().tolist()]


def changes(model: Any, corpus: ParallelCorpus) -> dict[str, Any]:
    folder = HERE / "vectors"
    simple = learn_all(model, corpus, "mean_difference", layers=[2], strengths=[0.5, 1.0])
    files = {tag: folder / f"{tag}.safetensors" for tag in corpus.languages}
    for tag, vector in simple.items():
        vector.save(files[tag])
    learned = learn_all(
        model, corpus.only("sw"), "learned", files={"sw": HERE / "learned.safetensors"}, **LEARNED
    )
    projection = fit_projection(
        model, corpus.only("sw"), ProjectionOptions(layers=(1, 2), alpha=0.75, intercept=True)
    )
    low_rank = fit_low_rank(model, corpus.only("sw"), LowRankOptions(steps=4, batch=4, rank=2))
    made = {
        "vectors/sw": simple["sw"],
        "learned": learned["sw"],
        "average": average([simple["sw"], simple["tr"]], "sw-KE"),
        "projection": projection,
        "projection_added": replace(projection, form="add", alpha=0.1, positions="all"),
        "low_rank": low_rank,
    }
    for name, change in made.items():
        change.save(HERE / f"{name}.safetensors")
    router = fit_router(model, {tag: corpus.texts[tag] for tag in ("en", "sw", "et")})
    router.save(folder / "router.safetensors")
    said = router.identify(model, TEXTS)
    return {
        "changes": {
            name: {
                "kind": type(change).__name__,
                "language": change.language,
                "strength": getattr(change, "strength", None) or change.alpha,
                "positions": change.positions,
                "layers": list(change.layers),
                "values": [
                    float(change.values.double().sum())
                    if name in ("vectors/sw", "learned", "average")
                    else sum(float(m.double().sum()) for m in change.maps.values())
                ],
                "logits": logits(model, change),
            }
            for name, change in made.items()
        },
        "router": [[one.language, one.confidence] for one in said],
        "routed": [
            None if vector is None else vector.language
            for vector in router.route(model, TEXTS, simple, confidence=0.5)
        ],
    }


def comparison_numbers(model: Any, corpus: ParallelCorpus) -> None:
    topics(HERE / "data")
    comparing.load_model = lambda name, **_: model
    comparing.fit_corpus = lambda path, lines, *tags: corpus.only(*tags)
    methods = ["direct", "english", "few_shot", "mean_difference"]
    keys = {"models": "tiny", "benchmarks": "sib200", "languages": ["sw", "et"]}
    wanted = comparison(keys | {"output": "comparison", "methods": methods, "data": "data"}, HERE)
    outcome = comparing.compare(wanted)
    assert not outcome.failed, outcome.failed
    configuration = wanted.output / "configuration.yaml"
    text = configuration.read_text(encoding="utf-8").replace(f"{HERE}/", "")
    configuration.write_text(text, encoding="utf-8")
    report = make_report(wanted.output, draws=200).as_json()
    (wanted.output / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=0))


def analyses(model: Any, corpus: ParallelCorpus, vectors: dict[str, Any]) -> None:
    options = AnalysisOptions(items=3, shown=4, folds=3)
    two = corpus.only("sw", "et")
    analyze(model, two, {"sw": vectors["sw"]}, lines=12, options=options).write(HERE / "analysis")
    found = drift(
        model,
        [("moved", make_model(HERE / "moved", 1, moved=0.02))],
        two,
        vectors=[vectors["sw"], vectors["et"]],
        options=DriftOptions(draws=60),
    )
    found.results.write(HERE / "drift")
    found.write_displacements(HERE / "drift" / DISPLACEMENTS_FILE)
    examine(vectors.values(), model, two, lines=6, permutations=200).write(HERE / "vectors")


def adapter(model_folder: Path) -> dict[str, Any]:
    model = load_model(model_folder)
    result = sft(model, instructions(), HERE / "adapter", options=TUNED)
    tuned = logits(load_model(HERE / "adapter"))
    for file in (HERE / "adapter").glob("*.json"):  # the folder of the base, as PEFT wants it
        text = file.read_text(encoding="utf-8").replace(str(model_folder.resolve()), "MODEL")
        text = text.replace(f"{HERE.resolve()}/", "")
        file.write_text(text, encoding="utf-8")
    return {"logits": tuned, "after": result.after, "before": result.before, "steps": result.steps}


def main() -> None:
    for path in HERE.iterdir():
        if path.name != "make.py":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    model, corpus = make_model(HERE / "model", 0), pairs()
    (HERE / "pairs.json").write_text(json.dumps(corpus.texts, ensure_ascii=False, indent=0))
    expected = {"version": __version__, "texts": TEXTS, "logits": logits(model)}
    expected |= changes(model, corpus)
    vectors = learn_all(model, corpus, "mean_difference", layers=[2], strengths=[0.5, 1.0])
    comparison_numbers(model, corpus)
    analyses(model, corpus, vectors)
    expected["adapter"] = adapter(HERE / "model")
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=0))


if __name__ == "__main__":
    main()
