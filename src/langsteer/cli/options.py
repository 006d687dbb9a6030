"""What commands share: each option, spelt and explained once, and how results are printed."""

import importlib.resources
import json
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from langsteer.export.names import FORMATS as EXPORTS
from langsteer.fitting.names import METHODS
from langsteer.model.names import DTYPES, SHORT_DTYPES
from langsteer.plugins import entry_points

if TYPE_CHECKING:
    from langsteer.model.model import Model
    from langsteer.text.corpus import ParallelCorpus

BUILTIN = "builtin"
DEFAULT_MODEL = "gemma-3-270m"
OBJECTIVES = (
    "centred",
    "translation",
    "continuation",
    "contrastive",
    "fisher",
    "hidden",
    "output",
)
POSITIONS = ("source", "prompt", "generated", "all")
FITTED_AT = ("source", "prompt", "all")
MAPS = ("pca", "umap")
FORMS = ("english", "native")
SCORINGS = ("auto", "raw", "calibrated")

_MODEL_HELP = "Hub id, local folder, .gguf file, or gemma-3-270m / smollm2-135m."
_CORPUS_HELP = "builtin; a text, .tsv, .jsonl or .tmx file; a FLORES or NTREX folder; hf:ID."
_LONGEST_METAVAR = 20


def methods() -> list[str]:
    """Names of fitting methods: langsteer's, and those that other packages add."""
    return _with_plugins(METHODS, "langsteer.methods")


def benchmarks() -> list[str]:
    """Names of benchmarks: langsteer's, and those that other packages add."""
    own = _stems("evaluation/benchmarks/tasks", ".yaml")
    return _with_plugins(own, "langsteer.benchmarks")


def exports() -> list[str]:
    """Names of export formats: langsteer's, and those that other packages add."""
    return _with_plugins(EXPORTS, "langsteer.exports")


def _with_plugins(own: Iterable[str], group: str) -> list[str]:
    return list(dict.fromkeys([*own, *entry_points(group)]))


def corpus_languages() -> list[str]:
    """Tags of the built-in corpus."""
    return _stems("data/corpus", ".jsonl")


def _stems(folder: str, ending: str) -> list[str]:
    """The names of a folder's files of one kind, without their ending."""
    files = importlib.resources.files("langsteer").joinpath(folder).iterdir()
    return sorted(f.name.removesuffix(ending) for f in files if f.name.endswith(ending))


def one_of(
    names: Callable[[], Sequence[str]],
    *spellings: str,
    help: str,
    short: dict[str, str] | None = None,
    **settings: Any,
) -> Any:
    """An option that takes one of `names`, or a `short` name of one, and completes them."""

    def check(value: str | None) -> str | None:
        value = (short or {}).get(value or "", value)
        if value is not None and value not in names():
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(names())}.")
        return value

    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    listed_names = "|".join(names())
    metavar = f"<{listed_names}>" if len(listed_names) <= _LONGEST_METAVAR else "<name>"
    return typer.Option(
        *spellings, help=help, callback=check, autocompletion=complete, metavar=metavar, **settings
    )


def _completing_list(names: Callable[[], Sequence[str]]) -> Callable[[str], list[str]]:
    """Completion of the last of several names with commas."""

    def complete(incomplete: str) -> list[str]:
        before, comma, _ = incomplete.rpartition(",")
        there = before.split(",")
        return [f"{before}{comma}{name}" for name in names() if name not in there]

    return complete


def languages(help: str, **settings: Any) -> Any:
    """`--language`: tags, with commas or several times."""
    completion = _completing_list(corpus_languages)
    return typer.Option(
        "--language", "-l", metavar="<tags>", help=help, autocompletion=completion, **settings
    )


def language(help: str) -> Any:
    """`--language`, where it is one."""
    return typer.Option(
        "--language", "-l", metavar="<tag>", help=help, autocompletion=corpus_languages
    )


def tasks(help: str) -> Any:
    """`--tasks`: benchmarks, or tasks of the harness, with commas or several times."""
    return typer.Option(
        "--tasks", "-t", metavar="<names>", help=help, autocompletion=_completing_list(benchmarks)
    )


def task(spelling: str, help: str, **settings: Any) -> Any:
    """`--on`, `--for`: a benchmark, or a file of items."""
    return typer.Option(
        spelling, metavar="<name>", help=help, autocompletion=lambda: benchmarks(), **settings
    )


def vectors(help: str) -> Any:
    """`--vectors`: files, or folders of them; several times."""
    return typer.Option("--vectors", "-v", metavar="<path>", help=help)


def output(help: str, metavar: str = "<path>") -> Any:
    """`--output`: where results go."""
    return typer.Option("--output", "-o", metavar=metavar, help=help)


def lines(least: int | None = None, more: str = "") -> Any:
    """`--lines`: how many lines of the corpus are read."""
    help = f"Read so many lines, evenly spread{more}."
    return typer.Option("--lines", "-n", min=least, help=help)


def limit(least: int) -> Any:
    """`--limit`: how many items are asked."""
    return typer.Option("--limit", min=least, help="Ask so many items only, for a quick look.")


def positions(help: str, kinds: Sequence[str] = POSITIONS, **settings: Any) -> Any:
    """`--positions`: which tokens a change acts on."""
    return one_of(lambda: kinds, "--positions", help=help, **settings)


def data(help: str) -> Any:
    """`--data`: data sets, or records."""
    return typer.Option("--data", "-d", metavar="<path>", help=help)


def layer(help: str) -> Any:
    """`--layer`: of the model, counted from 0."""
    return typer.Option("--layer", help=help)


def model(help: str = _MODEL_HELP) -> Any:
    """`--model`."""
    return typer.Option(
        "--model", "-m", help=help, autocompletion=lambda: [DEFAULT_MODEL, "smollm2-135m"]
    )


def corpus(help: str = _CORPUS_HELP) -> Any:
    """`--corpus`."""
    return typer.Option("--corpus", "-c", help=help)


def strength(help: str, **settings: Any) -> Any:
    """`--strength`: what multiplies a vector."""
    return typer.Option("--strength", help=help, **settings)


Benchmarks = Annotated[
    list[Path] | None,
    typer.Option(
        "--benchmarks",
        metavar="<path>",
        help="A YAML file with a benchmark of one's own, or a folder; may repeat.",
    ),
]
EnglishItems = Annotated[
    Path | None,
    typer.Option(
        "--english", metavar="<file>", help="The English of the items of a file, line by line."
    ),
]
Score = Annotated[
    str,
    one_of(
        lambda: SCORINGS,
        "--score",
        help="Scores of choices: raw, calibrated, or auto: calibrated where all items have the same.",
    ),
]
ModelName = Annotated[str, model()]
ModelArgument = Annotated[str, typer.Argument(help=_MODEL_HELP)]
OldModelArgument = Annotated[str | None, typer.Argument(hidden=True)]
Dtype = Annotated[
    str,
    one_of(
        lambda: DTYPES,
        "--dtype",
        help="float32, bfloat16, float16 (fp32, bf16, fp16 for short), or auto.",
        short=SHORT_DTYPES,
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="Device, such as cpu, gpu or cuda:0.")]
DeviceMap = Annotated[
    str | None,
    typer.Option(
        "--device-map", help="transformers' device_map, such as auto, for several devices."
    ),
]
LlamaServer = Annotated[
    Path | None,
    typer.Option(
        "--llama-server",
        metavar="<path>",
        envvar="LLAMA_CPP",
        help="llama.cpp's program llama-server, or its folder; else the one on the path.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Strength = Annotated[float | None, strength("Strength, instead of the vector's own.")]
Corpus = Annotated[str, corpus()]
Pivot = Annotated[
    str, typer.Option("--pivot", help="The language to align to, or to compare with.")
]
PivotFile = Annotated[
    Path | None,
    typer.Option("--pivot-file", help="The translations of a text file, line by line."),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split", help="Split of a hub data set [train] or of FLORES [dev].", show_default=False
    ),
]
Carry = Annotated[
    bool,
    typer.Option(
        "--carry",
        help="Use a vector of the model that this one was tuned from, or of another like it.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of what is drawn at random.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Write in place of what the output already holds.")
]
Method = Annotated[
    str, one_of(methods, "--method", help=f"How to learn: one of {', '.join(methods())}.")
]


def named_model(option: str, argument: str | None) -> str:
    """The model, also where it was named without --model, as it used to be."""
    if argument is None:
        return option
    print("langsteer: the model is named with --model now", file=sys.stderr)
    return argument


def listed(texts: Iterable[str] | None) -> list[str]:
    """What stands between commas in an option that was given once or several times."""
    parts = (part.strip() for text in texts or () for part in text.split(","))
    return [part for part in parts if part]


def quiet_libraries() -> None:
    """Let libraries speak only of errors: progress and results are langsteer's to print."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in ("lm_eval", "datasets", "httpx", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)


def open_model(name: str, dtype: str, device: str | None, device_map: str | None) -> "Model":
    """The model that the shared options name."""
    from langsteer.model.opening import load_model

    quiet_libraries()
    return load_model(name, dtype=dtype, device=device, device_map=device_map)


def console(stderr: bool = False) -> Console:
    """Where results are printed: as they are, without markup, and unbroken but on a terminal."""
    wraps = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=not wraps)


def print_json(value: Any) -> None:
    """JSON in UTF-8; in ASCII where the output takes no more."""
    whole = "utf" in (getattr(sys.stdout, "encoding", None) or "").lower()
    typer.echo(json.dumps(value, indent=2, ensure_ascii=not whole))


def print_checks(text: "ParallelCorpus") -> None:
    """Say on standard error which lines were left out, and what could not be checked."""
    from langsteer.text.identify import available

    for reason, count in text.dropped.items():
        typer.echo(f"{text.name}: left out {count} lines: {reason}", err=True)
    if text.unidentified:
        install = "" if available() else " (pip install 'langsteer[langid]')"
        typer.echo(
            f"{text.name}: lines in {', '.join(text.unidentified)} were checked for their "
            f"script, not for their language{install}",
            err=True,
        )
