"""The playground: a page of the server at `/`, on which a text is asked unsteered and steered, side by side.

Its files lie in `playground_files/`, and it has the look of every page of langsteer. It asks this server as any
client does, and loads nothing from elsewhere.
"""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from langsteer.look.page import TEMPLATES

FOLDER = Path(__file__).parent / "playground_files"
FILES = {
    **{path.name: path for path in FOLDER.iterdir() if path.suffix != ".html"},
    "page.css": TEMPLATES / "page.css",
}
NO_STALE = {"cache-control": "no-cache"}  # it is asked whether it is of today


def add_playground(app: FastAPI) -> None:
    """Serve the page at `/`, and what it needs below `/playground/`."""

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(FOLDER / "index.html", headers=NO_STALE)

    @app.get("/playground/{name}", include_in_schema=False)
    async def file(name: str) -> FileResponse:
        if name not in FILES:
            raise HTTPException(404)
        return FileResponse(FILES[name], headers=NO_STALE)
