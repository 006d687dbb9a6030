"""What the numbers of a table say, in sentences that are true of them."""

from collections.abc import Sequence

from langsteer.evaluation.report.grids import gain, score_name, share
from langsteer.evaluation.report.samples import DIRECT, ENGLISH, PIVOT
from langsteer.evaluation.report.table import Entry, MethodRow, Table
from langsteer.look.words import counted, listed, p_value
from langsteer.text.languages import language_name

ROUNDING = 0.11  # points that two levels of one decimal and their difference may be apart


def summarise(table: Table, title: str) -> tuple[str, ...]:
    """Levels first, then what is gained, lost and neither."""
    direct, english = table.row(DIRECT), table.row(ENGLISH)
    rows = [row for row in table.rows if row.method != ENGLISH and row.comparison]
    if direct is None or direct.mean is None:
        return (f"{title} has no cells of 'direct', so no method is compared.",)
    sentences = [_levels(table, direct.mean, english)]
    if not rows:
        return (*sentences, "No other method has been run.")
    better, worse, neither = _sorted_by_effect(rows)
    if better:
        sentences.append(_best(table, better[0]))
    if len(better) > 1:
        names = listed([f"{row.title} ({_change(row)})" for row in better[1:]])
        sentences.append(f"Also significantly better than direct: {names}.")
    if worse:
        names = listed([f"{row.title} ({_change(row)})" for row in worse])
        sentences.append(f"Significantly worse than direct: {names}.")
    if neither and (better or worse):
        names = listed([row.title for row in neither])
        sentences.append(f"Not significantly different from direct: {names}.")
    elif neither:
        best = max(rows, key=lambda row: row.contrast.difference.value)
        some = "The one method" if len(rows) == 1 else f"None of the {len(rows)} methods"
        verb = "does not differ" if len(rows) == 1 else "differs"
        sentences.append(
            f"{some} {verb} significantly from direct on average over the languages; the largest "
            f"difference is that of {best.title}, {_change(best)} points{_where(table, best)}."
        )
    return tuple(sentences)


def _levels(table: Table, direct: Entry, english: MethodRow | None) -> str:
    languages = len(direct.languages)
    score = score_name(table)
    start = (
        f"{counted(languages, 'language')}, {direct.items:,} answers a method: without help (direct) the mean "
        f"{score} is {direct.score:.1f}%"
    )
    if english is None or english.mean is None:
        return f"{start}; there are no English originals to compare with."
    contrast = english.comparison
    clear = contrast is not None and contrast.difference.low > 0
    end = "" if clear else "; the gap is not clearly above 0, so no share of it is reported"
    change = "" if contrast is None else f", {gain(contrast.difference)} points away"
    apart = english.mean.score - direct.score
    if contrast is not None and abs(contrast.difference.value - apart) > ROUNDING:
        change += " on the items and languages that both have"
    return f"{start}, and {english.mean.score:.1f}% on the English originals{change}{end}."


def _best(table: Table, row: MethodRow) -> str:
    contrast = row.contrast
    closed = ""
    if contrast.gap_closed is not None:
        closed = f", which closes {share(contrast.gap_closed)} of the gap to English"
    return (
        f"Most is gained by {row.title}: {gain(contrast.difference)} points over direct"
        f"{_where(table, row)} (p {p_value(contrast.p_adjusted or 0.0)} after Holm's correction over "
        f"{counted(table.family, 'method')}){closed}."
    )


def _where(table: Table, row: MethodRow) -> str:
    every = [name for name in table.languages if name != PIVOT]
    if row.mean is None or len(row.mean.languages) == len(every):
        return ""
    missing = listed([language_name(n) for n in every if n not in row.mean.languages])
    return f", without {missing}"


def _sorted_by_effect(
    rows: Sequence[MethodRow],
) -> tuple[list[MethodRow], list[MethodRow], list[MethodRow]]:
    """Significantly better, significantly worse, and neither; the best first."""
    ranked = sorted(rows, key=lambda row: -row.contrast.difference.value)
    better = [r for r in ranked if r.contrast.significant and r.contrast.difference.value > 0]
    worse = [r for r in ranked if r.contrast.significant and r.contrast.difference.value < 0]
    return better, worse, [row for row in ranked if row not in better and row not in worse]


def _change(row: MethodRow) -> str:
    return gain(row.contrast.difference)
