"""The formats that parallel text comes in. Each reader returns an unchecked `ParallelCorpus`."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from langsteer.errors import CorpusError, LanguageError, MissingExtraError
from langsteer.storage.parsed import parse_json
from langsteer.text.corpus import BUILTIN, ParallelCorpus, builtin
from langsteer.text.hub import load_rows
from langsteer.text.languages import parse_tag

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_FLORES = re.compile(r"^([a-z]{3}_[A-Z][a-z]{3}(?:_\w+)?)\.(dev|devtest)$")
_NTREX = re.compile(r"^newstest2019-(src|ref)\.(.+)\.txt$")


def read_corpus(
    source: str | Path,
    languages: Sequence[str] = (),
    *,
    pivot: str = "en",
    pivot_file: str | Path | None = None,
    split: str | None = None,
    check: bool = True,
) -> ParallelCorpus:
    """Read parallel text from whatever `source` is, and check it.

    `builtin`; a text file with `pivot_file` beside it (Moses); a `.tsv`, `.jsonl` or `.tmx` file; a
    folder of FLORES or NTREX files; or the id of a Hugging Face data set (`hf:owner/name`).
    Raises CorpusError or LanguageError.
    """
    pivot = parse_tag(pivot)
    languages = [parse_tag(tag) for tag in languages]
    text, path = str(source), Path(source)
    if text == BUILTIN:
        return builtin(*languages, pivot=pivot)
    if text.startswith("hf:"):
        corpus = read_hub(text[3:], languages, pivot=pivot, split=split or "train")
    elif path.is_dir():
        corpus = _read_folder(path, languages, pivot, split)
    elif not path.is_file():
        raise CorpusError(f"there is no file or folder {path}")
    elif pivot_file is not None:
        corpus = read_moses(path, pivot_file, _one(languages, path), pivot=pivot)
    elif path.suffix in (".tsv", ".tab"):
        corpus = read_tsv(path, languages, pivot=pivot)
    elif path.suffix in (".jsonl", ".ndjson", ".json"):
        corpus = read_jsonl(path, languages, pivot=pivot)
    elif path.suffix == ".tmx":
        corpus = read_tmx(path, languages, pivot=pivot)
    else:
        raise CorpusError(
            f"{path} is one file of text: give the file of its translations too "
            "(pivot_file=, --pivot-file), or a .tsv, .jsonl or .tmx"
        )
    return corpus.checked() if check else corpus


def read_moses(
    path: str | Path, pivot_path: str | Path, language: str, *, pivot: str = "en"
) -> ParallelCorpus:
    """Two text files; line i of one translates line i of the other."""
    texts = {parse_tag(language): read_lines(path), parse_tag(pivot): read_lines(pivot_path)}
    counts = [len(lines) for lines in texts.values()]
    if counts[0] != counts[1]:
        raise CorpusError(
            f"{path} has {counts[0]} lines and {pivot_path} has {counts[1]}: "
            "line i of one must translate line i of the other"
        )
    return ParallelCorpus(texts, parse_tag(pivot), Path(path).name)


def read_tsv(
    path: str | Path, languages: Sequence[str] = (), *, pivot: str = "en"
) -> ParallelCorpus:
    """A tab-separated file: with a header of language tags, or two columns, language then pivot."""
    rows = [line.split("\t") for line in read_lines(path) if line]
    header = [_tag_or_none(cell) for cell in rows[0]]
    if parse_tag(pivot) in header:
        rows = rows[1:]
    elif len(languages) == 1 and len(header) == 2:
        header = [parse_tag(languages[0]), parse_tag(pivot)]
    else:
        raise CorpusError(
            f"{path} needs a first line that names its columns by language tag, one of them {pivot}"
        )
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise CorpusError(
                f"{path}: row {number} has {len(row)} columns where there are {len(header)}"
            )
    columns = {tag: tuple(row[i] for row in rows) for i, tag in enumerate(header) if tag}
    return _chosen(columns, languages, pivot, Path(path).name)


def read_jsonl(
    path: str | Path, languages: Sequence[str] = (), *, pivot: str = "en"
) -> ParallelCorpus:
    """JSON lines: objects that map language tags to text, at the top or under `translation`."""
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except json.JSONDecodeError as error:
            raise CorpusError(f"{path}, line {number}: not JSON ({error.msg})") from error
        if not isinstance(row, dict):
            raise CorpusError(f"{path}, line {number}: not an object of language tags and texts")
        rows.append(row)
    return _from_rows(rows, languages, pivot, Path(path).name)


def read_tmx(
    path: str | Path, languages: Sequence[str] = (), *, pivot: str = "en"
) -> ParallelCorpus:
    """A Translation Memory eXchange file. Units that lack a wanted language are left out."""
    rows: list[dict[str, str]] = []
    try:
        for _, unit in ElementTree.iterparse(path, events=("end",)):
            if unit.tag != "tu":
                continue
            row: dict[str, str] = {}
            for variant in unit.iter("tuv"):
                tag = _tag_or_none(variant.get(_XML_LANG) or variant.get("lang") or "")
                segment = variant.find("seg")
                if tag and segment is not None:
                    row.setdefault(tag, " ".join("".join(segment.itertext()).split()))
                    row.setdefault(tag.partition("-")[0], row[tag])
            rows.append(row)
            unit.clear()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} is not a whole TMX file: {error}") from error
    wanted = [*map(parse_tag, languages), parse_tag(pivot)]
    rows = [row for row in rows if all(tag in row for tag in wanted)]
    if not rows:
        raise CorpusError(f"{path} has no unit with text in {' and '.join(wanted)}")
    return _from_rows(rows, languages, pivot, Path(path).name)


def read_flores(
    folder: str | Path, languages: Sequence[str] = (), *, pivot: str = "en", split: str = "dev"
) -> ParallelCorpus:
    """A FLORES folder as published: `<xxx_Xxxx>.<split>` files, in it or in `<split>/`."""
    inner = Path(folder) / split
    files = _matching(inner if inner.is_dir() else Path(folder), _FLORES, 1)
    return _from_files(files, languages, pivot, f"flores-{split}", folder)


def read_ntrex(
    folder: str | Path, languages: Sequence[str] = (), *, pivot: str = "en"
) -> ParallelCorpus:
    """An NTREX folder as published: `newstest2019-{src,ref}.<code>.txt` files."""
    files = _matching(Path(folder), _NTREX, 2)
    return _from_files(files, languages, pivot, "ntrex", folder)


def read_hub(
    name: str, languages: Sequence[str], *, pivot: str = "en", split: str = "train"
) -> ParallelCorpus:
    """A Hugging Face data set with a column a language, or a `translation` column.

    `name` may carry a configuration: `Helsinki-NLP/opus-100/en-sw`.
    """
    return _from_rows(hub_rows(name, split), languages, pivot, name)


def hub_rows(name: str, split: str = "train") -> Iterable[dict[str, Any]]:
    """The rows of a Hugging Face data set, or of a folder of files like one.

    `name` may carry a configuration: `owner/name/configuration`. Raises CorpusError.
    """
    if name.startswith(("/", ".", "~")) and not Path(name).exists():
        raise CorpusError(f"cannot read the data set {name} ({split}): there is no such folder")
    owner, _, rest = name.partition("/")
    repository, _, configuration = rest.partition("/")
    path = name if Path(name).exists() else f"{owner}/{repository}"
    if path == name:
        configuration = ""
    feature = "reading a Hugging Face data set"
    try:
        return load_rows(path, configuration or None, split, extra="hub", feature=feature)
    except MissingExtraError:
        raise
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        raise CorpusError(f"cannot read the data set {name} ({split}): {error}") from error


def _read_folder(
    path: Path, languages: Sequence[str], pivot: str, split: str | None
) -> ParallelCorpus:
    if _matching(path, _NTREX, 2):
        return read_ntrex(path, languages, pivot=pivot)
    if _matching(path, _FLORES, 1) or _matching(path / (split or "dev"), _FLORES, 1):
        return read_flores(path, languages, pivot=pivot, split=split or "dev")
    raise CorpusError(
        f"{path} holds neither FLORES files (swh_Latn.dev) nor NTREX files "
        "(newstest2019-ref.swa.txt)"
    )


def _matching(folder: Path, pattern: re.Pattern[str], group: int) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = pattern.match(path.name)
        tag = _tag_or_none(match.group(group)) if match else None
        if tag:
            found[tag] = path
    return found


def _from_files(
    files: Mapping[str, Path],
    languages: Sequence[str],
    pivot: str,
    name: str,
    folder: str | Path,
) -> ParallelCorpus:
    wanted = [parse_tag(tag) for tag in languages] or [t for t in files if t != parse_tag(pivot)]
    for tag in (*wanted, parse_tag(pivot)):
        if tag not in files:
            raise CorpusError(f"{folder} has no text in {tag}; it has {', '.join(files) or 'none'}")
    texts = {tag: read_lines(files[tag]) for tag in (*wanted, parse_tag(pivot))}
    return ParallelCorpus(texts, parse_tag(pivot), name)


def _from_rows(
    rows: Iterable[Mapping[str, Any]], languages: Sequence[str], pivot: str, name: str
) -> ParallelCorpus:
    columns: dict[str, list[str]] = {}
    tags: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        texts = row["translation"] if isinstance(row.get("translation"), Mapping) else row
        if number == 1:
            tags = {k: tag for k in texts if (tag := _tag_or_none(k)) and isinstance(texts[k], str)}
            columns = {tag: [] for tag in tags.values()}
        for key, tag in tags.items():
            if not isinstance(texts.get(key), str):
                raise CorpusError(f"{name}, row {number}: no text under {key!r}")
            columns[tag].append(texts[key])
    if not columns:
        raise CorpusError(f"{name} has no rows with texts under language tags")
    return _chosen({k: tuple(v) for k, v in columns.items()}, languages, pivot, name)


def _chosen(
    columns: Mapping[str, tuple[str, ...]], languages: Sequence[str], pivot: str, name: str
) -> ParallelCorpus:
    pivot = parse_tag(pivot)
    wanted = [parse_tag(tag) for tag in languages] or [tag for tag in columns if tag != pivot]
    for tag in (*wanted, pivot):
        if tag not in columns:
            raise CorpusError(f"{name} has no column {tag!r}; it has {', '.join(columns)}")
    return ParallelCorpus({tag: columns[tag] for tag in (*wanted, pivot)}, pivot, name)


def read_lines(path: str | Path) -> tuple[str, ...]:
    """The lines of a UTF-8 file. Raises CorpusError where it is missing, empty or not UTF-8."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error
    if not data.strip():
        raise CorpusError(f"{path} is empty")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise CorpusError(f"{path} is not UTF-8: line {line} has an invalid byte") from error
    # Only \n ends a line here: str.splitlines would also split at characters inside sentences.
    return tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))


def _one(languages: Sequence[str], path: Path) -> str:
    if len(languages) != 1:
        raise CorpusError(f"name the one language of {path} (--language)")
    return languages[0]


def _tag_or_none(code: str) -> str | None:
    try:
        return parse_tag(code)
    except LanguageError:
        return None
