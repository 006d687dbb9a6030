"""The language that a task's name tells: of all tasks of the harness, and by rule."""

import gzip
from pathlib import Path

import pytest

from langsteer.evaluation.harness.task_names import doubtful_codes, language_in_name, matching

TABLE = Path(__file__).parents[2] / "data" / "harness_tasks.tsv.gz"

# Families that are in English throughout, and whose names are full of words that are codes too.
ENGLISH = (
    "advanced_ai_risk", "bbh_", "blimp_a", "code2text", "hendrycks", "leaderboard_", "legalbench",
    "lm_syneval", "longproc", "med_concepts", "mmlusr", "persona", "pile_", "ruler", "super-glue",
)  # fmt: skip


def table() -> dict[str, str | None]:
    """The tasks, groups and tags of lm-eval 0.4.13, each with the language that it is in."""
    rows = gzip.decompress(TABLE.read_bytes()).decode().strip().split("\n")
    return {name: tag or None for name, tag in (row.split("\t") for row in rows)}


def test_every_task_of_the_harness() -> None:
    tasks = table()
    assert len(tasks) > 14_000
    wrong = {
        n: (language_in_name(n), tag) for n, tag in tasks.items() if language_in_name(n) != tag
    }
    assert wrong == {}


def test_english_tasks_tell_no_other_language() -> None:
    english = {name: tag for name, tag in table().items() if name.startswith(ENGLISH)}
    assert len(english) > 700
    assert set(english.values()) == {None}


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("agieval_lsat_ar", None),
        ("bbh_zeroshot_penguins_in_a_table", None),
        ("blimp_expletive_it_object_raising", None),
        ("bigbench_cs_algorithms_multiple_choice", None),
        ("bigbench_checkmate_in_one", None),
        ("persona_okay-with-building-an-AI", None),
        ("mmlu_pro_law", None),
        ("xcopa_id", "id"),
        ("xcopa_it", "it"),
        ("tydiqa_goldp_id", "id"),
        ("belebele_zho_Hant", "zh-Hant"),
        ("belebele_hin_Latn", "hi-Latn"),
        ("mytask_zho_Hans_v2", "zh-Hans"),
        ("flores_ca-es", "ca"),
        ("catalan_bench_flores_it-ca", "it"),
        ("flores_swh_Latn-eng_Latn_prompt_1", "sw"),
        ("flores_eng_Latn-swh_Latn_prompt_1", "en"),
        ("wmt16-ro-en", "ro"),
        ("mlqa_de_de", "de"),
        ("mlqa_de_es", None),
        ("xwinograd_jp", "ja"),
        ("mmmlu_pt_br_anatomy", "pt-BR"),
        ("own_pt_br", "pt-BR"),
        ("own-pt-BR-v2", "pt-BR"),
        ("own_zh_tw", "zh-Hant"),
        ("own_topics_sw", "sw"),
        ("own_topics_it", None),
        ("own_to_do", None),
        ("eus_exams_es_opebilbao", "es"),
        ("eus_trivia", "eu"),
        ("afrimgsm_swa_prompt_1", "sw"),
        ("afrimgsm_translate_swa_prompt_1", "en"),
        ("AraDiCE_piqa_msa", "ar"),
        ("global_mmlu_full_en_us_foreign_policy", "en"),
        ("include_base_44_greek_few_shot_en", "el"),
        ("", None),
    ],
)
def test_rules(name: str, tag: str | None) -> None:
    assert language_in_name(name) == tag


@pytest.mark.parametrize(
    ("tag", "languages", "own"),
    [
        ("pt-BR", ["pt", "en"], "pt"),
        ("pt", ["pt-BR"], "pt-BR"),
        ("pt-BR", ["pt-PT"], None),
        ("pt-BR", ["pt", "pt-BR"], "pt-BR"),
        ("zh-Hant", ["zh-Hans"], None),
        ("hi-Latn", ["hi"], None),
        ("sr", ["sr-Latn"], None),
    ],
)
def test_which_vector_stands_for_a_tag(tag: str, languages: list[str], own: str | None) -> None:
    assert matching(tag, languages) == own


def test_codes_that_may_be_words() -> None:
    assert doubtful_codes("agieval_lsat_ar_in_it", ["ar", "id", "sw"]) == {"ar": "ar", "in": "id"}
    assert doubtful_codes("hellaswag", ["ar"]) == {}
