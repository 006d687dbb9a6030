"""What of a comparison can be refused before anything is run, beyond what its configuration says by itself."""

from pathlib import Path

from langsteer.errors import ConfigError, ModelError
from langsteer.evaluation.comparison.asked import form_asked
from langsteer.evaluation.comparison.configuration import Comparison
from langsteer.model.devices import named_dtype
from langsteer.text.corpus import BUILTIN


def check_runnable(wanted: Comparison, here: bool) -> None:
    """Raise ConfigError for an output that is a file, a form that a benchmark lacks or a data type that is
    none; where the work is done `here`, also for data and parallel text that are not here.
    """
    if wanted.output.is_file():
        raise ConfigError(f"output is {wanted.output}, a file: name a folder for the results")
    try:
        named_dtype(wanted.dtype)
    except ModelError as error:
        raise ConfigError(f"dtype: {error}") from error
    for chosen in wanted.benchmarks:
        _check_form(wanted, chosen.name)
    if here:
        _check_here(wanted)


def _check_form(wanted: Comparison, name: str) -> None:
    form = form_asked(wanted, name)
    known = {
        f: None for tag in wanted.languages_of(name) for f in wanted.benchmark(name).forms_of(tag)
    }
    if form is not None and form not in known:
        raise ConfigError(
            f"{name} has no form {form!r} in these languages: it has {', '.join(known)}"
        )


def _check_here(wanted: Comparison) -> None:
    if wanted.data is not None and not wanted.data.is_dir():
        raise ConfigError(f"data: there is no folder {wanted.data}")
    text = wanted.corpus.path
    if text != BUILTIN and not text.startswith("hf:") and not Path(text).exists():
        raise ConfigError(f"corpus: there is no file or folder {text}")
