"""Pages from templates, with the texts of one catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Final

import jinja2
import orjson
from fastapi import Response
from fastapi.responses import HTMLResponse

from tagtrail_console.assets import PACKAGE, Assets
from tagtrail_kernel.wiring import VERSION

LANGUAGE: Final = "en"


class Pages:
    """Renders templates; both they and the scripts take every text from `texts/<language>.json`."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """Return the texts by key."""
        texts: Mapping[str, str] = orjson.loads((PACKAGE / f"texts/{LANGUAGE}.json").read_bytes())
        return texts

    @cached_property
    def _templates(self) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(PACKAGE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals |= {
            "asset": self._assets.url,
            "modules": [n for n in self._assets.files if n.startswith("js/")],
            "t": self.texts.__getitem__,
            "texts": self.texts,
            "language": LANGUAGE,
            "version": VERSION,
        }
        return environment

    def render(
        self, template: str, status: HTTPStatus = HTTPStatus.OK, **values: object
    ) -> Response:
        """Return a page; browsers do not keep it, for it belongs to a session."""
        text = self._templates.get_template(template).render(**values)
        return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})
