"""Write the pages of the Python reference, one a room, from the package as it is. `make docs` does this by itself."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import langsteer

HIDDEN = {"cli", "__main__"}  # the command line has pages of its own
ORDER = (
    *("text", "model", "states", "steering", "fitting", "tuning", "evaluation"),
    *("diagnosis", "analysis", "export", "serving", "scale", "look", "storage"),
)
SPAN = re.compile(r"(`+[^`]*`+)")
INDENTED = " " * 4


def as_rst(lines: list[str]) -> list[str]:
    """A plain docstring as reStructuredText: spans of code, lists, and blocks that are indented."""
    written: list[str] = []
    blocks = re.split(r"\n\s*\n", "\n".join(lines).rstrip())
    for block in blocks:
        rows = block.split("\n")
        if rows[0].startswith(INDENTED):
            written += ["::", "", *(INDENTED + row for row in rows), ""]
            continue
        for row in rows:
            item = row.lstrip().startswith("- ")
            if item and written and written[-1] and not written[-1].lstrip().startswith("- "):
                written.append("")
            follows = row.startswith("  ") and any(line.startswith("- ") for line in written[-6:])
            if row.startswith(INDENTED) or (row.startswith(" ") and not item and not follows):
                row = row.strip()  # an indented equation within a paragraph
                written += ["", "::", "", INDENTED + row, ""]
            else:
                written.append(_escaped(row))
        written.append("")
    return written


def _escaped(row: str) -> str:
    parts = SPAN.split(row)
    for at, part in enumerate(parts):
        parts[at] = (
            f"``{part.strip('`')}``"
            if at % 2
            else re.sub(r"(?<!^)([*|_\\])|^([*|])", r"\\\1\2", part)
        )
    return re.sub(r"(``[^`]+``)(?=\w)", r"\1\\ ", "".join(parts))


def write(folder: Path) -> None:
    """Write a page a room, the page of the public names, and their index."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"langsteer": _public_page()}
    for room in rooms():
        pages[room] = _room_page(room)
    order = [name for name in ("langsteer", "errors", *ORDER) if name in pages]
    order += sorted(set(pages) - set(order))
    pages["index"] = _index(order)
    for old in folder.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def rooms() -> list[str]:
    """The rooms and single modules at the top of the package that have something to show."""
    names = [module.name for module in pkgutil.iter_modules(langsteer.__path__)]
    return [name for name in names if name not in HIDDEN and any(_modules(name))]


def _modules(room: str) -> Iterator[ModuleType]:
    """The modules of a room in which something public is defined, or which say something."""
    start = importlib.import_module(f"langsteer.{room}")
    found = [start.__name__]
    if hasattr(start, "__path__"):
        found += [m.name for m in pkgutil.walk_packages(start.__path__, start.__name__ + ".")]
    for name in found:
        module = importlib.import_module(name)
        if any(_defined(module)):
            yield module


def _defined(module: ModuleType) -> Iterator[str]:
    for name, value in vars(module).items():
        if name.startswith("_") or not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        if getattr(value, "__module__", None) == module.__name__ and inspect.getdoc(value):
            yield name


def _public() -> list[str]:
    return [name for name in langsteer.__all__ if not name.startswith("__")]


def _public_page() -> str:
    lines = [
        "# langsteer",
        "",
        "The public names: `import langsteer`, and these are there.",
        "",
        "```{eval-rst}",
        ".. currentmodule:: langsteer",
        "",
    ]
    for name in _public():
        value = getattr(langsteer, name)
        if inspect.isclass(value):
            lines += [f".. autoclass:: langsteer.{name}", "   :members:", ""]
        elif inspect.isroutine(value):
            lines += [f".. autofunction:: langsteer.{name}", ""]
        else:
            lines += [f".. autodata:: langsteer.{name}", "   :no-value:", ""]
    return "\n".join([*lines, "```", ""])


def _room_page(room: str) -> str:
    public = {id(getattr(langsteer, name)): name for name in _public()}
    lines = [f"# langsteer.{room}", ""]
    start = importlib.import_module(f"langsteer.{room}")
    if start.__doc__ and hasattr(start, "__path__"):
        lines += [start.__doc__.strip().partition("\n\n")[0], ""]
    for module in _modules(room):
        shown = [name for name in _defined(module) if id(getattr(module, name)) not in public]
        others = [public[id(getattr(module, n))] for n in _defined(module) if n not in shown]
        if module.__name__ != f"langsteer.{room}" or hasattr(start, "__path__"):
            lines += [f"## {module.__name__}", ""]
        lines += ["```{eval-rst}", f".. automodule:: {module.__name__}", "```", ""]
        if others:
            links = ", ".join(f"{{py:obj}}`langsteer.{name}`" for name in others)
            lines += [f"Public: {links}.", ""]
        for name in shown:
            kind = "class" if inspect.isclass(getattr(module, name)) else "function"
            lines += ["```{eval-rst}", f".. auto{kind}:: {module.__name__}.{name}"]
            lines += ["   :members:"] if kind == "class" else []
            lines += ["```", ""]
    return "\n".join(lines)


def _index(order: list[str]) -> str:
    return "\n".join(
        [
            "# Python",
            "",
            "What `import langsteer` gives is on the first page; the others go through the rooms of the",
            "[house](../../architecture.md). Every public class and function is here with its docstring.",
            "",
            "```{toctree}",
            ":maxdepth: 1",
            "",
            *order,
            "```",
            "",
        ]
    )


if __name__ == "__main__":
    write(Path(__file__).parent / "reference" / "python")
