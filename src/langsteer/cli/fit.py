"""langsteer fit"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from langsteer.cli import options as shared
from langsteer.cli.working import Jobs, On, shared_workers
from langsteer.errors import LanguageError, SaveError
from langsteer.fitting.names import DEFAULT_METHOD

BUDGET = 15.0  # minutes
ANSWERS = "answers"  # what --for takes beside benchmarks and files


def command(
    context: typer.Context,
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
    from langsteer.cli.learned import learn_and_print
    from langsteer.cli.outputs import check_no_input
    from langsteer.cli.recipes import search_for
    from langsteer.cli.refusals import (
        check_budget,
        refuse_beside_search,
        refuse_by_task,
        task_of_each,
    )
    from langsteer.diagnosis.task import read_task
    from langsteer.storage.files import check_writable
    from langsteer.text.readers import read_corpus

    def given(name: str) -> bool:
        return "DEFAULT" not in getattr(context.get_parameter_source(name), "name", "DEFAULT")

    tags = _tags(languages, pivot)
    text = read_corpus(corpus, tags, pivot=pivot, pivot_file=pivot_file, split=split).some(lines)
    shared.print_checks(text)
    files = _files(text.languages, output)
    for file in files.values():
        check_no_input(file, context.command.params, context.params)
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
            "--method": given("method"),
            "--jobs": jobs,
            "--on": on,
            "--gpus": given("gpus"),
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
            "--budget": given("budget"),
            "--score": given("scoring"),
        },
    )
    check_budget(budget)
    refuse_by_task(
        task == ANSWERS,
        {
            "--data": data,
            "--english": english,
            "--form": form,
            "--vectors": vectors,
            "--benchmarks": benchmarks,
            "--score": given("scoring"),
        },
        {"--prompts": prompts},
    )
    place: dict[str, Any] = {
        "name": model,
        "dtype": dtype,
        "device": device,
        "device_map": device_map,
    }
    searching: dict[str, Any] = {
        "budget": budget,
        "limit": limit,
        "seed": seed,
        "overwrite": overwrite,
        "anyway": anyway,
        "as_json": as_json,
    }
    if task == ANSWERS:
        answers_for(lambda: shared.open_model(**place), text, files, prompts=prompts, **searching)
    elif task is not None:
        reading = {"english": english, "data": data, "form": form, "seed": seed}
        sources = task_of_each(task, list(text.languages))
        tasks = {
            tag: read_task(source, tag, benchmark_files=benchmarks or (), **reading)  # type: ignore[arg-type]
            for tag, source in sources.items()
        }
        search_for(
            lambda: shared.open_model(**place),
            tasks,
            text,
            files,
            vectors=vectors or (),
            scoring=scoring,
            **searching,
        )
    else:
        options = {
            "layers": layer or (),
            "strengths": strength or None,
            "overwrite": overwrite,
            "together": together,
            "seed": seed,
            **({"objective": objective} if objective else {}),
            **({"positions": positions} if positions else {}),
        }
        learn_and_print(
            place,
            text,
            recipe or method,
            files,
            options,
            output=output,
            router=router,
            workers=shared_workers(next(iter(files.values())).parent, jobs, on),
            gpus=gpus,
            as_json=as_json,
        )


def _tags(languages: Sequence[str], pivot: str) -> list[str]:
    """The languages' tags, each once. Raises LanguageError where there are none, or one is the pivot's."""
    from langsteer.text.languages import language_name, parse_tag

    tags = list(dict.fromkeys(map(parse_tag, shared.listed(languages))))
    if not tags:
        raise LanguageError("name a language, such as --language sw")
    if parse_tag(pivot) in tags:
        raise LanguageError(
            f"{language_name(pivot)} ({parse_tag(pivot)}) is the pivot, which other languages are "
            "aligned to: name others, or another pivot (--pivot)"
        )
    return tags


def _files(tags: Sequence[str], output: str) -> dict[str, Path]:
    from langsteer.cli.refusals import check_name

    folder = Path(output)
    is_file = len(tags) == 1 and not output.endswith("/") and not folder.is_dir()
    check_name(output, is_file)
    if len(tags) > 1 and folder.suffix == ".safetensors" and not folder.is_dir():
        raise SaveError(
            f"{output} would be a folder for {len(tags)} languages: name it without .safetensors"
        )
    if is_file:
        return {tags[0]: folder}
    return {tag: folder / f"{tag}.safetensors" for tag in tags}
