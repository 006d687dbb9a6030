"""What is asked of a fit, known before a model is opened, and whether a vector that is there was made so."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langsteer.errors import FitError, VectorError
from langsteer.fitting.descent import DescentOptions
from langsteer.fitting.options import Method, Options
from langsteer.fitting.search import check_strengths
from langsteer.steering.change import Change
from langsteer.steering.folder import load
from langsteer.storage.files import check_replaceable, check_writable
from langsteer.storage.kept import Difference, as_kept, first_difference
from langsteer.text.corpus import ParallelCorpus

SHARES: dict[str, Any] = {
    "fit": 0.8,
    "choose": 0.2,
    "report": 0.0,
}  # of a corpus that does not come split
TOGETHER_STEPS = 400  # of all languages, where one alone has 100


class Asked:
    """A method with its options, on a corpus cut into what it is fitted on and what it is chosen on."""

    def __init__(
        self,
        corpus: ParallelCorpus,
        method: Method,
        layers: Sequence[int],
        strengths: Sequence[float] | None,
        options: Mapping[str, Any],
        together: bool = False,
        whole: ParallelCorpus | None = None,
    ) -> None:
        self.corpus, self.method = corpus, method
        more = together and issubclass(method.options or Options, DescentOptions)
        self.options = method.make_options(
            {"steps": TOGETHER_STEPS, **options} if more else options
        )
        usual = self.options.usual_strengths
        self.strengths = list(usual if strengths is None else strengths)
        check_strengths(self.strengths)
        self.layers = list(dict.fromkeys(layers))
        self.given = None if strengths is None else list(strengths)
        self.saved_options = as_kept(asdict(self.options))
        self.record = as_kept(
            {
                "method": method.name,
                "layers": self.layers,
                "strengths": self.given,
                "options": self.saved_options,
            }
        )
        parts = corpus.split(**SHARES)
        self.to_fit, self.to_choose = parts["fit"], parts["choose"]
        self.whole: ParallelCorpus | None = None
        if method.all_languages:
            self.whole = corpus if whole is None else whole
            self.record["whole"] = self.whole.split(**SHARES)["fit"].describe()
        if together and method.learn is not None:
            raise FitError(f"{method.name} is not learned from several languages together")
        self.mixed = self._mixed() if together else None

    def fitted_on(self, language: str) -> ParallelCorpus:
        return self.mixed if self.mixed is not None else self.to_fit.only(language)

    def _mixed(self) -> ParallelCorpus:
        """Pairs of all languages: as many as are learned from, where the method learns from some."""
        most = self.options.pairs if isinstance(self.options, DescentOptions) else None
        return self.to_fit.mixed(most, self.options.seed)

    def difference(
        self, vector: Change, language: str, layers: Sequence[int] = ()
    ) -> Difference | None:
        """What a vector was made from that is asked for otherwise, the model apart.

        `layers` are those that are tried, where no model is needed to say which.
        """
        if vector.language != language:
            return Difference("language", language, vector.language)
        method = vector.scores.get("asked", {}).get("method", vector.method)
        if method != self.method.name:
            return Difference("method", self.method.name, method)
        corpus = self.fitted_on(language).describe()
        if (other := first_difference(corpus, vector.corpus)) is not None:
            return Difference("corpus", _of_corpus(corpus, other), _of_corpus(vector.corpus, other))
        if "asked" in vector.scores:
            return self._other_request(vector.scores["asked"])
        return self._other_choice(vector, language, layers)

    def _other_request(self, asked: Mapping[str, Any]) -> Difference | None:
        options = asked.get("options")
        return (
            _of_option(self.saved_options, options)
            or first_difference(self.record, asked)
            or first_difference(asked, self.record)
        )

    def _other_choice(
        self, vector: Change, language: str, layers: Sequence[int]
    ) -> Difference | None:
        """What differs of how layer and strength were chosen; without layers, of the strengths."""
        unlike_layer = {"layer": None}
        options = _of_option(self.saved_options | unlike_layer, vector.options | unlike_layer)
        if options is not None:
            return options
        held_out = self.to_choose.only(language).describe()
        chosen_on = vector.scores.get("chosen_on")
        if chosen_on != held_out:
            return Difference("lines to choose on", _told(held_out), _told(chosen_on))
        trials = [(t.get("layer"), t.get("strength")) for t in vector.scores.get("trials", ())]
        layers = list(layers) or self.layers or _each(layer for layer, _ in trials)
        if trials != [(layer, strength) for layer in layers for strength in self.strengths]:
            wanted = {"layers": layers, "strengths": self.strengths}
            made = {"layers": _each(t[0] for t in trials), "strengths": _each(t[1] for t in trials)}
            return first_difference(wanted, made) or Difference("trials", layers, trials)
        return None

    def check_kept(self, files: Mapping[str, Path], overwrite: bool = False) -> None:
        """Raise SaveError where a file cannot be written, or holds what was made otherwise.

        `files` is by language. With `overwrite` what is there may be anything.
        """
        for language, file in files.items():
            check_writable(file)
            if language not in self.corpus.languages:
                continue

            def refusal(path: Path, language: str = language) -> str | None:
                try:
                    vector = load(path)
                except VectorError:
                    return "holds no vector that can be read"
                return made_otherwise(self.difference(vector, language))

            check_replaceable(file, refusal, overwrite)


def made_otherwise(difference: Difference | None) -> str | None:
    """What forbids that a vector be replaced, in the words of `check_replaceable`."""
    if difference is None:
        return None
    key, wanted, made = difference.key, difference.wanted, difference.made
    return f"holds a vector that was made otherwise ({key}: {_told(made)}, and {_told(wanted)} now)"


def _of_option(wanted: Mapping[str, Any], made: Any) -> Difference | None:
    record = made if isinstance(made, Mapping) else {}
    other = first_difference(wanted, record) or first_difference(record, wanted)
    if other is None:
        return None
    return Difference(f"option {other.key}", wanted.get(other.key), record.get(other.key))


def _of_corpus(corpus: Mapping[str, Any], difference: Difference) -> str:
    """A corpus by its name and its lines; where these are not what differs, by that too."""
    told = f"{corpus.get('name')}, {corpus.get('lines')} lines"
    known = difference.key in ("name", "lines")
    return told if known else f"{told}, {difference.key} {_told(corpus.get(difference.key))}"


def _each(values: Any) -> list[Any]:
    return list(dict.fromkeys(values))


def _told(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        value = f"{value.get('name')}, {value.get('lines')} lines"
    if isinstance(value, list):
        value = ", ".join(map(str, value)) or "the usual"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
