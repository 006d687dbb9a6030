"""A benchmark from its YAML file: read, checked, and made into a `Benchmark`.

A file may name Python code (`reader:`, `fetcher:`, `translator:`, `scores:`) as `module:function`.
One that did not come with an installed package may name langsteer's own only, and its templates are
rendered in a sandbox: a file that somebody hands on cannot run code.
"""

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langsteer.errors import BenchmarkError, LangsteerError
from langsteer.evaluation.benchmarks.common import (
    Benchmark,
    Doc,
    by_tag,
    harness,
    harness_config,
    mean_metric,
    rows_on_hub,
)
from langsteer.evaluation.benchmarks.flores_codes import FLORES
from langsteer.evaluation.benchmarks.formats import read_rows
from langsteer.evaluation.benchmarks.schema import BenchmarkFile, Prompt
from langsteer.evaluation.benchmarks.templates import filled_in, renderer, sandboxed
from langsteer.extras import need
from langsteer.storage.parsed import not_utf8, not_yaml, parse_yaml
from langsteer.storage.pointers import read_text
from langsteer.text.languages import language_name, parse_tag

OWN_CODE = "langsteer.evaluation.benchmarks."
_CODE = re.compile(r"^[\w.]+:\w+$")
_SPACES = re.compile(" +")


def read_benchmark(path: Path, *, trusted: bool = False) -> Benchmark:
    """The benchmark that a YAML file describes; its name is the file's.

    `trusted` files, those of installed packages, may name code of any module. Raises BenchmarkError
    that names the file, the key and what is allowed.
    """
    keys = _read_yaml(path)
    pydantic = need("pydantic", "eval", "a benchmark's file")
    try:
        file = BenchmarkFile.model_validate(keys)
    except pydantic.ValidationError as error:
        raise BenchmarkError(f"{path}: {_first_fault(error)}") from None
    try:
        return _Definition(path, file, _codes(file), trusted).benchmark()
    except LangsteerError as error:
        text = str(error)
        raise BenchmarkError(text if str(path) in text else f"{path}: {text}") from error


def _read_yaml(path: Path) -> Any:
    yaml = need("yaml", "eval", "a benchmark's file")
    try:
        keys = parse_yaml(read_text(path))
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BenchmarkError(not_utf8(path, error)) from error
    except yaml.YAMLError as error:
        if "!function" in str(error):
            raise BenchmarkError(
                f"{path}: !function is not read: a benchmark's file cannot bring code; an installed "
                "package can, through the entry points langsteer.benchmarks"
            ) from error
        raise BenchmarkError(not_yaml(path, error)) from error
    if not isinstance(keys, dict):
        raise BenchmarkError(f"{path} is not a mapping of keys such as title: and languages:")
    return keys


def _first_fault(error: Any) -> str:
    """One line: the key, what is wrong, and which keys there are where it is not one."""
    faults = error.errors(include_url=False)
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    place = ".".join(str(step) for step in fault["loc"] if not str(step).startswith("list["))
    if fault["type"] == "extra_forbidden":
        allowed = ", ".join(_keys_at(list(fault["loc"][:-1])))
        return f"there is no key {place}" + (f"; {allowed} are allowed" if allowed else "")
    if fault["type"] == "missing":
        return f"the key {place} is missing"
    reason = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if fault["msg"].startswith("Value error"):
        return f"{place}: {reason}" if place else reason
    return f"{place} is {fault['input']!r}: it should be {reason}"


def _keys_at(steps: list[Any]) -> list[str]:
    """The keys that the schema has at a place; none where that is not told from the steps."""
    from langsteer.evaluation.benchmarks import schema

    kinds: dict[str, Any] = {
        "files": schema.Files, "hub": schema.Hub, "items": schema.Items, "forms": schema.Form,
        "parts": schema.Part, "columns": schema.Column, "texts": schema.Prompt,
    }  # fmt: skip
    named = [kinds[step] for step in steps if step in kinds]
    model = named[-1] if named else BenchmarkFile
    return [field.alias or name for name, field in model.model_fields.items()]


def _codes(file: BenchmarkFile) -> dict[str, str]:
    if isinstance(file.languages, dict):
        codes = {parse_tag(tag): code for tag, code in file.languages.items()}
    elif file.languages == "flores200":
        codes = dict(FLORES)
    else:
        named = file.languages
        codes = by_tag(named.split() if isinstance(named, str) else named)
    left_out = {parse_tag(tag) for tag in file.without}
    return {tag: code for tag, code in codes.items() if tag not in left_out}


@dataclass(frozen=True)
class _Definition:
    """The functions of a `Benchmark` over what its file says."""

    path: Path
    file: BenchmarkFile
    codes: Mapping[str, str]
    trusted: bool

    def benchmark(self) -> Benchmark:
        file = self.file
        self._check()
        native = file.forms["native"].limited_to() if "native" in file.forms else None
        translate = self._code(file.translator, "translator") if file.translator else None
        return Benchmark(
            name=self.path.stem,
            title=file.title,
            hub=file.hub.id if file.hub else "",
            kind=file.kind,
            metric=file.metric,
            codes=self.codes,
            source=tuple(file.source),
            answers=tuple(file.answers),
            forms=tuple(file.forms),
            parts={name: part.hub or part.file or name for name, part in file.parts.items()},
            layout=file.layout,
            read=self.read,
            fetch=self.fetch,
            config=self.config,
            instructions=file.instructions,
            target=file.target,
            native=native,
            folders=tuple(file.folders),
            item_metric=file.item_metric,
            filter=file.filter,
            translated=self._translated(translate) if translate else None,
        )

    def _check(self) -> None:
        """Refuse what could run code, and languages that there are not."""
        file = self.file
        named = {key: getattr(file, key) for key in ("reader", "fetcher", "translator", "scores")}
        named |= {f"parts.{name}.reader": part.reader for name, part in file.parts.items()}
        for key, code in named.items():
            if code is not None:
                self._allow(code, key)
        for name, form in file.forms.items():
            for tag in {*form.texts, *(form.languages or ())}:
                if tag not in self.codes:
                    raise BenchmarkError(f"forms.{name}: {tag!r} is not one of languages:")
        if not self.trusted:
            for key, text in self._descriptions().items():
                if any(mark in text for mark in ("{{", "{%", "{#")):
                    raise BenchmarkError(f"{key} must be plain text, not a template")

    def _descriptions(self) -> dict[str, str]:
        """Texts that end up where the harness renders templates outside a sandbox."""
        texts = {f"instructions.{tag}": text for tag, text in self.file.instructions.items()}
        for name, form in self.file.forms.items():
            for tag, prompt in {"": form, **form.texts}.items():
                if prompt.description:
                    texts[f"forms.{name}{tag and '.texts.' + tag}.description"] = prompt.description
        return texts

    def _allow(self, code: str, key: str) -> None:
        if not _CODE.match(code):
            raise BenchmarkError(f"{key} is {code!r}: it should be module:function")
        if not self.trusted and not code.startswith(OWN_CODE):
            raise BenchmarkError(
                f"{key} is {code!r}: a file of one's own may name functions of {OWN_CODE}* only; a "
                "benchmark with code of its own is an installed package with an entry point "
                "langsteer.benchmarks"
            )

    def _code(self, code: str, key: str) -> Callable[..., Any]:
        self._allow(code, key)
        module, _, name = code.partition(":")
        try:
            function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise BenchmarkError(f"{self.path}: {key} {code} is not there ({error})") from error
        if not callable(function) or getattr(function, "__module__", "") != module:
            raise BenchmarkError(f"{self.path}: {key} {code} is not a function of that module")
        return function

    def _values(self, tag: str, part: str = "") -> dict[str, Any]:
        named = {"code": self.codes[tag], "tag": tag, "language": language_name(tag)}
        return named | {"part": part} if part else named

    def read(self, folder: Path, tag: str, part: str) -> list[Doc]:
        file, described = self.file, self.file.parts[part]
        reader = described.reader or file.reader
        if reader:
            rows = self._code(reader, "reader")(folder, self.codes[tag], part)
            return self._docs([(str(folder), row) for row in rows], str(folder))
        name = described.file_in.get(tag, described.file)
        if file.files is None or name is None:
            raise BenchmarkError(f"{file.title}'s files have no {part} part: use the hub")
        rows = read_rows(file.files, folder, self._values(tag, name), file.layout)
        return self._docs(rows, str(folder))

    def fetch(self, tag: str, part: str) -> list[Doc]:
        file = self.file
        if file.fetcher:
            return self._docs_of(self._code(file.fetcher, "fetcher")(self.codes[tag], part), tag)
        split = file.parts[part].hub
        if file.hub is None or split is None:
            part_of = "" if file.hub is None else f" ({part})"
            raise BenchmarkError(
                f"{file.title}{part_of} is not on the hub: use --data DIR with a folder that holds "
                f"{file.layout}"
            )
        config = file.hub.config and filled_in(file.hub.config, self._values(tag), "hub: config")
        return self._docs_of(rows_on_hub(file.title, file.hub.id, config, split, file.layout), tag)

    def _translated(
        self, translate: Callable[..., list[Doc]]
    ) -> Callable[[Path | None, str, str], list[Doc]]:
        def translated(folder: Path | None, tag: str, part: str) -> list[Doc]:
            return self._docs_of(translate(folder, self.codes[tag], part), tag)

        return translated

    def _docs_of(self, rows: list[Doc], tag: str) -> list[Doc]:
        named = f"{self.file.title} ({tag})"
        return self._docs([(f"{named}, row {i}", row) for i, row in enumerate(rows, 1)], named)

    def _docs(self, rows: list[tuple[str, Doc]], where: str) -> list[Doc]:
        items = self.file.items
        added = {f: renderer(t, f"{self.path}: items.add.{f}") for f, t in items.add.items()}
        docs = []
        for count, (place, row) in enumerate(rows, 1):
            if any(first <= count <= last for first, last in items.leave_out_places):
                continue
            if any(row.get(field) in values for field, values in items.leave_out.items()):
                continue
            doc = dict(row)
            doc |= {f: "" if row[f] is None else str(row[f]) for f in items.text if f in row}
            doc |= {f: _SPACES.sub(" ", doc[f]) for f in items.one_space}
            for name, render in added.items():
                doc[name] = render(doc)
            pattern = items.id or ("{id}" if "id" in doc else "{place}")
            values = {**doc, "place": count}
            docs.append({**doc, "id": filled_in(pattern, values, f"{place}: items.id")})
        if not docs:
            raise BenchmarkError(f"{where} has no items")
        return docs

    def config(self, tag: str, name: str) -> dict[str, Any]:
        file, form = self.file, self.file.forms[name]
        prompts: list[Prompt] = [form, *([form.texts[tag]] if tag in form.texts else [])]
        keys = {key: value for prompt in prompts for key, value in prompt.keys().items()}
        scores = self._code(file.scores, "scores")(tag) if file.scores else {}
        based = [prompt for prompt in prompts if prompt.harness]
        config: dict[str, Any] = {
            "output_type": "multiple_choice" if file.kind == "choice" else "generate_until",
            "metadata": {"version": 1.0},
        }
        if based:
            path = filled_in(str(based[-1].harness), self._values(tag), f"forms.{name}.harness")
            config |= harness_config(path, without=(*based[-1].without, *keys, *scores))
        elif "metric_list" not in keys:
            config["metric_list"] = mean_metric(file.metric)
        where = f"{self.path}: forms.{name}"
        for key in ("doc_to_text", "description"):
            if isinstance(keys.get(key), str):
                keys[key] = filled_in(keys[key], self._values(tag), f"{where}.{key}")
        if not self.trusted:
            keys = sandboxed(keys, where)
            _check_metrics(keys.get("metric_list", ()), where)
        return config | keys | scores


def _check_metrics(metrics: Any, where: str) -> None:
    """Refuse metrics that the harness would look for, and run, from elsewhere."""
    registry = harness("lm_eval.api.registry")
    harness("lm_eval.api.metrics")
    for metric in metrics:
        if metric["metric"] not in registry.METRIC_REGISTRY or "hf_evaluate" in metric:
            raise BenchmarkError(
                f"{where}.metric_list: {metric['metric']!r} is not a metric of the harness: it has "
                f"{', '.join(sorted(registry.METRIC_REGISTRY))}"
            )
        if metric["aggregation"] not in registry.AGGREGATION_REGISTRY:
            raise BenchmarkError(
                f"{where}.metric_list: there is no aggregation {metric['aggregation']!r}: there are "
                f"{', '.join(sorted(registry.AGGREGATION_REGISTRY))}"
            )
