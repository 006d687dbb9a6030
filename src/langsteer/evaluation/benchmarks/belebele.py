"""Belebele: a question about a passage, four answers (Bandarkar et al., arXiv 2308.16884).

The passages are FLORES-200's: nothing fitted on FLORES may be measured here.
"""

from pathlib import Path
from typing import Any

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.common import (
    Benchmark,
    Doc,
    by_tag,
    find,
    harness_config,
    hub_rows,
    mean_metric,
    numbered,
)
from langsteer.evaluation.benchmarks.files import json_lines

TITLE, HUB = "Belebele", "facebook/belebele"
LAYOUT = "<code>.jsonl, e.g. swh_Latn.jsonl"
_CODES = """
    acm_Arab afr_Latn als_Latn amh_Ethi apc_Arab arb_Arab arb_Latn ars_Arab ary_Arab arz_Arab
    asm_Beng azj_Latn bam_Latn ben_Beng ben_Latn bod_Tibt bul_Cyrl cat_Latn ceb_Latn ces_Latn
    ckb_Arab dan_Latn deu_Latn ell_Grek eng_Latn est_Latn eus_Latn fin_Latn fra_Latn fuv_Latn
    gaz_Latn grn_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hin_Latn hrv_Latn hun_Latn
    hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kac_Latn kan_Knda
    kat_Geor kaz_Cyrl kea_Latn khk_Cyrl khm_Khmr kin_Latn kir_Cyrl kor_Hang lao_Laoo lin_Latn
    lit_Latn lug_Latn luo_Latn lvs_Latn mal_Mlym mar_Deva mkd_Cyrl mlt_Latn mri_Latn mya_Mymr
    nld_Latn nob_Latn npi_Deva npi_Latn nso_Latn nya_Latn ory_Orya pan_Guru pbt_Arab pes_Arab
    plt_Latn pol_Latn por_Latn ron_Latn rus_Cyrl shn_Mymr sin_Latn sin_Sinh slk_Latn slv_Latn
    sna_Latn snd_Arab som_Latn sot_Latn spa_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn
    tam_Taml tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi tsn_Latn tso_Latn tur_Latn ukr_Cyrl
    urd_Arab urd_Latn uzn_Latn vie_Latn war_Latn wol_Latn xho_Latn yor_Latn zho_Hans zho_Hant
    zsm_Latn zul_Latn
"""
CODES = by_tag(_CODES.split())
PARTS = {"test": "test"}
OPTIONS = tuple(f"mc_answer{i}" for i in (1, 2, 3, 4))
FIELDS: dict[str, type | tuple[type, ...]] = {
    "link": str,
    "question_number": (int, str),
    "flores_passage": str,
    "question": str,
    **dict.fromkeys(OPTIONS, str),
    "correct_answer_num": (str, int),
}


def read(folder: Path, tag: str, part: str) -> list[Doc]:
    name = f"{CODES[tag]}.jsonl"
    path = find(folder, name, f"data/{name}")
    rows = json_lines(path, FIELDS, LAYOUT)
    for line, row in enumerate(rows, 1):
        if str(row["correct_answer_num"]) not in ("1", "2", "3", "4"):
            raise BenchmarkError(
                f"{path}, item {line}: 'correct_answer_num' is {row['correct_answer_num']!r}, "
                "not 1 to 4"
            )
    return _docs(rows)


def fetch(tag: str, part: str) -> list[Doc]:
    return _docs(hub_rows(TITLE, HUB, CODES[tag], PARTS[part], LAYOUT))


def config(tag: str, form: str) -> dict[str, Any]:
    found = harness_config(f"belebele/belebele_{CODES[tag]}.yaml")
    return found | {"metric_list": mean_metric("acc")}


def _docs(rows: list[Doc]) -> list[Doc]:
    texts = [{**row, "correct_answer_num": str(row["correct_answer_num"])} for row in rows]
    return numbered(texts, lambda row, _: f"{row['link']}#{row['question_number']}")


BELEBELE = Benchmark(
    name="belebele",
    title=TITLE,
    hub=HUB,
    kind="choice",
    metric="acc",
    codes=CODES,
    source=("flores_passage", "question", *OPTIONS),
    answers=(),
    forms=("english",),
    parts=PARTS,
    layout=LAYOUT,
    read=read,
    fetch=fetch,
    config=config,
    instructions={"en": "Read the passage and choose the right answer to the question."},
    target="correct_answer_num",
    folders=("belebele", "Belebele"),
)
