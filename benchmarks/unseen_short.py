"""Short sentences in languages next to those that a router was shown: what narrower bounds leave, and what they cost.

    python -m benchmarks.unseen_short

A router of the 19 languages of NTREX and English. Sentences in Zulu, Shona and Hindi in Latin letters are written
below; those in Quechua, Haitian Creole and five languages that were shown are premises of XCOPA's validation part.
Prints a table and writes benchmarks/results/unseen_short.json.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import langsteer
from benchmarks.common import SHARED, report
from langsteer.fitting.router import fit_router
from langsteer.model.tokens import encode
from langsteer.progress import show_progress
from langsteer.states.capture import sentence_states
from langsteer.steering.router import CONFIDENT, Router
from langsteer.text.corpus import spread
from langsteer.text.readers import read_ntrex

WIDTHS = (None, 1.0, 0.95, 0.9, 0.85, 0.8)  # times the bounds; None is without any
SHOWN = ("sw", "et", "tr", "it", "id")
NOT_SHOWN = ("qu", "ht")
WRITTEN = {
    "zu": (
        "Ngiyabonga kakhulu ngosizo lwakho.", "Izingane zidlala ibhola ngaphandle.",
        "Ngifuna ukuya edolobheni kusasa.", "Umama upheka ukudla kwantambama.",
        "Isikole sivulwa ngehora lesishiyagalombili.", "Imvula ina kakhulu namhlanje.",
        "Abafundi bafunda izincwadi eziningi.", "Inja yami ithanda ukudla inyama.",
        "Uthisha ufundisa izibalo esikoleni sethu.", "Ubaba usebenza efemini eGoli.",
        "Sihamba ngebhasi uma siya emsebenzini.", "Amanzi omfula ayabanda ebusika.",
    ),
    "sn": (
        "Ndinotenda zvikuru nerubatsiro rwako.", "Vana vari kutamba bhora panze.",
        "Ndinoda kuenda kuguta mangwana.", "Amai vari kubika sadza nemuriwo.",
        "Chikoro chinovhurwa na8 mangwanani.", "Mvura iri kunaya zvakanyanya nhasi.",
        "Vadzidzi vanoverenga mabhuku akawanda.", "Imbwa yangu inofarira kudya nyama.",
        "Mudzidzisi anodzidzisa masvomhu pachikoro chedu.", "Baba vanoshanda mufekitari muHarare.",
        "Tinofamba nebhazi kana tichienda kubasa.", "Rwizi rwuzere nemvura munguva yezhizha.",
    ),
    "hi-Latn": (
        "Aapki madad ke liye bahut dhanyavaad.", "Bachche bahar khel rahe hain.",
        "Mujhe kal shahar jaana hai.", "Maa raat ka khana bana rahi hai.",
        "Aaj bahut tez baarish ho rahi hai.", "Mera kutta maans khana pasand karta hai.",
        "Hamare school mein sir ganit padhate hain.", "Pitaji karkhane mein kaam karte hain.",
        "Hum bus se daftar jaate hain.", "Nadi ka paani sardi mein thanda hota hai.",
        "Ye kitaab bahut achchhi hai.", "Tum kal kahan the?",
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit-lines", type=int, default=100)
    parser.add_argument("--lines", type=int, default=40)
    chosen = parser.parse_args()
    show_progress(False)
    model = langsteer.load_model(dtype="float32")
    fitted = read_ntrex(SHARED / "ntrex").checked(language=False)
    router = fit_router(model, fitted.texts, with_builtin=False, most=chosen.fit_lines)
    asked = {
        **WRITTEN,
        **{tag: premises(tag, chosen.lines) for tag in (*NOT_SHOWN, *SHOWN)},
    }
    read = {tag: states_of(model, texts, router.layer) for tag, texts in asked.items()}
    rows = [{"width": width, **steered(at(router, width), read)} for width in WIDTHS]
    for row in rows:
        print(json.dumps(row), flush=True)
    counts = {tag: len(texts) for tag, texts in asked.items()}
    report("unseen_short", {"fit_lines": chosen.fit_lines, "texts": counts, "rows": rows})


def premises(tag: str, most: int) -> list[str]:
    path = SHARED / "xcopa" / "data" / tag / f"val.{tag}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [str(rows[place]["premise"]) for place in spread(len(rows), most)]


def at(router: Router, width: float | None) -> Router:
    """The router with bounds so many times as wide; without any for None."""
    if width is None or router.bounds is None:
        return replace(router, bounds=None)
    return replace(router, bounds=replace(router.bounds, farthest=router.bounds.farthest * width))


def states_of(model: langsteer.Model, texts: Sequence[str], layer: int) -> tuple[Tensor, Tensor]:
    """Mean states [texts, hidden], and how many tokens they are of [texts]."""
    tokens = encode(model, texts)
    states = sentence_states(model, tokens, [layer])[:, 0].double()
    return states, torch.tensor([sum(text.source) for text in tokens])


def steered(router: Router, read: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """How many texts of each language are steered: of those shown, as their own language."""
    counts = {}
    for tag, (states, tokens) in read.items():
        told = [
            found.language
            for found in router.identify_states(states, tokens)
            if found.confidence >= CONFIDENT and found.language != router.pivot
        ]
        counts[tag] = sum(language == tag for language in told) if tag in SHOWN else len(told)
    return counts


if __name__ == "__main__":
    main()
