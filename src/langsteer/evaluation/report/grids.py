"""The tables of a comparison's report."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from langsteer.evaluation.comparison.cells import Cell, Results
from langsteer.evaluation.report.samples import DIRECT, ENGLISH, PIVOT
from langsteer.evaluation.report.table import Contrast, Entry, MethodPair, MethodRow, Table
from langsteer.evaluation.statistics import Interval
from langsteer.look.grid import NONE, Column, Grid, Line, Tone, Value
from langsteer.look.words import counted, p_value, probability, signed, written
from langsteer.text.languages import language_name

MOST_LISTED = 24
CHECKED = "engine.checked"  # counts of each language, which stand in the notes
_MARKS: Mapping[Tone, str] = {"": "", "better": "▲", "worse": "▼"}


def method_grid(table: Table, raw: Table | None = None) -> Grid:
    """A row a method: its mean over languages against `direct`, and what it cost."""
    columns = [
        Column("Method", numeric=False),
        Column("Mean", hint=f"{score_name(table)}, mean over languages, in per cent"),
        *([Column("Raw", hint="Accuracy without calibration, in per cent")] if raw else []),
        Column("Difference", hint="To direct on the same items: points, 95% bootstrap interval"),
        Column("p", hint=f"Permutation test by item, Holm over {table.family} methods"),
        Column("Gap closed", hint="Share of the gap to English won back, 95% interval"),
        Column("Tokens", hint="Tokens through the model, all languages"),
        Column("Time", hint="Answering, all languages"),
        Column("Peak memory", hint="The most in any language"),
        Column("Training", hint="Fitting or training, all languages"),
    ]
    return Grid(tuple(columns), tuple(_method_line(table, row, raw) for row in table.rows))


def language_grid(table: Table) -> Grid:
    """A row a method, a column a language: scores, marked where they differ from `direct`."""
    names = [Column(language_name(name), hint=name) for name in table.languages]
    columns = (Column("Method", numeric=False), *names, Column("Mean"))
    lines = [
        Line((Value(row.title), *map(_score, row.entries), _mean(table, row)), row.method)
        for row in table.rows
    ]
    return Grid(columns, tuple(lines))


def difference_grid(table: Table) -> Grid:
    """A row a method and language: the difference to `direct`, its test and the gap closed."""
    columns = (
        Column("Method", numeric=False),
        Column("Language", numeric=False),
        Column("Items", hint="Answered by both"),
        Column("Score"),
        Column("Difference"),
        Column("p", hint=f"{table.test}, not adjusted"),
        Column("p, Holm", hint=f"Adjusted over {table.language_family} comparisons"),
        Column("Gap closed"),
    )
    lines = []
    for row in table.rows:
        for name, entry in zip(table.languages, row.entries, strict=True):
            if entry is not None and entry.comparison is not None:
                contrast = entry.comparison
                values = (
                    Value(row.title),
                    Value(language_name(name)),
                    Value(f"{contrast.items:,}", contrast.items),
                    Value(f"{entry.score:.1f}", entry.score),
                    _difference(contrast),
                    _p(contrast.p),
                    _p(contrast.p_adjusted),
                    _gap(contrast),
                )
                lines.append(Line(values, row.method))
    return Grid(columns, tuple(lines))


def pair_grid(table: Table) -> Grid:
    """A row and a column a method: the mean of the row's less the column's, in points."""
    pairs = {(pair.method, pair.other): pair for pair in table.pairs}
    rows = [row for row in table.rows if any(row.method in key for key in pairs)]
    columns = (Column("Method", numeric=False), *(Column(row.title) for row in rows))
    lines = [
        Line((Value(row.title), *(_pair(pairs, row.method, c.method) for c in rows)), row.method)
        for row in rows
    ]
    return Grid(columns, tuple(lines))


def _pair(pairs: Mapping[tuple[str, str], MethodPair], method: str, other: str) -> Value:
    pair, sign = pairs.get((method, other)), 1
    if pair is None:
        pair, sign = pairs.get((other, method)), -1
    if pair is None:
        return Value(NONE)
    ends = sorted((sign * pair.difference.low, sign * pair.difference.high))
    difference = Interval(sign * pair.difference.value, *ends)
    tone: Tone = "" if not difference.excludes_zero else "better" if sum(ends) > 0 else "worse"
    hint = f"{counted(pair.languages, 'language')}, {pair.items:,} answers of both"
    return Value(gain(difference), difference.value, hint, tone)


def settings_grid(cells: Iterable[Cell]) -> Grid:
    """A row a method and group of languages that have the same settings."""
    groups: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        chosen = f"{len(cell.chosen_on):,} items" if cell.chosen_on else NONE
        key = (cell.model, cell.benchmark, cell.method, cell.form, cell.part)
        groups[*key, _plain(cell.settings), chosen].append(cell)
    lines = []
    for (model, benchmark, method, form, part, settings, chosen), alike in sorted(groups.items()):
        languages = ", ".join(sorted(cell.language for cell in alike))
        texts = (alike[0].method_title, benchmark, languages, form, part, settings, chosen, model)
        lines.append(Line(tuple(map(Value, texts)), method))
    names = ("Method", "Benchmark", "Languages", "Form", "Part", "Settings", "Chosen on", "Model")
    return Grid(tuple(Column(name, numeric=False) for name in names), tuple(lines))


def trouble_grid(results: Results) -> Grid:
    """A row a cell that failed, is missing, or cannot be read."""
    rows = [("failed", *failure.key, failure.error) for failure in results.failures]
    rows += [("missing", *key, "not run") for key in missing_cells(results)]
    rows += [("unreadable", "", "", "", "", damage.error) for damage in results.damaged]
    names = ("State", "Model", "Benchmark", "Language", "Method", "Why")
    lines = tuple(Line(tuple(map(Value, row)), row[4]) for row in rows)
    return Grid(tuple(Column(name, numeric=False) for name in names), lines)


def version_grid(cells: Iterable[Cell]) -> Grid:
    """A row a package, with every version that a cell was made with."""
    versions: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        for name, version in cell.versions.items():
            versions[name].add(version)
    lines = tuple(Line((Value(n), Value(", ".join(sorted(versions[n]))))) for n in sorted(versions))
    return Grid((Column("Package", numeric=False), Column("Version", numeric=False)), lines)


def missing_cells(results: Results) -> list[tuple[str, str, str, str]]:
    """Cells that would complete the matrix of a model's and benchmark's methods and languages."""
    known = {cell.key for cell in results.cells} | {failure.key for failure in results.failures}
    groups: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for model, benchmark, language, method in known:
        groups[model, benchmark].add((language, method))
    missing = []
    for (model, benchmark), pairs in sorted(groups.items()):
        languages = sorted({language for language, _ in pairs} - {PIVOT})
        for method in sorted({method for _, method in pairs}):
            if method == ENGLISH and (PIVOT, DIRECT) in pairs:
                continue
            missing += [
                (model, benchmark, language, method)
                for language in languages
                if (language, method) not in pairs
            ]
    return missing


def score_name(table: Table) -> str:
    """What the numbers of a table are."""
    if table.score == "value":
        return table.metric
    return "accuracy" if table.score == "raw" else "batch-calibrated accuracy"


def gain(interval: Interval) -> str:
    """+5.3 [4.1, 6.5]"""
    low, high = (written(end, ".1f") for end in (interval.low, interval.high))
    return f"{signed(interval.value, '.1f')} [{low}, {high}]"


def share(interval: Interval) -> str:
    """19% [15, 23]"""
    low, high = (written(100 * end, ".0f") for end in (interval.low, interval.high))
    return f"{written(100 * interval.value, '.0f')}% [{low}, {high}]"


def duration(seconds: float) -> str:
    """12 s, 3.4 min or 5.6 h"""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def amount(number: float, unit: str = "") -> str:
    """123 k, 1.2 M or 1.4 GB"""
    scaled, prefixes = float(number), iter(("", "k", "M", "G", "T"))
    prefix = next(prefixes)
    while scaled >= 999.5 and prefix != "T":
        scaled, prefix = scaled / 1000, next(prefixes)
    digits = 0 if prefix == "" or scaled >= 99.95 else 1
    return f"{scaled:.{digits}f} {prefix}{unit}".strip()


def _method_line(table: Table, row: MethodRow, raw: Table | None) -> Line:
    values = [Value(row.title), _mean(table, row)]
    if raw is not None:
        plain = raw.row(row.method)
        values.append(_score(None if plain is None else plain.mean, marked=False))
    contrast = row.comparison
    values += [
        _difference(contrast),
        _p(None if contrast is None else contrast.p_adjusted),
        _gap(contrast),
    ]
    cost = row.cost
    values += [
        _cost(cost.tokens, amount(cost.tokens)),
        _cost(cost.seconds, duration(cost.seconds)),
        _cost(cost.peak_bytes, amount(cost.peak_bytes, "B")),
        _cost(cost.training_seconds, duration(cost.training_seconds)),
    ]
    return Line(tuple(values), row.method)


def _mean(table: Table, row: MethodRow) -> Value:
    """The mean, with the number of languages where some are lacking."""
    every = len([name for name in table.languages if name != PIVOT])
    value = _score(row.mean)
    if row.mean is None or len(row.mean.languages) == every:
        return value
    some = f"{len(row.mean.languages)} of {every}"
    hint = f"mean of {some} languages; {value.hint}"
    return replace(value, text=f"{value.text} ({some})", hint=hint)


def _score(entry: Entry | None, marked: bool = True) -> Value:
    if entry is None:
        return Value(NONE, hint="no cell", mark="")
    text, contrast = f"{entry.score:.1f}", entry.comparison
    if contrast is None or not marked:
        return Value(text, entry.score, f"{entry.items:,} answers", mark="")
    tone = _tone(contrast)
    hint = f"{gain(contrast.difference)} to direct, {contrast.items:,} answers"
    if contrast.p_adjusted is not None:
        hint += f", p {p_value(contrast.p_adjusted)} after Holm"
    return Value(text, entry.score, hint, tone, _MARKS[tone])


def _tone(contrast: Contrast) -> Tone:
    if not contrast.significant:
        return ""
    return "better" if contrast.difference.value > 0 else "worse"


def _difference(contrast: Contrast | None) -> Value:
    if contrast is None:
        return Value(NONE)
    return Value(gain(contrast.difference), contrast.difference.value, tone=_tone(contrast))


def _p(p: float | None) -> Value:
    return Value(NONE) if p is None else Value(probability(p), p)


def _gap(contrast: Contrast | None) -> Value:
    if contrast is None or contrast.p is None:
        return Value(NONE)
    if contrast.gap_closed is None:
        return Value("no clear gap", hint="The interval of English less direct includes 0")
    return Value(share(contrast.gap_closed), contrast.gap_closed.value)


def _cost(number: float, text: str) -> Value:
    return Value(text, number) if number else Value(NONE, 0.0)


def _plain(settings: Mapping[str, Any]) -> str:
    parts = [f"{name} {_text(value)}" for name, value in sorted(_flat(settings).items())]
    return ", ".join(parts) or NONE


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings in settings as `outer.inner`; those that are not set are left out."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if f"{before}{name}" == CHECKED:
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        elif name == "fingerprint":
            flat[before + name] = str(value)[:12]
        elif value is not None:
            flat[before + name] = value
    return flat


def _text(value: Any) -> str:
    """As it stands in a table: the cell's file has all of a long list, and every digit."""
    if isinstance(value, list) and (
        len(value) > MOST_LISTED or any(isinstance(element, Mapping) for element in value)
    ):
        return f"({len(value):,})"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
