"""The language that a task's name tells, for the names that the lm-evaluation-harness and others give.

Most codes of languages are also words or abbreviations (`in`, `it`, `ar` for analytical reasoning, `cs` for
computer science), so a code counts where it cannot be one: with its script (`swh_Latn`), with its territory
(`pt_br`), in a pair (`ca-es`), where a benchmark in many languages has it (`xcopa_id`), or where it is no word.
"""

import functools
from collections.abc import Iterable

import langcodes
import regex

from langsteer.errors import LanguageError
from langsteer.text.languages import parse_tag

_SCRIPTS = (
    "arab|armn|beng|cyrl|deva|ethi|geor|grek|gujr|guru|hang|hans|hant|hebr|jpan|khmr|knda|kore|laoo|"
    "latn|mlym|mong|mymr|olck|orya|sinh|syrc|taml|telu|tfng|thaa|thai|tibt"
)
_WITH_SCRIPT = regex.compile(
    rf"(?<![^_\-.:/])([a-z]{{2,3}}[_-](?i:{_SCRIPTS}))(?![^_\-.:/])", regex.ASCII
)
_PAIR = regex.compile(
    r"(?:(?<![^_.:/])|(?<=\b(?:wmt|wmt\d\d|iwslt\d{4})-))([a-z]{2,3})-([a-z]{2,3})(?![^_.:/](?!t5))"
)
_LOCALE = regex.compile(r"(?<![^_\-.:/])([a-z]{2})([_-])([A-Z]{2}|[a-z]{2})(?![^_\-.:/])")
_TRANSLATES = regex.compile(r"(?:flores|ntrex|mafand|salt|opus|mt|translat\w*)[\d_-]*$")
_PIECES = regex.compile(r"[_\-.:/ ]+")

# Territories in small letters make a locale only with the languages that have them.
_LOCALES = {
    "ar_xy", "bn_bd", "de_de", "en_gb", "en_in", "es_es", "es_la", "es_mx", "fr_ca", "fr_fr", "hi_in",
    "id_id", "it_it", "ja_jp", "ko_kr", "pt_br", "pt_pt", "sw_ke", "sw_tz", "yo_ng", "zh_cn", "zh_hk",
    "zh_tw",
}  # fmt: skip
_ARABIC = {"AE", "DZ", "EG", "IQ", "JO", "KW", "LB", "MA", "QA", "SA", "SY", "TN", "YE"}
_NO_TERRITORY = {"xy", "la"}  # standing for the Arabic and the Spanish of several

# What is not a code of a language, and stands for one.
_ALIASES = {"jp": "ja", "cn": "zh", "cz": "cs", "vn": "vi", "dk": "da"}

# Codes that are no English word and no common abbreviation.
_PLAIN = {
    "af", "bg", "bn", "cy", "de", "el", "en", "es", "et", "eu", "fr", "gl", "gu", "ha", "hu", "ja",
    "jp", "kk", "ko", "ky", "pl", "pt", "ru", "sw", "ta", "th", "tr", "ur", "vi", "zh", "zu", "arb",
    "ara", "deu", "ell", "eng", "est", "eus", "fil", "fra", "hin", "hun", "ibo", "ind", "jpn", "kor",
    "nld", "nob", "nno", "por", "rus", "spa", "swa", "swh", "tha", "tsn", "vie", "wol", "xho", "yor",
    "zho", "zul",
}  # fmt: skip

# Benchmarks in many languages: what comes right after these is the language, in two letters or three.
_TWO = (
    r"xcopa|xnli|xquad|xwinograd|xstorycloze|xlsum|indicxnli|paws|wnli|mlqa|mela|pisa|copa|copal|piqa|"
    r"siqa|boolqa|openbookqa|hellaswag|arc|arc_challenge_mt|m_mmlu|mmlu(?=_(?:..)_llama)|mmmlu|"
    r"global_mmlu|global_mmlu_full|mmlu_prox|mmlu_prox_lite|mgsm_direct|mgsm_native_cot|mgsm_en_cot|"
    r"truthfulqa|truthfulqa-multi_(?:gen|mc1|mc2)|tydiqa_goldp|lambada_openai_mt|"
    r"lambada_openai_mt_stablelm|masakhaner|uhura-arc-easy|careqa|headqa|glianorex|bertaqa|eus_exams|"
    r"blimp(?=_nl)|agieval|agieval_(?:sat|logiqa)|eqbench|ifeval|cocoteros|parafrases|summarization|"
    r"phrases|common_voice|paloma_c4|hrm8k|belebele|mkqa|xtreme|massive|xl_wic|xlwic"
)
_THREE = (
    r"belebele|sib|sib200|sib-200|flores|flores200|ntrex|mafand|multiblimp|salt|tatoeba|openai_mmlu|"
    r"global_piqa_(?:non)?parallel_(?:cloze|generation)|injongointent|nollysenti|naijarc|afridiacritics|"
    r"masakha(?:ner|pos|news)|afri(?:qa|senti)|afrimgsm|afrimgsm_cot|afrimgsm_direct(?:_cot)?|afrixnli|"
    r"afrixnli_(?:en|native|manual)_direct|afrimmlu|afrimmlu_direct|uhura-arc-easy|"
    r"nrk_quiz_qa|nortruthfulqa_(?:mc|gen)|nor(?:commonsenseqa|openbookqa|idiom|summ)|ask_gec"
)
_FAMILY = regex.compile(
    rf"(?:{_TWO})_([a-z]{{2}})(?![a-z])|(?:{_THREE})_(?!cot|all)([a-z]{{3}})(?![a-z])"
)
_TWO_LANGUAGES = regex.compile(r"(?:mlqa|tatoeba)_([a-z]{2,3})_([a-z]{2,3})(?![a-z])")

# Families whose names say more than their codes do, or other than they say elsewhere: where the code
# stands, and what it means there; by "" the language of the whole family.
_SPECIAL: tuple[tuple[regex.Pattern[str], dict[str, str]], ...] = (
    # The items of these are translated into English.
    (regex.compile(r"afri(?:mgsm|xnli|mmlu)(?:_\w+)?_(translate)_.*"), {"translate": "en"}),
    (
        regex.compile(r"AraDiCE_.*_(egy|lev|msa|eng)"),
        {"egy": "arz", "lev": "apc", "msa": "ar", "eng": "en"},
    ),
    (regex.compile(r"translation_(dr|en|fr|msa)_.*"), {"dr": "ary", "en": "en", "fr": "fr", "msa": "ar"}),
    (regex.compile(r"pisa_(ch)(?:_.*)?"), {"ch": "zh"}),
    (regex.compile(r"(?:phrases|cocoteros|truthfulqa|xnli)_(va)(?:-..)?"), {"va": "ca"}),
    (regex.compile(r"()eus_(?!exams_es).*"), {"": "eu"}),
    (regex.compile(r"()(?:ja|japanese)_leaderboard.*"), {"": "ja"}),
    (regex.compile(r"()ru_.*"), {"": "ru"}),
    (regex.compile(r"()(?:arabic_leaderboard|arabicmmlu)_.*"), {"": "ar"}),
    (regex.compile(r"()(?:darijammlu_.*|darijahellaswag)"), {"": "ary"}),
    (regex.compile(r"()(?:egymmlu_.*|egyhellaswag)"), {"": "arz"}),
    (regex.compile(r"()(?:kmmlu|kobest|haerae|click|csatqa|kormedmcqa|kbl)(?:_.*)?"), {"": "ko"}),
    (regex.compile(r"()(?:cmmlu|ceval-valid|aclue|zhoblimp)(?:_.*)?"), {"": "zh"}),
    (regex.compile(r"()(?:tmmluplus|tmlu)(?:_.*)?"), {"": "zh-Hant"}),
    (regex.compile(r"()(?:turkishmmlu|turblimp)(?:_.*)?"), {"": "tr"}),
    (regex.compile(r"()greekmmlu(?:_.*)?"), {"": "el"}),
    (regex.compile(r"()evalita-mp_.*"), {"": "it"}),
    (regex.compile(r"()french_bench_.*"), {"": "fr"}),
)  # fmt: skip

# Families that write the language's name in English.
_NAMES = {"pidgin": "pcm", "north": "mk"}  # North Macedonian
_NAMED = regex.compile(r"include_base_44_([a-z]+)(?:_.*)?|xlsum_([a-z]{4,})(?:_.*)?")


@functools.cache
def language_in_name(name: str) -> str | None:
    """The tag of the language that a task's text is in, where the name surely tells one.

    Of a pair to translate, the language that is read. None where the name tells none, or a code in
    it may be something else.
    """
    for read in (_of_special, _of_named, _of_two, _scripted, _located, _paired, _of_family, _plain):
        if (tag := read(name)) is not None:
            return tag or None
    return None


def doubtful_codes(name: str, languages: Iterable[str]) -> dict[str, str]:
    """The codes in a name that may stand for one of some languages, or be words, with their tags."""
    wanted = list(languages)
    codes = {}
    for piece in _PIECES.split(name):
        tag = _tag(piece) if len(piece) in (2, 3) else None
        if tag and (own := matching(tag, wanted)):
            codes[piece] = own
    return codes


def matching(tag: str, languages: Iterable[str]) -> str | None:
    """The one of some tags that stands for `tag`: itself, or the same language in the same script
    where one of the two has no territory."""
    tags = list(languages)
    if tag in tags:
        return tag
    near = [other for other in tags if _bare(other) == _bare(tag)]
    near = [other for other in near if _bare(tag) in (tag, other)]
    return min(near, key=len) if near else None


def _bare(tag: str) -> str:
    """A tag without its territory."""
    return "-".join(part for part in tag.split("-") if len(part) == 4 or part.islower())


def _of_special(name: str) -> str | None:
    for pattern, tags in _SPECIAL:
        if match := pattern.fullmatch(name):
            return _tag(tags[match[1]])
    return None


def _of_named(name: str) -> str | None:
    """ "" where the family's name for the language is not known."""
    match = _NAMED.fullmatch(name)
    if match is None:
        return None
    language = match[1] or match[2]
    try:
        return parse_tag(_NAMES.get(language) or langcodes.find(language).to_tag())
    except LookupError:
        return ""


def _of_two(name: str) -> str | None:
    """ "" where the text is in two languages."""
    match = _TWO_LANGUAGES.match(name)
    if match is None:
        return None
    same = match[1] == match[2] or name.startswith("tatoeba")
    return _tag(match[1]) if same else ""


def _scripted(name: str) -> str | None:
    codes = [match[1] for match in _WITH_SCRIPT.finditer(name)]
    return next((tag for code in codes if (tag := _tag(_spelt(code)))), None)


def _located(name: str) -> str | None:
    for match in _LOCALE.finditer(name, overlapped=True):
        language, mark, territory = match.groups()
        if f"{language}_{territory}" in _LOCALES and mark == "_":
            code = language if territory in _NO_TERRITORY else f"{language}-{territory.upper()}"
        elif territory.isupper() and (language in _PLAIN or _is_usual(language, territory)):
            code = f"{language}-{territory}"
        else:
            continue
        if tag := _tag(code):
            return tag
    return None


def _is_usual(language: str, territory: str) -> bool:
    if language == "ar":
        return territory in _ARABIC
    return bool(langcodes.Language.get(language).maximize().territory == territory)


def _paired(name: str) -> str | None:
    for match in _PAIR.finditer(name, overlapped=True):
        codes = match.groups()
        translates = _TRANSLATES.search(name[: match.start()])
        if all(map(_tag, codes)) and (translates or any(code in _PLAIN for code in codes)):
            return _tag(codes[0])
    return None


def _of_family(name: str) -> str | None:
    match = _FAMILY.match(name)
    return _tag(match[1] or match[2]) if match else None


def _plain(name: str) -> str | None:
    pieces = _PIECES.split(name)
    tags = {tag for piece in pieces if piece in _PLAIN and (tag := _tag(piece))}
    return tags.pop() if len(tags) == 1 else None


def _spelt(code: str) -> str:
    language, script = regex.split("[_-]", code)
    return f"{language}-{script.title()}"


def _tag(code: str) -> str | None:
    try:
        return parse_tag(_ALIASES.get(code, code))
    except LanguageError:
        return None
