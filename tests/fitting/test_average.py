from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from langsteer.errors import SaveError, VectorError
from langsteer.fitting.average import average, check_place
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from tests.helpers import make_vector, run


def several(model: Model) -> list[SteeringVector]:
    first = make_vector(model, layer=1, strength=0.5, state_norm=2.0, method="learned")
    other = replace(first, language="et", values=-3 * first.values, strength=1.0, state_norm=4.0)
    return [first, other]


def test_the_mean_of_vectors(llama: Model, tmp_path: Path) -> None:
    vectors = several(llama)
    own = replace(vectors[0], language="am", values=100 * vectors[0].values)
    found = average([*vectors, own], "am")
    torch.testing.assert_close(found.values, -vectors[0].values.float())
    assert (found.language, found.method, found.layer) == ("am", "average", 1)
    assert (found.strength, found.state_norm) == (0.75, 3.0)
    assert found.options["of"] == {"sw": "learned", "et": "learned"}
    assert not found.scores
    again = SteeringVector.load(found.save(tmp_path / "am.safetensors"), llama)
    assert torch.equal(again.values, found.values)
    assert again.corpus["languages"] == ["sw", "et"]


def test_it_serves_what_all_of_them_serve(llama: Model) -> None:
    vectors = [replace(v, options={"objective": "centred"}) for v in several(llama)]
    assert average(vectors, "am").options["objective"] == "centred"
    other = replace(vectors[1], options={"objective": "translation"})
    for second in (other, replace(other, options={})):
        assert "objective" not in average([vectors[0], second], "am").options


def test_its_own_counts_half(llama: Model) -> None:
    vectors = several(llama)
    own = replace(vectors[0], language="am", values=5 * vectors[0].values, strength=0.25)
    found = average(vectors, "am", own)
    torch.testing.assert_close(found.values, 2 * vectors[0].values.float())
    assert (found.strength, found.state_norm) == (0.5, 2.5)
    assert found.corpus["languages"] == ["sw", "et", "am"]
    for wrong, message in (
        (vectors[0], "given as am's own is one of sw"),
        (replace(own, layer=2), "different layers"),
        (replace(own, positions="generated"), "positions: .*generated"),
    ):
        with pytest.raises(VectorError, match=message):
            average(vectors, "am", wrong)


@pytest.mark.parametrize(
    ("change", "language", "message"),
    [
        (lambda v: v[:1], "am", "2 languages or more beside am, and there is 1"),
        (lambda v: v, "sw", "beside sw, and there is 1"),
        (lambda v: [], "am", "there are 0"),
        (lambda v: v, "en", "en is the language that the vectors lead to"),
        (lambda v: [v[0], replace(v[1], layer=2)], "am", "different layers are not compared"),
        (
            lambda v: [v[0], replace(v[1], positions="generated")],
            "am",
            "positions: all \\(sw\\), generated \\(et\\). Name the files",
        ),
        (lambda v: [*v, v[0]], "am", "several vectors for sw"),
    ],
)
def test_what_has_no_mean(llama: Model, change: Any, language: str, message: str) -> None:
    with pytest.raises(VectorError, match=message):
        average(change(several(llama)), language)


def test_the_command(llama: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for vector in several(llama):
        vector.save(tmp_path / "vectors" / f"{vector.language}.safetensors")
    output = tmp_path / "am.safetensors"
    command = ["average", str(tmp_path / "vectors"), "-l", "am", "-o", str(output)]
    code, out, _ = run(capsys, *command)
    assert code == 0
    assert "Amharic (am)" in out
    assert SteeringVector.load(output).strength == 0.75
    assert run(capsys, *command, "--strength", "0.25")[0] == 0
    assert SteeringVector.load(output).strength == 0.25
    few = replace(several(llama)[0], language="am", strength=0.25).save(
        tmp_path / "few.safetensors"
    )
    assert run(capsys, *command, "--own", str(few))[0] == 0
    assert SteeringVector.load(output).strength == 0.5
    code, _, err = run(capsys, *command[:-4], "-l", "sw", "-o", str(tmp_path / "x"))
    assert code == 1
    assert "beside sw" in err
    assert not (tmp_path / "x").exists()


def test_only_an_average_for_the_language_is_replaced(llama: Model, tmp_path: Path) -> None:
    vectors = [make_vector(llama, language=tag) for tag in ("sw", "tr")]
    file = average(vectors, "am").save(tmp_path / "am.safetensors")
    check_place(file, "am")
    check_place(file, "ti", overwrite=True)
    with pytest.raises(SaveError, match="holds a vector of am that was made by average"):
        check_place(file, "ti")
    vectors[0].save(file)
    with pytest.raises(SaveError, match="holds a vector of sw that was made by test"):
        check_place(file, "sw")
