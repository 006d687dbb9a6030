"""Language tags: one canonical BCP 47 tag for each of the codes that data sets use.

>>> parse_tag("swh_Latn"), parse_tag("swa"), parse_tag("zho_Hans"), parse_tag("zho-TW")
('sw', 'sw', 'zh-Hans', 'zh-Hant')
"""

import functools
import importlib.resources
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import langcodes
import langcodes.tag_parser
import regex

from langsteer.errors import LanguageError

_TAG = regex.compile(r"[A-Za-z0-9]+([-_][A-Za-z0-9]+)*")

# ISO 639-3 codes of the standard variety that FLORES, NTREX and others use where the field
# writes the two-letter code. Codes of other varieties (arz, yue, ...) keep their own tag. The
# other way round, `no` is what nearly all write Bokmål under; Nynorsk is `nn`.
_STANDARD_VARIETY = {
    "als": "sq", "arb": "ar", "azj": "az", "cmn": "zh", "ekk": "et", "gaz": "om",
    "kmr": "ku", "knc": "kr", "khk": "mn", "lvs": "lv", "npi": "ne", "ory": "or",
    "pbt": "ps", "pes": "fa", "plt": "mg", "quy": "qu", "swh": "sw", "uzn": "uz",
    "ydd": "yi", "zsm": "ms", "ayr": "ay", "fuv": "ff", "dik": "din", "taq": "tmh",
    "hbs": "sh", "no": "nb",
}  # fmt: skip

# Languages whose tag always names the script, because readers of one may not read the other.
_SCRIPT_ALWAYS = {"zh"}

# Data sets' names for a script that BCP 47 gives another name.
_SCRIPT_NAMES = {"Hang": "Kore"}

# ISO 15924 scripts that are made of several Unicode scripts.
_UNICODE_SCRIPTS = {
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Jpan": ("Hani", "Hira", "Kana"),
    "Kore": ("Hang", "Hani"),
    "Hrkt": ("Hira", "Kana"),
}


# The scripts that languages with many speakers are written in, the commonest first.
_SCRIPTS = (
    "Latn", "Cyrl", "Arab", "Deva", "Hani", "Hira", "Kana", "Hang", "Grek", "Thai", "Taml", "Telu",
    "Beng", "Hebr", "Geor", "Armn", "Ethi", "Khmr", "Laoo", "Mymr", "Sinh", "Knda", "Mlym", "Gujr",
    "Guru", "Orya", "Tibt", "Mong", "Thaa", "Cher", "Tfng", "Nkoo", "Syrc", "Olck", "Mtei", "Cans",
)  # fmt: skip


@functools.cache
def parse_tag(code: str) -> str:
    """The canonical BCP 47 tag of `code`: a tag, an ISO 639 code, or a FLORES or NTREX code.

    A script that the language is normally written in is left out (`est_Latn` → `et`), except for
    Chinese, which always has one (`zh` → `zh-Hans`). Raises LanguageError.
    """
    if not _TAG.fullmatch(code.strip()):
        raise LanguageError(_unknown(code))
    try:
        language = langcodes.Language.get(code.strip(), normalize=True)
    except (langcodes.tag_parser.LanguageTagError, AttributeError) as error:
        raise LanguageError(_unknown(code)) from error
    if not language.language or language.language == "und" or not language.is_valid():
        raise LanguageError(_unknown(code))
    subtag = _STANDARD_VARIETY.get(language.language, language.language)
    language = langcodes.Language.get(_join(subtag, language.script, language.territory))
    usual = langcodes.Language.get(subtag).maximize()
    if subtag in _SCRIPT_ALWAYS:
        return _join(subtag, language.maximize().script)
    script = _SCRIPT_NAMES.get(language.script or "", language.script)
    script = script if script != usual.script else None
    return _join(subtag, script, language.territory)


def canonical(tag: str) -> str:
    """The canonical tag of a tag that a file holds; a word that names no language stays as it is."""
    try:
        return parse_tag(str(tag))
    except LanguageError:
        return str(tag)


UNDETERMINED = "und"  # BCP 47's tag for what is not known


def language_name(tag: str) -> str:
    """The English name of a language, e.g. `Swahili`, `Chinese (Simplified)`."""
    if tag == UNDETERMINED:
        return "a language that is not known"
    return langcodes.Language.get(parse_tag(tag)).display_name()


def own_name(tag: str) -> str:
    """The name of a language in itself, without its script: `Kiswahili`, `Deutsch`, `中文`."""
    name = langcodes.Language.make(langcodes.Language.get(parse_tag(tag)).language).autonym()
    return name[:1].upper() + name[1:]


def is_called(tag: str, name: str) -> bool:
    """Whether a word names a language: its tag or another code of it, its name in English or its own."""
    word = " ".join(name.split()).casefold()
    language = langcodes.Language.get(parse_tag(tag))
    base = langcodes.Language.make(language.language)
    names = (
        language.display_name(), base.display_name(), language.autonym(), base.autonym(),
    )  # fmt: skip
    return word in {known.casefold() for known in names} or canonical(name.strip()) == tag


@dataclass(frozen=True)
class Family:
    """A language family and the branch of it, such as Indo-European and Romance."""

    name: str
    branch: str


def family_of(tag: str) -> Family | None:
    """The family of a language; None where langsteer does not know it.

    Creoles stand with the language that gave them their words. Groups whose unity is disputed
    (Niger-Congo without Mande, Nilotic and Saharan apart) stand as the table of families has them.
    """
    return _families().get(parse_tag(tag).partition("-")[0])


def script_of(tag: str) -> str:
    """The ISO 15924 code of the script that a language is written in, e.g. `Latn`."""
    return langcodes.Language.get(parse_tag(tag)).maximize().script or "Zyyy"


def script_name(tag: str) -> str:
    """The English name of the script that a language is written in, e.g. `Devanagari`."""
    return _named_script(script_of(tag))


def main_script(texts: Iterable[str]) -> str | None:
    """The English name of the script that most letters of some texts are in; None without any."""
    counts = Counter(
        _unicode_script(letter) for text in texts for letter in regex.findall(r"\p{L}", text)
    )
    return counts.most_common(1)[0][0] if counts else None


def script_share(text: str, tag: str) -> float:
    """The share of the letters in `text` that are in the script of `tag`; 1.0 without letters."""
    letters = regex.findall(r"\p{L}", text)
    if not letters:
        return 1.0
    return len(_script_pattern(script_of(tag)).findall(text)) / len(letters)


def share_script(first: str, second: str) -> bool:
    """Whether two languages are written in a script that they have in common."""
    return not _unicode_scripts(script_of(first)).isdisjoint(_unicode_scripts(script_of(second)))


@functools.cache
def _families() -> dict[str, Family]:
    table = importlib.resources.files("langsteer") / "data" / "families.tsv"
    rows = [line.split("\t") for line in table.read_text("utf-8").strip("\n").split("\n")]
    return {tag: Family(name, branch) for name, branch, tags in rows for tag in tags.split()}


def _unicode_scripts(script: str) -> frozenset[str]:
    return frozenset(_UNICODE_SCRIPTS.get(script, (script,)))


def _named_script(code: str) -> str:
    return str(langcodes.Language.make(script=code).script_name())


@functools.cache
def _unicode_script(letter: str) -> str:
    """The English name of the script that Unicode files a letter under."""
    for code in _SCRIPTS:
        if regex.match(rf"\p{{Script={code}}}", letter):
            return _named_script(code)
    return "another script"


@functools.cache
def _script_pattern(script: str) -> regex.Pattern[str]:
    inside = "".join(rf"\p{{Script={name}}}" for name in sorted(_unicode_scripts(script)))
    # U+30FC and its like are letters that Unicode files under the common script.
    return regex.compile(rf"[[{inside}\p{{Script=Common}}]&&\p{{L}}]", flags=regex.VERSION1)


def _join(*parts: str | None) -> str:
    return "-".join(part for part in parts if part)


def _unknown(code: str) -> str:
    message = f"no language has the tag {code!r}"
    if len(code.strip()) > 3 and code.replace(" ", "").isalpha():
        tag = _by_name(code.strip())
        if tag:
            return f"{message}; did you mean {tag!r}?"
    return f"{message}: use a BCP 47 tag such as 'sw', 'el' or 'zh-Hans'"


def _by_name(name: str) -> str | None:
    try:
        return langcodes.find(name).to_tag()
    except LookupError:
        return None
