"""The formats that parallel text comes in. Each reader returns an unchecked `ParallelCorpus`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import regex

from langsteer.errors import CorpusError, MissingExtraError
from langsteer.progress import announce
from langsteer.storage.lines import json_lines
from langsteer.storage.parsed import parse_json
from langsteer.text.columns import file_tag, header_tags, missing, parallel, serving
from langsteer.text.corpus import BUILTIN, ParallelCorpus, builtin
from langsteer.text.files import kind_of, plain_name, read_lines, read_text
from langsteer.text.hub import load_rows
from langsteer.text.languages import parse_tag
from langsteer.text.table import table_rows
from langsteer.text.tmx import read_units

_FLORES_CODE = r"(?P<code>[a-z]{3}_[A-Z][a-z]{3}(?:_\w+)?)"
_FLORES_SPLITS = ("dev", "devtest")
_FLORES = regex.compile(
    rf"{_FLORES_CODE}\.(?P<split>dev|devtest)|(?P<split>dev|devtest)\.{_FLORES_CODE}"
)
_NTREX = regex.compile(r"newstest2019-(?P<split>src|ref)\.(?P<code>.+)\.txt")


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

    `builtin`; a text file with `pivot_file` beside it (Moses); a `.tsv`, `.jsonl`, `.json` or `.tmx`
    file; a folder of FLORES or NTREX files; or the id of a Hugging Face data set
    (`hf:owner/name`). Files may be compressed (`.gz`, `.bz2`, `.xz`, `.zst`). `split` is of FLORES
    (`dev` unless told otherwise) or of a data set (`train`); both are refused beside a source that
    has none. A tag with a territory in the file serves for one without (`en-US` for `en`). Raises
    CorpusError or LanguageError.
    """
    pivot = parse_tag(pivot)
    languages = [parse_tag(tag) for tag in languages]
    text, path = str(source), Path(source)
    _refuse_unread(text, pivot_file, split)
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
    elif kind_of(path) in (".tsv", ".tab"):
        corpus = read_tsv(path, languages, pivot=pivot)
    elif kind_of(path) in (".jsonl", ".ndjson", ".json"):
        corpus = read_jsonl(path, languages, pivot=pivot)
    elif kind_of(path) == ".tmx":
        corpus = read_tmx(path, languages, pivot=pivot)
    else:
        raise CorpusError(
            f"{path} is one file of text: give the file of its translations too "
            "(pivot_file=, --pivot-file), or a .tsv, .jsonl or .tmx"
        )
    return corpus.checked() if check else corpus


def _refuse_unread(source: str, pivot_file: str | Path | None, split: str | None) -> None:
    """Raise CorpusError for what says how another kind of source is read, and where none is named."""
    if not source.strip():
        raise CorpusError("no corpus is named: it is builtin, a file, a folder, or hf:owner/name")
    path = Path(source)
    named = source == BUILTIN or source.startswith("hf:")
    if pivot_file is not None and (named or path.is_dir()):
        raise CorpusError(
            f"{pivot_file} would not be read: a file of translations (pivot_file=, --pivot-file) goes "
            f"with a text file, and the corpus is {source} (--corpus)"
        )
    if split is None or source.startswith("hf:"):
        return
    if named or path.is_file() or (path.is_dir() and not _holds_flores(path)):
        raise CorpusError(
            f"the split {split!r} would not be read: a split (split=, --split) is of a hub data set or "
            f"of FLORES, and the corpus is {source} (--corpus)"
        )


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
    """A tab-separated file: with a header of language tags, or names of the languages asked for; or
    two columns, language then pivot.

    Cells may stand in double quotes, as spreadsheets write them, where all do that have to.
    """
    rows = table_rows(read_text(path))
    if not rows:
        raise CorpusError(f"{path} has no lines")
    header = rows[0]
    tags = header_tags(header, [*languages, pivot])
    if serving(parse_tag(pivot), tags):
        rows = rows[1:]
    elif len(languages) == 1 and len(header) == 2:
        header = [languages[0], pivot]
        tags = {cell: parse_tag(cell) for cell in header}
        announce(
            f"{Path(path).name}: it has no header, so its first column is read as {languages[0]} "
            f"and its second as {pivot}"
        )
    else:
        raise CorpusError(
            f"{path} needs a first line that names its columns by language tag, one of them {pivot}"
        )
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise CorpusError(
                f"{path}: row {number} has {len(row)} columns where there are {len(header)}"
            )
    if twice := [cell for cell, count in Counter(header).items() if count > 1 and cell in tags]:
        raise CorpusError(f"{path} has several columns called {twice[0]!r}: leave one")
    columns = [dict(zip(header, row, strict=True)) for row in rows]
    return parallel(columns, languages, pivot, Path(path).name, tags)


def read_jsonl(
    path: str | Path, languages: Sequence[str] = (), *, pivot: str = "en"
) -> ParallelCorpus:
    """JSON lines, or an array: objects that map language tags to text, at the top or under
    `translation`."""
    return _from_rows(_json_rows(path), languages, pivot, Path(path).name)


def read_tmx(
    path: str | Path, languages: Sequence[str] = (), *, pivot: str = "en"
) -> ParallelCorpus:
    """A Translation Memory eXchange file. Units that lack a wanted language are left out, as are
    native codes in the text.

    For a tag without a territory (`pt`), a unit that has several takes the usual one (`pt-BR`).
    """
    name = Path(path).name
    units = read_units(path)
    tags = {tag: tag for tag in dict.fromkeys(tag for unit in units for tag in unit)}
    pivot = parse_tag(pivot)
    of_pivot = serving(pivot, tags)
    wanted = [parse_tag(tag) for tag in languages] or [tag for tag in tags if tag not in of_pivot]
    columns = [serving(tag, tags) for tag in (*wanted, pivot)]
    if not all(columns):
        raise missing((*wanted, pivot)[columns.index([])], tags, path)
    whole = [unit for unit in units if all(any(c in unit for c in column) for column in columns)]
    if not whole:
        raise CorpusError(f"{path} has no unit with text in {' and '.join((*wanted, pivot))}")
    return parallel(whole, wanted, pivot, name, tags)


def read_flores(
    folder: str | Path,
    languages: Sequence[str] = (),
    *,
    pivot: str = "en",
    split: str | None = None,
) -> ParallelCorpus:
    """A FLORES-200 or FLORES+ folder as published: `<xxx_Xxxx>.<split>` or `<split>.<xxx_Xxxx>`
    files, in it or in `<split>/`. `split` None is `dev`, where there is one."""
    for name in (split,) if split else _FLORES_SPLITS:
        inner = Path(folder) / name
        files = _matching(inner if inner.is_dir() else Path(folder), _FLORES, name)
        if files:
            return _from_files(files, languages, pivot, f"flores-{name}", folder)
    raise CorpusError(f"{folder} has no FLORES files of the split {split or 'dev'}")


def read_ntrex(
    folder: str | Path, languages: Sequence[str] = (), *, pivot: str = "en"
) -> ParallelCorpus:
    """An NTREX folder as published: `newstest2019-{src,ref}.<code>.txt` files."""
    return _from_files(_matching(Path(folder), _NTREX), languages, pivot, "ntrex", folder)


def read_hub(
    name: str, languages: Sequence[str], *, pivot: str = "en", split: str = "train"
) -> ParallelCorpus:
    """A Hugging Face data set with a column a language (`sw`, `sentence_swh_Latn`), or a
    `translation` column.

    `name` may carry a configuration: `Helsinki-NLP/opus-100/en-sw`.
    """
    return _from_rows(hub_rows(name, split), languages, pivot, name)


def hub_rows(name: str, split: str = "train") -> Iterable[dict[str, Any]]:
    """The rows of a Hugging Face data set, or of a folder of files like one.

    `name` may carry a configuration: `owner/name/configuration`. Raises CorpusError.
    """
    if not name:
        raise CorpusError("no data set is named: write hf:owner/name")
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
        raise CorpusError(f"cannot read the data set {name} (split {split}): {error}") from error


def _read_folder(
    path: Path, languages: Sequence[str], pivot: str, split: str | None
) -> ParallelCorpus:
    if _matching(path, _NTREX):
        return read_ntrex(path, languages, pivot=pivot)
    if _holds_flores(path):
        return read_flores(path, languages, pivot=pivot, split=split)
    raise CorpusError(
        f"{path} holds neither FLORES files (swh_Latn.dev, dev.swh_Latn) nor NTREX files "
        "(newstest2019-ref.swa.txt)"
    )


def _holds_flores(path: Path) -> bool:
    folders = (path, *(path / split for split in _FLORES_SPLITS))
    return not _matching(path, _NTREX) and any(_matching(folder, _FLORES) for folder in folders)


def _matching(
    folder: Path, pattern: regex.Pattern[str], split: str | None = None
) -> dict[str, Path]:
    """The files of a folder by the tag in their names, of a language's variants the shortest name;
    with `split`, those of that one."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = pattern.fullmatch(plain_name(path))
        if match is None or split not in (None, match["split"]):
            continue
        if tag := file_tag(match["code"]):
            files.setdefault(tag, path)
    return files


def _from_files(
    files: Mapping[str, Path],
    languages: Sequence[str],
    pivot: str,
    name: str,
    folder: str | Path,
) -> ParallelCorpus:
    tags = {tag: tag for tag in files}
    pivot = parse_tag(pivot)
    of_pivot = serving(pivot, tags)
    wanted = [parse_tag(tag) for tag in languages] or [t for t in files if t not in of_pivot]
    texts: dict[str, tuple[str, ...]] = {}
    for tag in (*wanted, pivot):
        names = serving(tag, tags)
        if not names:
            raise missing(tag, tags, folder)
        texts[tag] = read_lines(files[names[0]])
    return ParallelCorpus(texts, pivot, name)


def _from_rows(
    rows: Iterable[Mapping[str, Any]], languages: Sequence[str], pivot: str, name: str
) -> ParallelCorpus:
    texts = [
        row["translation"] if isinstance(row.get("translation"), Mapping) else row for row in rows
    ]
    if not texts:
        raise CorpusError(f"{name} has no rows with texts under language tags")
    return parallel(texts, languages, pivot, name)


def _json_rows(path: str | Path) -> list[Mapping[str, Any]]:
    """The objects of JSON lines, of an array, or of the one array in an object."""
    text = read_text(path)
    lines = list(json_lines(text))
    values = [(f"line {line.number}", line.value) for line in lines]
    whole = next((line for line in lines if line.error or isinstance(line.value, list)), None)
    if len(lines) == 1 and _holds_rows(lines[0].value):
        whole = lines[0]
    if whole is not None:
        array = _json_array(text)
        if array is None:
            raise CorpusError(f"{path}, line {whole.number}: not JSON ({whole.error})")
        values = [(f"row {number}", value) for number, value in enumerate(array, 1)]
    for place, value in values:
        if not isinstance(value, dict):
            raise CorpusError(f"{path}, {place}: not an object of language tags and texts")
    return [value for _, value in values]


def _holds_rows(value: Any) -> bool:
    """Whether a value is an object with one array, of objects."""
    arrays = [v for v in value.values() if isinstance(v, list)] if isinstance(value, dict) else []
    return len(arrays) == 1 and all(isinstance(row, dict) for row in arrays[0])


def _json_array(text: str) -> list[Any] | None:
    try:
        whole = parse_json(text)
    except ValueError:
        return None
    if isinstance(whole, dict):
        arrays = [value for value in whole.values() if isinstance(value, list)]
        whole = arrays[0] if len(arrays) == 1 else None
    return whole if isinstance(whole, list) else None


def _one(languages: Sequence[str], path: Path) -> str:
    if len(languages) != 1:
        raise CorpusError(f"name the one language of {path} (--language)")
    return languages[0]
