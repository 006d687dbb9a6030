import io
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from langsteer.analysis.layers.figures import draw
from langsteer.analysis.layers.figures_of_maps import shown_layers
from langsteer.analysis.layers.page import page_of, sections
from langsteer.analysis.layers.results import LayerResults
from langsteer.analysis.layers.tables import own_name
from langsteer.analysis.write import write_report
from langsteer.errors import MissingExtraError, SaveError
from langsteer.look import plotting
from langsteer.look.grid import Column, Grid, Line, Value, number
from langsteer.look.page import PageSection, PageTable, render_page
from langsteer.look.plotting import Figure
from langsteer.storage.files import write_together
from tests.made.analysis import TWELVE, make_results
from tests.made.pages import Loaded, edge

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def results() -> LayerResults:
    return make_results()


@pytest.fixture(scope="module")
def figures(results: LayerResults) -> dict[str, Figure]:
    return {figure.name: figure for figure in draw(results)}


@pytest.fixture(scope="module")
def plain() -> tuple[LayerResults, list[Figure]]:
    """Results without steering and without lenses, and their figures."""
    results = make_results(("sw", "el"), 3, False, False)
    return results, list(draw(results))


@pytest.fixture(scope="module")
def small() -> LayerResults:
    return make_results(("sw", "el"), 4)


# Figures


def test_there_is_a_figure_of_each_thing(figures: dict[str, Figure]) -> None:
    assert list(figures) == [
        *("mexa", "retrieval", "cka", "cosine", "distance", "probe", "map", "map-steered"),
        *("next-token-logit", "next-token-tuned", "words-logit", "words-tuned"),
        *("mexa-steered", "retrieval-steered", "distance-steered", "identity-steered"),
        *("norms", "dimensions"),
    ]


def test_files_are_what_they_should_be(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        root = ElementTree.fromstring(figure.svg_file)
        width, height = (float(root.attrib[key].removesuffix("pt")) for key in ("width", "height"))
        image = Image.open(io.BytesIO(figure.png))
        image.load()
        assert image.size == pytest.approx((width / 72 * 200, height / 72 * 200), abs=2), name
        assert 7 * 200 <= image.size[0] <= 11 * 200
        assert figure.pdf.startswith(b"%PDF")
        assert figure.caption
        assert "currentColor" not in figure.svg_file
        assert plotting.INK not in figure.svg
        assert "{" not in figure.caption


def test_nothing_is_cut_off(figures: dict[str, Figure]) -> None:
    """The outermost pixels of every picture are white."""
    for name, figure in figures.items():
        assert edge(figure.png).min() > 250, name


def test_every_language_is_named_in_every_figure_of_languages(
    results: LayerResults, figures: dict[str, Figure]
) -> None:
    for name, figure in figures.items():
        shown = results.steered if name.endswith("-steered") else results.languages
        if name in ("probe", "dimensions"):
            continue
        for tag in shown:
            assert results.languages[tag].name in figure.svg, (name, tag)


def test_what_is_not_there_is_not_drawn(plain: tuple[LayerResults, list[Figure]]) -> None:
    assert [figure.name for figure in plain[1]] == [
        *("mexa", "retrieval", "cka", "cosine", "distance", "probe", "map", "norms", "dimensions"),
    ]


def test_the_probe_shows_the_layer_steered_at(
    figures: dict[str, Figure], plain: tuple[LayerResults, list[Figure]]
) -> None:
    unsteered = {figure.name: figure for figure in plain[1]}
    assert "layer steered at" in figures["probe"].svg_file
    assert "layer steered at" not in unsteered["probe"].svg_file


def test_numbers_that_do_not_exist(small: LayerResults) -> None:
    nothing = tuple([math.nan] * 4)
    languages = {
        tag: replace(
            found,
            before=replace(
                found.before,
                alignment=replace(found.before.alignment, cka=nothing, cka_chance=()),
            ),
        )
        for tag, found in small.languages.items()
    }
    empty = replace(small, languages=languages, map=replace(small.map, explained=nothing))
    figures = {figure.name: figure for figure in draw(empty)}
    assert "another order" not in figures["cka"].svg
    assert "in brackets" not in figures["map"].caption
    shown = page_of(empty, list(figures.values())).split("<script>")[0]
    assert re.search(r"\bnan\b", shown, flags=re.IGNORECASE) is None


def test_one_layer_and_one_language() -> None:
    assert len(draw(make_results(("sw",), 1, True, True))) == 18


def test_drawing_again_gives_the_same(plain: tuple[LayerResults, list[Figure]]) -> None:
    results, figures = plain
    again = draw(results)
    assert [figure.svg for figure in again] == [figure.svg for figure in figures]
    assert [figure.png for figure in again] == [figure.png for figure in figures]


def test_deep_models_have_as_many_pictures_as_can_be_seen() -> None:
    assert shown_layers(18) == list(range(18))
    found = shown_layers(80)
    assert len(found) == 36
    assert (found[0], found[-1]) == (0, 79)


def test_names_at_line_ends_do_not_overlap() -> None:
    places = plotting.spread([0.5, 0.51, 0.5, 0.0, 0.99], 0.1, 0.0, 1.0)
    ordered = sorted(places)
    assert min(b - a for a, b in pairwise(ordered)) >= 0.1 - 1e-9
    assert ordered[0] >= 0
    assert ordered[-1] <= 1 + 1e-9
    assert places[3] < places[0] < places[4]
    assert plotting.spread([0.2, 0.7], 0.1, 0.0, 1.0) == pytest.approx([0.2, 0.7])
    crowded = plotting.spread([0.5] * 30, 0.1, 0.0, 1.0)
    assert sorted(crowded) == pytest.approx([0.1 * i for i in range(30)])


def test_looks_are_different() -> None:
    looks = plotting.looks([f"language {i}" for i in range(64)])
    assert len({tuple(sorted(look.items())) for look in looks.values()}) == 64


# Machado, Oliveira and Fernandes (2009), severity 1, in linear RGB.
_SIGHT = {
    "normal": np.eye(3),
    "no red cones": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no green cones": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no blue cones": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def _linear(colour: str) -> Any:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def _lab(linear: Any) -> Any:
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(linear, 0, 1) / [0.9505, 1, 1.0888]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", list(_SIGHT))
def test_colours_differ_for_every_reader(sight: str) -> None:
    seen = [_lab(np.array(_SIGHT[sight]) @ _linear(colour)) for colour in plotting.COLOURS]
    nearest = min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))
    assert nearest > 15


def test_colours_stand_out_from_white_and_dark_pages() -> None:
    for colour in plotting.COLOURS:
        light = float(np.array([0.2126, 0.7152, 0.0722]) @ _linear(colour)) + 0.05
        assert 1.05 / light > 2.7
        assert light / 0.059 > 2.7


# The page


def test_the_page(results: LayerResults, figures: dict[str, Figure]) -> None:
    text = page_of(results, list(figures.values()))
    assert len(text.encode()) < 5_000_000
    page = Loaded.of(text)
    assert page.open == []
    assert page.loaded == []
    assert max(page.ids.values()) == 1
    assert page.tags["svg"] == len(figures)
    assert "@import" not in text
    assert "http" not in text.replace("http://www.w3.org", "")
    for expected in (
        *("Kiswahili", "हिन्दी", "日本語", "aria-sort", "prefers-color-scheme: dark", "system-ui"),
        *("A note for the reader.", "What steering changes", "&#34;seed&#34;: 0"),
    ):
        assert expected in text


def test_sentences_are_true_of_the_numbers(
    results: LayerResults, figures: dict[str, Figure]
) -> None:
    found = {part.title: " ".join(part.text) for part in sections(results, list(figures.values()))}
    curves = np.array([item.before.alignment.mexa for item in results.languages.values()])
    best = int(curves.mean(0).argmax())
    assert f"highest at layer {best}: {curves.mean(0)[best]:.0%}" in found["Alignment with English"]
    probe = results.together_before.probe
    assert (
        f"{min(probe):.0%} (layer {probe.index(min(probe))})"
        in found["Telling the languages apart"]
    )
    left = [
        item.after.identity.distance_share[-1]
        for item in results.languages.values()
        if item.after is not None
    ]
    nearer = sum(share < 1 for share in left)
    assert f"means of {nearer} of {len(left)} languages" in found["What steering changes"]
    assert "dimension 443" in found["Norms and massive dimensions"]


def test_a_page_is_made_of_the_file_alone(small: LayerResults, tmp_path: Path) -> None:
    small.write(tmp_path)
    written = write_report(LayerResults.read(tmp_path), tmp_path)
    assert written[-1] == tmp_path / "index.html"
    names = sorted(path.suffix for path in (tmp_path / "figures").iterdir())
    assert Counter(names) == {".png": 18, ".svg": 18, ".pdf": 18}
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_unsteered_results_have_no_section_on_steering(
    plain: tuple[LayerResults, list[Figure]],
) -> None:
    text = page_of(*plain)
    assert "What steering changes" not in text
    assert "The language inside" not in text


def test_what_is_in_names_is_escaped(small: LayerResults) -> None:
    strange = replace(small, model={"name": "<b>&model"}, notes=("<script>",))
    text = page_of(strange, [])
    assert "&lt;b&gt;&amp;model" in text
    assert "<script>" not in text.split("</style>")[1].split("<footer>")[0]


def test_a_plain_page() -> None:
    grid = Grid(
        (Column("Name", numeric=False), Column("Number")),
        (Line((Value("a"), number(-1.5))), Line((Value("b"), number(math.nan)))),
    )
    section = PageSection("One thing", ("Found.",), tables=[PageTable("Numbers", grid, False)])
    text = render_page("Title", [section], {"options": "{}"}, ["Lead."])
    page = Loaded.of(text)
    assert page.open == []
    assert page.ids["one-thing"] == page.ids["configuration"] == 1
    assert "−1.500" in text
    assert 'data-sort="-1.5"' in text


def test_names_in_their_own_script() -> None:
    assert [own_name(tag) for tag in ("el", "ar", "sw")] == ["Ελληνικά", "العربية", "Kiswahili"]


def test_missing_extras(small: LayerResults, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("jinja2", "matplotlib"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(MissingExtraError, match=rf"{module}: pip install .*\[analysis\]"):
                page_of(small, []) if module == "jinja2" else draw(small)


# Files


def test_all_files_or_none(tmp_path: Path) -> None:
    written = write_together(tmp_path / "new", {"a.txt": "über", "b/c.bin": b"\x00"})
    assert [path.read_bytes() for path in written] == ["über".encode(), b"\x00"]
    (tmp_path / "new" / "b").joinpath("c.bin").write_bytes(b"old")
    (tmp_path / "new" / "z").write_text("in the way")
    with pytest.raises(SaveError, match="cannot write"):
        write_together(tmp_path / "new", {"b/c.bin": b"new", "z/y": "text"})
    assert (tmp_path / "new" / "b" / "c.bin").read_bytes() == b"old"
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.txt", "b", "z"]


def test_templates_and_tables_are_in_the_wheel(tmp_path: Path) -> None:
    if subprocess.run([sys.executable, "-c", "import hatchling"], check=False).returncode:
        pytest.skip("hatchling is not installed here")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("page.css", "page.html.j2", "table.html.j2", "tables.js"):
        assert f"langsteer/look/templates/{name}" in names
    assert "langsteer/evaluation/report/templates/report.html.j2" in names
    assert "langsteer/evaluation/benchmarks/tasks/sib200.yaml" in names
    assert "langsteer/py.typed" in names
    assert "langsteer/data/families.tsv" in names


def test_the_json_of_made_results_is_plain(results: LayerResults) -> None:
    assert set(json.loads(json.dumps(results.as_json(), allow_nan=False))["languages"]) == set(
        TWELVE
    )
