"""Small data sets in the exact formats that their authors publish, in invented text."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

XNLI_HEADER = [
    "language",
    "gold_label",
    "sentence1_binary_parse",
    "sentence2_binary_parse",
    "sentence1_parse",
    "sentence2_parse",
    "sentence1",
    "sentence2",
    "promptID",
    "pairID",
    "genre",
    "label1",
    "label2",
    "label3",
    "label4",
    "label5",
    "sentence1_tokenized",
    "sentence2_tokenized",
    "match",
]
LABELS = ("entailment", "neutral", "contradiction")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def tsv(rows: Sequence[Sequence[object]]) -> str:
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def json_lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def xnli(root: Path) -> None:
    rows: list[list[str]] = [XNLI_HEADER]
    texts = {"en": ('He said "go".', "He spoke."), "sw": ('Alisema "nenda".', "Aliongea.")}
    for language, (premise, hypothesis) in texts.items():
        for i, label in enumerate(LABELS, 1):
            row = dict.fromkeys(XNLI_HEADER, "-") | {
                "language": language,
                "gold_label": label,
                "sentence1": premise,
                "sentence2": f"{hypothesis[:-1]} {i}.",
                "pairID": str(i),
            }
            rows.append([row[name] for name in XNLI_HEADER])
    write(root / "XNLI-1.0" / "xnli.dev.tsv", tsv(rows))
    write(root / "XNLI-1.0" / "xnli.test.tsv", tsv(rows))


def pawsx(root: Path) -> None:
    for code, pair in {
        "en": ("In Paris , he met Ann .", "Ann met him in Paris ."),
        "de": ("In Paris traf er Ann .", "Ann traf ihn in Paris ."),
    }.items():
        rows = [("id", "sentence1", "sentence2", "label"), (1, *pair, 1), (2, *pair[::-1], 0)]
        if code == "de":
            rows.append((3, "NS", "NS", 0))
        for name in ("dev_2k", "test_2k", "train" if code == "en" else "translated_train"):
            write(root / "x-final" / code / f"{name}.tsv", tsv(rows))


def xstorycloze(root: Path) -> None:
    header = [
        "InputStoryid",
        *(f"InputSentence{i}" for i in (1, 2, 3, 4)),
        "RandomFifthSentenceQuiz1",
        "RandomFifthSentenceQuiz2",
        "AnswerRightEnding",
    ]
    lower = [
        "story_id",
        *(f"input_sentence_{i}" for i in (1, 2, 3, 4)),
        "sentence_quiz1",
        "sentence_quiz2",
        "answer_right_ending",
    ]
    english = ["Ann woke.", "She ate.", "She ran.", '"Run!" she said.', "She rested.", "She flew."]
    swahili = ["Ana aliamka.", "Alikula.", "Alikimbia.", "Alisema.", "Alipumzika.", "Aliruka."]
    for code, names, texts in (("en", header, english), ("sw", lower, swahili)):
        for split in ("train", "eval"):
            rows = [names, [f"{split}-a", *texts, "1"], [f"{split}-b", *texts, "2"]]
            write(root / f"spring2016.val.{code}.tsv.split_20_80_{split}.tsv", tsv(rows))


def belebele(root: Path) -> None:
    for code, passage in {"eng_Latn": "The cat sat.", "swh_Latn": "Paka alikaa."}.items():
        rows = [
            {
                "link": "https://en.wikinews.org/wiki/Cat",
                "question_number": i,
                "flores_passage": passage,
                "question": f"{passage[:4]}? ",
                **{f"mc_answer{k}": f"{passage[:-1]} {k}" for k in (1, 2, 3, 4)},
                "correct_answer_num": str(i),
                "dialect": code,
                "ds": "2023-05-03",
            }
            for i in (1, 2)
        ]
        write(root / "belebele" / f"{code}.jsonl", json_lines(rows))


def global_mmlu(root: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    for code, word in {"en": "one", "sw": "moja", "de": "eins"}.items():
        for split in ("dev", "test"):
            rows = [
                {
                    "sample_id": f"anatomy/{split}/{i}",
                    "subject": "anatomy",
                    "subject_category": "STEM",
                    "question": f"{word}, {i}? ",
                    **{f"option_{k}": f"{word} {k}" for k in "abcd"},
                    "answer": "AC"[i],
                    "required_knowledge": "[]",
                }
                for i in (0, 1)
            ]
            folder = root / "global_mmlu" / code
            folder.mkdir(parents=True, exist_ok=True)
            if code == "de":
                with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, list(rows[0]))
                    writer.writeheader()
                    writer.writerows(rows)
            else:
                table = pyarrow.Table.from_pylist(rows)
                pyarrow.parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")


def mgsm(root: Path) -> None:
    write(
        root / "mgsm" / "mgsm_en.tsv", tsv([("Ann has 2 cats. How many?", 2), ("1+1000?", "1,001")])
    )
    write(
        root / "mgsm" / "mgsm_sw.tsv", tsv([("Ana ana paka 2. Wangapi?", 2), ("1+1000?", "1,001")])
    )
    shown = {
        code: {
            str(i): {"q": f"{label}: 1 + {i}?", "a": f"{step}: 1 + {i} = {i + 1}."}
            for i in range(1, 9)
        }
        for code, label, step in (
            ("en", "Question", "Step-by-Step Answer"),
            ("sw", "Swali", "Jibu la Hatua kwa Hatua"),
        )
    }
    text = f"EXEMPLAR_NUMBER_ANSWERS = {list(range(2, 10))}\n\nMGSM_EXEMPLARS = {shown!r}\n"
    write(root / "mgsm" / "exemplars.py", f'"""Prompts for mgsm."""\n{text}')


def xquad(root: Path) -> None:
    for code, texts in {
        "en": ("Ann lives in Rome.", "Where does Ann live?", "Rome"),
        "tr": ("Ann Roma'da yaşıyor.", "Ann nerede yaşıyor?", "Roma"),
    }.items():
        context, question, answer = texts
        asked = {
            "id": "56beb4343aeaaa14008c925b",
            "question": question,
            "answers": [{"text": answer, "answer_start": context.index(answer)}],
        }
        content = {
            "version": "1.1",
            "data": [{"title": "Rome", "paragraphs": [{"context": context, "qas": [asked]}]}],
        }
        write(root / f"xquad.{code}.json", json.dumps(content, ensure_ascii=False))


def flores(root: Path) -> None:
    for code, text in {"eng_Latn": "A cat {i}.", "swh_Latn": "Paka {i}."}.items():
        for split in ("dev", "devtest"):
            lines = "".join(text.format(i=i) + "\n" for i in range(3))
            write(root / "flores200" / split / f"{code}.{split}", lines)


def xlsum(root: Path) -> None:
    for name, text in {"swahili": "Rais alisema", "spanish": "El  presidente dijo"}.items():
        for split in ("train", "val", "test"):
            row = {
                "id": f"{name}-{split}",
                "url": "https://www.bbc.com/x",
                "title": text,
                "summary": f"{text}.",
                "text": f"{text} {text}.",
            }
            write(root / f"{name}_{split}.jsonl", json_lines([row]))


def language_confusion(root: Path) -> None:
    def sheet(path: Path, rows: list[list[str]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    sets = root / "test_sets"
    sheet(
        sets / "monolingual" / "okapi" / "id.csv",
        [
            ["prompt", "source", "language"],
            ["Tulis esai.\n", "okapi", "id"],
            ['Tulis "cerita".', "okapi", "id"],
        ],
    )
    sheet(
        sets / "monolingual" / "aya" / "en.csv",
        [["prompt", "source", "language"], ["Why is the sky blue?", "aya", "en"]],
    )
    sheet(
        sets / "crosslingual" / "okapi" / "tr.csv",
        [
            ["prompt", "location", "phrasing", "language", "source"],
            ["Reply in Turkish. Write an essay.", "Start", "reply in {x}", "tr", "okapi"],
        ],
    )


WRITERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "xnli": (xnli, ("sw", "en")),
    "pawsx": (pawsx, ("de", "en")),
    "xstorycloze": (xstorycloze, ("sw", "en")),
    "belebele": (belebele, ("sw", "en")),
    "global_mmlu": (global_mmlu, ("sw", "de", "en")),
    "mgsm": (mgsm, ("sw", "en")),
    "xquad": (xquad, ("tr", "en")),
    "flores_to_english": (flores, ("sw",)),
    "flores_from_english": (flores, ("sw",)),
    "xlsum": (xlsum, ("sw", "es")),
    "language_confusion": (language_confusion, ("id",)),
    "language_confusion_crosslingual": (language_confusion, ("tr",)),
    "language_confusion_flores": (flores, ("sw", "en")),
    "language_forcing": (language_confusion, ("sw",)),
}
