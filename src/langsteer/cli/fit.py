"""langsteer fit"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from langsteer.cli import options as shared
from langsteer.cli.inspect import print_vector
from langsteer.cli.working import Jobs, On, learn_there, shared_workers
from langsteer.errors import LanguageError, SaveError
from langsteer.fitting.names import DEFAULT_METHOD

if TYPE_CHECKING:
    from langsteer.steering.change import Change
    from langsteer.text.corpus import ParallelCorpus

FEW = 100  # pairs
BUDGET = 15.0  # minutes
ANSWERS = "answers"  # what --for takes beside benchmarks and files


def command(
    languages: Annotated[
        list[str], shared.languages("BCP 47 tag, such as sw; several with commas, or one by one.")
    ],
    output: Annotated[
        str,
        shared.output("The vector's file; for several languages, or ending in /, a folder."),
    ],
    corpus: shared.Corpus = shared.BUILTIN,
    pivot_file: shared.PivotFile = None,
    split: shared.Split = None,
    pivot: shared.Pivot = "en",
    lines: Annotated[
        int | None, shared.lines(2, "; those to choose and report on count too")
    ] = None,
    model: shared.ModelName = shared.DEFAULT_MODEL,
    method: shared.Method = DEFAULT_METHOD,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="<parts>",
            help="In place of --method, several parts, joined by +, each "
            "METHOD:LAYER@POSITIONS*STRENGTH, of which all but the method may be left out.",
        ),
    ] = None,
    objective: Annotated[
        str | None,
        shared.one_of(
            lambda: shared.OBJECTIVES,
            "--objective",
            help="What learned lowers: centred, for questions about the text; translation, for "
            "translating it; continuation, contrastive, fisher, hidden or output. "
            "[default: centred]",
            show_default=False,
        ),
    ] = None,
    positions: Annotated[
        str | None,
        shared.positions(
            "Where it is to act, and is learned for: source, at the text; prompt, at the template "
            "too; all. [default: learned at the text, and centred acts at the prompt]",
            shared.FITTED_AT,
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        list[int] | None, shared.layer("Layer; several times to choose among several.")
    ] = None,
    strength: Annotated[
        list[float] | None,
        shared.strength(
            "Strength; several times to choose among several. [default: 0.75 for centred, else "
            "0.25, 0.5, 0.75 and 1]",
            show_default=False,
        ),
    ] = None,
    together: Annotated[
        bool,
        typer.Option(
            "--together", help="Learn one vector from all the languages, in the time of four."
        ),
    ] = False,
    router: Annotated[
        bool,
        typer.Option(
            "--router",
            help="Also make the folder's router.safetensors, which tells its languages apart.",
        ),
    ] = False,
    task: Annotated[
        str | None,
        shared.task(
            "--for",
            "Search for the recipe that is best for a benchmark, or for a file of items; answers: for "
            "answers in the language.",
        ),
    ] = None,
    budget: Annotated[
        float,
        typer.Option("--budget", min=0.01, help="Minutes that --for may take, for a language."),
    ] = BUDGET,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="With --for, write the best also where it is no better than nothing."
        ),
    ] = False,
    vectors: Annotated[
        list[Path] | None,
        shared.vectors("With --for, vectors of other languages, to average; several times."),
    ] = None,
    data: Annotated[
        Path | None, shared.data("With --for, folder with the data sets as published.")
    ] = None,
    english: shared.EnglishItems = None,
    form: Annotated[
        str | None,
        shared.one_of(lambda: shared.FORMS, "--form", help="With --for, form of the prompt."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            help="With --for answers, a file with prompts to be answered: one a line, or JSON lines.",
        ),
    ] = None,
    limit: Annotated[int | None, shared.limit(least=16)] = None,
    scoring: shared.Score = "auto",
    benchmarks: shared.Benchmarks = None,
    seed: shared.Seed = 0,
    overwrite: shared.Overwrite = False,
    dtype: shared.Dtype = "auto",
    device: shared.Device = None,
    device_map: shared.DeviceMap = None,
    jobs: Jobs = None,
    on: On = None,
    gpus: Annotated[
        float, typer.Option("--gpus", min=0, help="With --on, GPUs that each process takes.")
    ] = 0.0,
    as_json: shared.Json = False,
) -> None:
    """Learn a steering vector from parallel text and choose its layer and strength.

    Example: `langsteer fit -l sw -o sw.safetensors`

    Several languages, reading the English once: `langsteer fit -l sw,hi,el -o vectors/`

    One vector for them all, in the time that four take: `langsteer fit -l sw,hi,el -o vectors/ --together`

    And what tells them apart, so that each text gets the vector of its language: `langsteer fit -l sw,hi,el -o vectors/ --router`

    To translate what is read: `langsteer fit -l sw --objective translation -o translate.safetensors`

    Read towards English, and answer in the language: `langsteer fit -l sw --recipe "learned + mean_difference@generated*-0.5" -o sw.safetensors`

    Your own text: `langsteer fit -l sw -c my.sw --pivot-file my.en -m google/gemma-3-1b-pt -o sw.safetensors`

    What is best for a task of yours, on items of it, if anything is: `langsteer fit -l id --for items.jsonl --budget 15 -o id.safetensors`

    What makes it answer in the language, if anything does: `langsteer fit -l el --for answers -o el-answers.safetensors`

    Forty languages every night, on a Ray cluster: `langsteer fit -l sw,hi,el -o vectors/ --on ray --gpus 1`

    An interrupted fit goes on where it stopped when the same command is run again.
    """
    from langsteer.cli.answers import answers_for
    from langsteer.cli.recipes import search_for
    from langsteer.cli.refusals import (
        check_asked,
        check_router,
        refuse_beside_search,
        refuse_by_task,
    )
    from langsteer.diagnosis.task import read_task
    from langsteer.fitting.learning import learn_all, method_of
    from langsteer.fitting.router import fit_router
    from langsteer.fitting.search import check_strengths
    from langsteer.steering.files import ROUTER_NAME
    from langsteer.storage.files import check_writable
    from langsteer.text.languages import language_name, parse_tag
    from langsteer.text.readers import read_corpus

    tags = list(dict.fromkeys(map(parse_tag, shared.listed(languages))))
    if not tags:
        raise LanguageError("name a language, such as --language sw")
    if parse_tag(pivot) in tags:
        raise LanguageError(
            f"{language_name(pivot)} ({parse_tag(pivot)}) is the pivot, which other languages are "
            "aligned to: name others, or another pivot (--pivot)"
        )
    text = read_corpus(corpus, tags, pivot=pivot, pivot_file=pivot_file, split=split).some(lines)
    shared.print_checks(text)
    files = _files(text.languages, output)
    for file in files.values():
        check_writable(file)
    refuse_beside_search(
        task is not None,
        {
            "--recipe": recipe,
            "--objective": objective,
            "--positions": positions,
            "--layer": layer,
            "--strength": strength,
            "--together": together,
            "--router": router,
            "--method": method != DEFAULT_METHOD,
            "--jobs": jobs,
            "--on": on,
            "--gpus": gpus,
        },
        {
            "--anyway": anyway,
            "--vectors": vectors,
            "--data": data,
            "--english": english,
            "--form": form,
            "--limit": limit,
            "--prompts": prompts,
            "--benchmarks": benchmarks,
            "--budget": budget != BUDGET,
            "--score": scoring != "auto",
        },
    )
    refuse_by_task(
        task == ANSWERS,
        {"--data": data, "--english": english, "--form": form, "--vectors": vectors},
        {"--prompts": prompts},
    )
    if task == ANSWERS:
        answers_for(
            lambda: shared.open_model(model, dtype, device, device_map),
            text,
            files,
            budget=budget,
            prompts=prompts,
            limit=limit,
            seed=seed,
            overwrite=overwrite,
            anyway=anyway,
            as_json=as_json,
        )
        return
    if task is not None:
        reading = {"english": english, "data": data, "form": form, "seed": seed}
        search_for(
            lambda: shared.open_model(model, dtype, device, device_map),
            {
                tag: read_task(task, tag, benchmark_files=benchmarks or (), **reading)  # type: ignore[arg-type]
                for tag in text.languages
            },
            text,
            files,
            budget=budget,
            vectors=vectors or (),
            scoring=scoring,
            limit=limit,
            seed=seed,
            overwrite=overwrite,
            anyway=anyway,
            as_json=as_json,
        )
        return
    chosen = method_of(recipe or method)  # what cannot be learned is said before a model is opened
    check_strengths(strength or [1.0])
    if router and not Path(output).is_dir() and not output.endswith("/"):
        raise SaveError(f"a router lies in a folder of vectors: write --output {output}/")
    options: dict[str, Any] = {
        "layers": layer or (),
        "strengths": strength or None,
        "overwrite": overwrite,
        "together": together,
        "seed": seed,
        **({"objective": objective} if objective else {}),
        **({"positions": positions} if positions else {}),
    }
    router_file = Path(output) / ROUTER_NAME if router else None
    if router_file is not None:
        check_router(router_file, overwrite)
    workers = shared_workers(next(iter(files.values())).parent, jobs, on)
    failed = 0
    if workers is not None:
        place = {"name": model, "dtype": dtype, "device": device, "device_map": device_map}
        learned, failed = learn_there(
            workers, place, gpus, text, files, recipe or method, router_file, options
        )
    else:
        check_asked(model, text, chosen, files, options)
        opened = shared.open_model(model, dtype, device, device_map)
        learned = learn_all(opened, text, recipe or method, files=files, **options)
        if router_file is not None:
            fit_router(opened, text.texts, text.pivot).save(router_file)
    if learned:
        _print_learned(learned, files, text, output, together, as_json)
    if failed:
        raise typer.Exit(1)


def _print_learned(
    learned: "Mapping[str, Change]",
    files: Mapping[str, Path],
    text: "ParallelCorpus",
    output: str,
    together: bool,
    as_json: bool,
) -> None:
    if as_json:
        told = [{"file": str(files[tag]), **learned[tag].describe()} for tag in learned]
        shared.print_json(told if len(told) > 1 else told[0])
        return
    if len(learned) == 1:
        ((tag, vector),) = learned.items()
        print_vector(vector, str(files[tag]))
    else:
        shared.console().print(_table(learned, output))
    _print_unhelpful(learned)
    tag, first = next(iter(learned.items()))
    if first.options.get("objective") == "centred" and not together and len(text) < FEW:
        _print_few(len(text), tag, files[tag])


def _print_few(lines: int, tag: str, file: Path) -> None:
    typer.echo(
        f"{lines} pairs are few: with vectors of other languages beside it, {tag}'s does better: "
        f"langsteer average FOLDER -l {tag} --own {file} -o {tag}-helped.safetensors",
        err=True,
    )


def _files(tags: Sequence[str], output: str) -> dict[str, Path]:
    folder = Path(output)
    if len(tags) > 1 and folder.suffix == ".safetensors" and not folder.is_dir():
        raise SaveError(
            f"{output} would be a folder for {len(tags)} languages: name it without .safetensors"
        )
    if len(tags) == 1 and not output.endswith("/") and not folder.is_dir():
        return {tags[0]: folder}
    return {tag: folder / f"{tag}.safetensors" for tag in tags}


def _table(vectors: "Mapping[str, Change]", folder: str) -> Table:
    from langsteer.text.languages import language_name

    any_vector = next(iter(vectors.values()))
    title = f"{folder}: {any_vector.method}, {any_vector.model.get('name')}"
    table = Table(title=title, title_justify="left")
    for name in ("language", "layer", "strength", "of the states", "divergence from English"):
        table.add_column(name, justify="left" if name == "language" else "right")
    for tag, vector in vectors.items():
        before, after = vector.scores.get("divergence_unsteered"), vector.scores.get("divergence")
        table.add_row(
            f"{language_name(tag)} ({tag})",
            ", ".join(map(str, vector.layers)) or "–",
            f"{vector.strength:g}",
            _percent(vector.relative_strength),
            "–" if before is None or after is None else f"{before:.3f} → {after:.3f}",
        )
    return table


def _percent(share: float) -> str:
    return f"{share:.1%}" if share == share else "–"


def _print_unhelpful(vectors: "Mapping[str, Change]") -> None:
    worse = [
        tag
        for tag, vector in vectors.items()
        if vector.scores.get("divergence", 0) >= vector.scores.get("divergence_unsteered", 1)
    ]
    if worse:
        typer.echo(
            f"Steering did not bring {', '.join(worse)} nearer to how the model reads English on "
            "the pairs held out, where what it says after any text counts too: measure what you need "
            "it for, or try more text, another layer or another method.",
            err=True,
        )
