import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langsteer.errors import CorpusError, LanguageError
from langsteer.text.corpus import ParallelCorpus, builtin
from langsteer.text.languages import script_share
from langsteer.text.readers import read_corpus, read_flores, read_ntrex

PAIRS = [("Habari ya asubuhi", "Good morning"), ("Asante sana", "Thank you"), ("Ndiyo", "Yes")]


def corpus(pairs: list[tuple[str, str]]) -> ParallelCorpus:
    return ParallelCorpus(
        {"sw": tuple(a for a, _ in pairs), "en": tuple(b for _, b in pairs)}, "en", "test"
    )


def test_checking_counts_what_it_drops() -> None:
    found = corpus(
        [*PAIRS, PAIRS[0], ("", "Empty"), ("Hello", "hello "), ("Привет", "Hi"), ("Hapana", "No")]
    ).checked()
    assert found.texts["en"] == ("Good morning", "Thank you", "Yes", "No")
    assert found.dropped == {
        "duplicate": 1, "empty": 1, "identical to the pivot": 1, "wrong script": 1,
    }  # fmt: skip


def test_swapped_files_are_named() -> None:
    swapped = ParallelCorpus({"hi": ("Hello", "Bye"), "en": ("नमस्ते", "अलविदा")}, "en", "x")
    with pytest.raises(CorpusError, match=r"2 of 2 lines given as Hindi \(hi\).*swapped"):
        swapped.checked()


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("ijklmnop")), min_size=1),
    st.integers(0, 3),
)
def test_no_sentence_is_in_two_parts(pairs: list[tuple[str, str]], seed: int) -> None:
    text = corpus(pairs)
    try:
        parts = text.split(seed=seed)
    except CorpusError as error:
        message = str(error)
        assert "too small to split" in message
        return
    assert sum(len(part) for part in parts.values()) == len(text)
    for tag in ("sw", "en"):
        sets = [set(part.texts[tag]) for part in parts.values()]
        assert sum(map(len, sets)) == len(set().union(*sets))
    assert {k: v.texts for k, v in text.split(seed=seed).items()} == {
        k: v.texts for k, v in parts.items()
    }


def test_too_small_to_split() -> None:
    with pytest.raises(CorpusError, match="too small to split: 3 lines"):
        corpus(PAIRS).split()


def test_every_format_gives_the_same_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.sw").write_text("\n".join(a for a, _ in PAIRS) + "\n")
    (tmp_path / "a.en").write_text("\r\n".join(b for _, b in PAIRS))
    (tmp_path / "a.tsv").write_text("sw\ten\n" + "\n".join("\t".join(p) for p in PAIRS))
    (tmp_path / "bare.tsv").write_text("\n".join("\t".join(p) for p in PAIRS))
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"translation": {"swh_Latn": a, "en": b}}) for a, b in PAIRS)
    )
    units = "".join(
        f'<tu><tuv xml:lang="en-US"><seg>{b}</seg></tuv><tuv xml:lang="sw"><seg>{a}</seg></tuv></tu>'
        for a, b in PAIRS
    )
    (tmp_path / "a.tmx").write_text(f'<tmx version="1.4"><body>{units}</body></tmx>')
    expected = corpus(PAIRS).fingerprint
    assert (
        read_corpus(tmp_path / "a.sw", ["sw"], pivot_file=tmp_path / "a.en").fingerprint == expected
    )
    for name in ("a.tsv", "bare.tsv", "a.jsonl", "a.tmx"):
        assert read_corpus(tmp_path / name, ["sw"]).fingerprint == expected


def test_a_hub_data_set(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"translation": {"sw": a, "en": b}} for a, b in PAIRS]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "train.parquet")
    found = read_corpus(f"hf:{tmp_path}", ["sw"])
    assert found.fingerprint == corpus(PAIRS).fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\ntwo\n", "has 2 lines and .* has 3"),
        (b"", "is empty"),
        (b"one\ntwo\nth\xffree\n", "not UTF-8: line 3"),
    ],
)
def test_bad_text_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.sw").write_bytes(content)
    (tmp_path / "a.en").write_text("one\ntwo\nthree\n")
    with pytest.raises(CorpusError, match=message):
        read_corpus(tmp_path / "a.sw", ["sw"], pivot_file=tmp_path / "a.en")


def test_other_bad_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"sw": "a", "en": "b"}\n{"sw": ')
    with pytest.raises(CorpusError, match="line 2: not JSON"):
        read_corpus(tmp_path / "a.jsonl", ["sw"])
    (tmp_path / "a.tmx").write_text("<tmx><body><tu>")
    with pytest.raises(CorpusError, match="not a whole TMX file"):
        read_corpus(tmp_path / "a.tmx", ["sw"])
    (tmp_path / "a.tsv").write_text("sw\ten\nx\ty\nonly\n")
    with pytest.raises(CorpusError, match="row 2 has 1 columns"):
        read_corpus(tmp_path / "a.tsv", ["sw"])
    with pytest.raises(CorpusError, match="no file or folder"):
        read_corpus(tmp_path / "none", ["sw"])
    with pytest.raises(LanguageError):
        read_corpus(tmp_path / "a.tsv", ["qx"])


def test_published_folders(shared: Path) -> None:
    flores = read_flores(shared / "flores200", ["sw", "zh-Hans", "ar"])
    assert len(flores) == 997
    ntrex = read_ntrex(shared / "ntrex", ["sw", "zh-Hans"])
    assert len(ntrex) == 1997
    assert len(ntrex.checked()) > 1950
    with pytest.raises(CorpusError, match="has no text in fi"):
        read_ntrex(shared / "ntrex", ["fi"])


def test_the_built_in_corpus() -> None:
    text = builtin()
    parts = text.split()
    assert {k: len(v) for k, v in parts.items()} == {"fit": 168, "choose": 49, "report": 203}
    for part in parts.values():
        counts = {topic: part.topics.count(topic) for topic in set(part.topics)}
        assert len(counts) == 7
        assert len(set(counts.values())) == 1
    assert len(text.lines(range(0, 420, 3)).checked()) == 140
    for tag, lines in text.texts.items():
        assert len(set(lines)) == 420
        assert all(script_share(line, tag) > 0.5 for line in lines)
    with pytest.raises(CorpusError, match="has no 'fi'; it has ar, "):
        builtin("fi")


@pytest.mark.parametrize(
    ("tag", "near"), [("pt-BR", "pt"), ("zh-Hant", "zh-Hans"), ("ru-Latn", "ru")]
)
def test_a_language_that_the_built_in_corpus_has_otherwise_is_named(tag: str, near: str) -> None:
    with pytest.raises(CorpusError, match=f"has no '{tag}': use {near}; it has "):
        builtin(tag)


@given(st.integers(4, 30), st.integers(1, 5), st.integers(1, 200), st.integers(0, 3))
def test_languages_are_mixed_evenly(lines: int, languages: int, most: int, seed: int) -> None:
    tags = ["sw", "et", "tr", "el", "hi"][:languages]
    texts = {tag: tuple(f"{tag} {i}" for i in range(lines)) for tag in ("en", *tags)}
    corpus = ParallelCorpus(texts, "en", "test")
    found = corpus.mixed(most, seed)
    pairs = list(zip(found.texts["mul"], found.texts["en"], strict=True))
    assert len(pairs) == len(set(pairs)) == min(most, lines * languages)
    counts = Counter(line.split()[0] for line, _ in pairs)
    shares = [counts[tag] for tag in tags]
    assert max(shares) - min(shares) <= 1
    assert all(mine.split()[1] == theirs.split()[1] for mine, theirs in pairs)
    assert found.texts == corpus.mixed(most, seed).texts


@pytest.mark.parametrize("count", [None, 2, 7, 420, 1000])
def test_some_lines_are_evenly_spread(count: int | None) -> None:
    text = builtin("sw")
    part = text.some(count)
    wanted = min(count or 420, 420)
    assert len(part) == wanted
    places = [text.texts["sw"].index(line) for line in part.texts["sw"]]
    assert places == sorted(places)
    assert max((b - a for a, b in pairwise(places)), default=1) <= -(-420 // wanted)
