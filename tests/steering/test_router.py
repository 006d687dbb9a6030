import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from langsteer.errors import FitError, VectorError
from langsteer.fitting.learning import fit
from langsteer.fitting.router import _widened, fit_router
from langsteer.model.model import Model
from langsteer.model.tokens import Conversation, Prompt
from langsteer.steering.change import steer
from langsteer.steering.files import ROUTER_NAME
from langsteer.steering.folder import read_vectors
from langsteer.steering.generation import generate
from langsteer.steering.router import Bounds, Router, read_router
from langsteer.steering.steered import Steered
from langsteer.text.corpus import builtin
from langsteer.text.identify import Identified
from langsteer.text.languages import UNDETERMINED
from tests.helpers import ARCHITECTURES, build_model, tiny, vector_at

LETTERS = {"sw": "abcde", "tr": "fghij", "en": "klmno"}


def texts(lines: int = 30, start: int = 0) -> dict[str, list[str]]:
    """Each language has letters of its own."""
    return {
        tag: [
            "".join(own[(i * k + k // 2) % 5] for k in range(1, 25))
            for i in range(start + 1, start + lines + 1)
        ]
        for tag, own in LETTERS.items()
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_languages_that_differ_are_told_apart(architecture: str) -> None:
    model = tiny(architecture)
    router = fit_router(model, texts(), with_builtin=False)
    asked = texts(4, start=40)
    for tag, lines in asked.items():
        assert [found.language for found in router.identify(model, lines)] == [tag] * 4
        assert [found.language for found in router.identify(model, [lines[0][:6]])] == [tag]


def test_what_is_around_a_text_is_not_read(llama: Model) -> None:
    router = fit_router(llama, texts(), with_builtin=False)
    line = texts(1, start=40)["sw"][0]
    around = Prompt(line, "klmno klmno klmno ", " klmno")
    in_turns = Conversation(("klmno ", line, " klmno"))
    (alone,) = router.identify(llama, [line])
    assert router.identify(llama, [around, " ", in_turns, Prompt("", "klmno")]) == [
        alone, Identified(UNDETERMINED, 0.0), alone, Identified(UNDETERMINED, 0.0),
    ]  # fmt: skip
    assert router.identify(llama, [""]) == [Identified(UNDETERMINED, 0.0)]


def test_two_languages_are_enough(llama: Model) -> None:
    two = {tag: lines for tag, lines in texts().items() if tag != "tr"}
    router = fit_router(llama, two, with_builtin=False)
    assert [f.language for f in router.identify(llama, ["abcdeabc", "klmnoklm"])] == ["sw", "en"]


def test_text_in_the_pivot_is_left_alone(llama: Model) -> None:
    router = fit_router(llama, texts(), with_builtin=False)
    corpus = builtin("sw").lines(range(24))
    vectors = {"sw": replace(fit(llama, corpus, layer=1), strength=4.0)}
    prompts = ["abcdeabcdeabcde", "klmnoklmnoklmno", "fghijfghijfghij"]
    chosen = Steered(llama, vectors, router, confidence=0.5).route(prompts)
    assert chosen == [vectors["sw"], None, None]  # there is no vector for Turkish
    assert Steered(llama, vectors, router, confidence=1.1).route(prompts[:1]) == [None]
    apart = [generate(llama, [p], max_new_tokens=8)[0] for p in prompts]
    together = generate(llama, prompts, chosen, max_new_tokens=8)
    assert together[1:] == apart[1:]
    ids = llama.batch([llama.tokenizer(p)["input_ids"] for p in prompts])
    with torch.no_grad():
        plain = llama.network(**ids).logits
        with steer(llama, chosen):
            steered = llama.network(**ids).logits
    assert torch.equal(steered[1:], plain[1:])
    assert not torch.equal(steered[0], plain[0])


def test_a_router_is_kept_whole(llama: Model, tmp_path: Path) -> None:
    router = fit_router(llama, texts(), with_builtin=False)
    fit(llama, builtin("sw").lines(range(24)), layer=1).save(tmp_path / "sw.safetensors")
    with pytest.raises(VectorError, match=r"no router\.safetensors in"):
        read_router(tmp_path)
    router.save(tmp_path / ROUTER_NAME)
    found = read_router(tmp_path)
    assert list(read_vectors(tmp_path)) == ["sw"]
    asked = texts(2, start=40)["tr"]
    assert found.identify(llama, asked) == router.identify(llama, asked)
    assert (found.languages, found.pivot, found.layer) == (("sw", "tr", "en"), "en", router.layer)
    with pytest.raises(VectorError, match="not a langsteer router"):
        Router.load(tmp_path / "sw.safetensors")
    (tmp_path / ROUTER_NAME).write_bytes((tmp_path / ROUTER_NAME).read_bytes()[:200])
    with pytest.raises(VectorError, match="truncated"):
        read_router(tmp_path)


def test_it_is_only_as_sure_as_it_is_right(llama: Model) -> None:
    """Lines of two languages that share half of their letters, told by few tokens."""
    draw = torch.Generator().manual_seed(0)

    def lines(letters: str) -> list[str]:
        return [
            "".join(letters[i] for i in torch.randint(len(letters), (20,), generator=draw))
            for _ in range(100)
        ]

    router = fit_router(
        llama, {"sw": lines("abcdefgh"), "en": lines("efghijkl")}, with_builtin=False
    )
    for words in (1, 3, 20):
        asked = [
            (line[:words], tag)
            for tag in ("sw", "en")
            for line in lines("abcdefgh" if tag == "sw" else "efghijkl")
        ]
        found = router.identify(llama, [text for text, _ in asked])
        right = sum(f.language == tag for f, (_, tag) in zip(found, asked, strict=True)) / 200
        sure = sum(f.confidence for f in found) / 200
        assert abs(right - sure) < 0.15


SEVEN = {
    "sw": "abcd", "tr": "efgh", "en": "ijkl", "de": "mnop", "et": "qrst", "it": "uvwx", "fr": "yzAB",
}  # fmt: skip
UNSEEN = ("CDEF", "GHIJ", "0123", "αβγδ")


def drawn(letters: str, count: int, seed: int = 0) -> list[str]:
    draw = torch.Generator().manual_seed(seed + sum(map(ord, letters)))
    return [
        "".join(letters[i] for i in torch.randint(len(letters), (24,), generator=draw))
        for _ in range(count)
    ]


def test_a_language_that_it_was_not_shown_is_not_steered(llama: Model, tmp_path: Path) -> None:
    shown = {tag: drawn(letters, 40) for tag, letters in SEVEN.items()}
    router = fit_router(llama, shown, with_builtin=False)
    assert router.bounds is not None
    free = replace(router, bounds=None)  # as in files of before
    unseen = [text for letters in UNSEEN for text in drawn(letters, 10)]
    assert {f.language for f in free.identify(llama, unseen)} <= set(SEVEN)
    told = [f.language for f in router.identify(llama, unseen)]
    assert told.count(UNDETERMINED) > 0.8 * len(told)
    changes = {tag: vector_at(llama, 1) for tag in SEVEN}
    assert router.choose(Identified(UNDETERMINED, 0.0), changes, 0.0) is None
    seen = [(text, tag) for tag, own in SEVEN.items() for text in drawn(own, 10, seed=1)]
    told = [f.language for f in router.identify(llama, [text for text, _ in seen])]
    assert sum(a == b for a, (_, b) in zip(told, seen, strict=True)) > 0.85 * len(seen)
    router.save(tmp_path / "a")
    free.save(tmp_path / "b")
    loaded, old = Router.load(tmp_path / "a"), Router.load(tmp_path / "b")
    assert old.bounds is None
    assert loaded.identify(llama, unseen) == router.identify(llama, unseen)
    assert old.identify(llama, unseen) == free.identify(llama, unseen)


def test_languages_of_files_of_before_have_the_tags_of_today(llama: Model, tmp_path: Path) -> None:
    """Norwegian was `no` where a file said so, and is `nb`."""
    lines = {{"sw": "no"}.get(tag, tag): own for tag, own in texts().items()}
    router = fit_router(llama, lines, with_builtin=False)
    router.save(tmp_path / ROUTER_NAME)
    replace(vector_at(llama, 1), language="no").save(tmp_path / "v.safetensors")
    found, vectors = read_router(tmp_path), read_vectors(tmp_path)
    assert (found.languages, list(vectors)) == (("nb", "tr", "en"), ["nb"])
    told = found.identify(llama, texts(1, start=40)["sw"])[0]
    assert found.choose(told, vectors, 0.0) is vectors["nb"]
    assert Steered(llama, vectors, found).route(["x"], "no") == [vectors["nb"]]


def test_few_languages_leave_none_out(llama: Model) -> None:
    assert fit_router(llama, texts(), with_builtin=False).bounds is None


def test_longer_texts_must_lie_nearer() -> None:
    bounds = Bounds(torch.zeros(1, 4), torch.zeros(2, 1), torch.tensor([8.0, 6.0, 4.0, 2.0, 1.0]))
    tokens = torch.tensor([0, 1, 2, 3, 4, 8, 12, 16, 500])
    allowed = [8.0, 8.0, 8.0, 8 - 2 * math.log2(1.5), 6.0, 4.0, 4 - 2 * math.log2(1.5), 2.0, 1.0]
    assert bounds.allowed(tokens).tolist() == pytest.approx(allowed)


def test_longer_texts_have_bounds_wider_than_what_parts_most() -> None:
    assert _widened([8.0, 6.0, 4.0, 2.0, 3.0]).tolist() == pytest.approx([8, 6, 4, 2.1, 2.1])
    assert _widened([3.0, 6.0, 4.0, 2.1, 1.0]).tolist() == pytest.approx([3, 3, 3, 2.205, 1.15])


def test_bounds_of_other_languages() -> None:
    weight, bias, temperatures = torch.zeros(2, 4), torch.zeros(2), torch.ones(4)
    bounds = Bounds(torch.zeros(1, 4), torch.zeros(3, 1), torch.ones(5))
    with pytest.raises(VectorError, match="bounds and its languages"):
        Router(weight, bias, temperatures, ("sw", "en"), "en", 0, {}, bounds=bounds)


def test_bad_requests(llama: Model) -> None:
    with pytest.raises(FitError, match="sw has 5 lines"):
        fit_router(llama, texts(5), with_builtin=False)
    with pytest.raises(FitError, match="tells languages from en"):
        fit_router(llama, {"sw": texts()["sw"], "tr": texts()["tr"]}, with_builtin=False)
    other = build_model("llama", hidden_size=64)
    with pytest.raises(VectorError, match="this router was fitted on"):
        fit_router(llama, texts(), with_builtin=False).identify(other, ["abc"])
    with pytest.raises(VectorError, match="do not agree"):
        Router(torch.zeros(2, 4), torch.zeros(3), torch.ones(4), ("sw", "en"), "en", 0, {})


def test_the_real_model_tells_languages_apart(gemma: Model) -> None:
    corpus = builtin("sw", "de")
    router = fit_router(gemma, corpus.texts, most=30, with_builtin=False)
    asked = ["Jua linatua nyuma ya milima.", "Die Sonne geht unter.", "The sun sets.", "Habari"]
    found = router.identify(gemma, asked)
    assert [f.language for f in found] == ["sw", "de", "en", "sw"]
