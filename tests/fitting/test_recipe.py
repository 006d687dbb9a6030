from pathlib import Path

import pytest
import torch

from langsteer import load
from langsteer.errors import FitError, SaveError
from langsteer.fitting.learning import fit, learn, learn_all
from langsteer.fitting.recipe import Part, is_recipe, parse_recipe
from langsteer.model.model import Model
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.vector import SteeringVector
from tests.helpers import pairs
from tests.made.multilingual import three_languages


def test_what_a_recipe_says() -> None:
    assert parse_recipe("learned") == [Part("learned")]
    assert parse_recipe("learned@prompt + mean_difference:10@generated*-0.5") == [
        Part("learned", None, "prompt"),
        Part("mean_difference", 10, "generated", -0.5),
    ]
    (part,) = parse_recipe("learned(objective=translation, steps=7):3*1e+1")
    assert part == Part("learned", 3, None, 10.0, {"objective": "translation", "steps": 7})
    for text in ("learned@prompt", "a:3*0.5+b@all", "learned(steps=7):3"):
        assert parse_recipe(" + ".join(map(str, parse_recipe(text)))) == parse_recipe(text)
    assert not is_recipe("mean_difference")
    assert is_recipe("a+b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learned@nowhere", "there are the positions source, prompt"),
        ("learned:x", "the part 'learned:x'"),
        ("mean_difference+", "the part '' of"),
        ("learned(steps):3", "'steps' is not OPTION=VALUE"),
        ("none:3", "there is no method 'none'"),
        ("mean_difference(steps=3):1", "mean_difference has no option 'steps'"),
        ("mean_difference@generated", "name one, such as mean_difference@generated\\*-0.5"),
    ],
)
def test_recipes_that_make_no_sense(text: str, said: str, llama: Model) -> None:
    with pytest.raises(FitError, match=said):
        learn(llama, pairs(), method=text)


def test_a_reading_and_a_writing_part(llama: Model, tmp_path: Path) -> None:
    text = pairs(40)
    recipe = "mean_difference:1@source + mean_difference:2@generated*-0.5"
    files = {"sw": tmp_path / "sw.safetensors"}
    sequence = learn_all(llama, text, recipe, strengths=[0.5, 1.0], files=files)["sw"]
    assert isinstance(sequence, ChangeSequence)
    reading, writing = sequence.parts
    alone = learn(llama, text, method="mean_difference", layers=[1], strengths=[0.5, 1.0])
    assert isinstance(reading, SteeringVector)
    assert isinstance(alone, SteeringVector)
    assert torch.equal(reading.values, alone.values)
    assert (reading.strength, reading.positions) == (alone.strength, "source")
    assert (writing.layers, writing.strength, writing.positions) == ((2,), -0.5, "generated")
    assert sequence.scores["divergence"] == pytest.approx(alone.scores["divergence"], abs=1e-6)
    assert load(files["sw"]).describe() == sequence.describe()


def test_it_is_not_learned_again(
    llama: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, files = pairs(40), {"sw": tmp_path / "sw.safetensors"}
    for method in ("mean_difference:1*0.5+low_rank(steps=4):2*1", "projection"):
        learn_all(llama, text, method, files=files, overwrite=True)
        before = files["sw"].stat().st_mtime_ns
        learn_all(llama, text, method, files=files)
        assert files["sw"].stat().st_mtime_ns == before
    with pytest.raises(SaveError, match=r"made otherwise \(layers: the usual, and 1 now\)"):
        learn_all(llama, text, "projection", files=files, layers=[1])


def test_one_part_is_no_sequence(llama: Model) -> None:
    vector = learn(llama, pairs(), method="mean_difference:2@all*0.5")
    assert isinstance(vector, SteeringVector)
    assert (vector.layer, vector.strength, vector.positions) == (2, 0.5, "all")
    assert isinstance(fit(llama, pairs(), method="mean_difference:1+probe:2*2"), ChangeSequence)


def test_a_part_of_all_languages(llama: Model) -> None:
    text = three_languages(60)
    recipe = "recover:1*1 + mean_difference:2@source*0.5"
    recovered, difference = learn(llama, text, "et", recipe).parts
    assert recovered.options["languages"] == ["sw", "et", "tr", "en"]
    assert (difference.language, difference.layers, difference.strength) == ("et", (2,), 0.5)
    one, other = fit(llama, text, "et", recipe).parts
    assert one.options["languages"] == ["sw", "et", "tr", "en"]
    assert other.corpus["lines"] == 60


@pytest.mark.parametrize("method", ["projection", "projection_all", "low_rank"])
def test_maps_are_learned_like_vectors(method: str, llama: Model) -> None:
    more = {"steps": 4} if method == "low_rank" else {"ridges": (1.0,)}
    change = learn(llama, pairs(40), method=method, strengths=[0.5, 1.0], **more)
    assert change.method == method
    assert change.strength in (0.5, 1.0)
    assert change.layers == ((0, 1, 2, 3) if method == "projection_all" else change.layers)
    assert change.scores["divergence"] >= 0
