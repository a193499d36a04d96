"""Parameters that several endpoints share, with what they mean."""

from typing import Annotated, TypeVar
from urllib.parse import urlencode

from fastapi import Path, Query, Request, Response

from orchestrator.domain.roles import Language
from orchestrator.store.lists import MOST

T = TypeVar("T")
MAX_ID = 2**63 - 1
MAX_KEY_CHARS = 60
Key = Annotated[
    str,
    Path(max_length=MAX_KEY_CHARS, description="of the task, as the tracker shows it", examples=["ENDURO-1"]),
]
Ident = Annotated[int, Path(ge=1, le=MAX_ID, description="its number here", examples=[1])]
Limit = Annotated[int, Query(ge=1, le=MOST, description="rows of a page", examples=[50])]
Cursor = Annotated[
    str | None,
    Query(max_length=MAX_KEY_CHARS, description="`next` of the page before; left out for the newest"),
]


def lead_on(request: Request, response: Response, following: str | None) -> str | None:
    """The `Link` header to the next page. Relative to what was asked, so it is right behind every proxy."""
    if following is not None:
        asked = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        response.headers["Link"] = f'<?{urlencode([*asked, ("cursor", following)])}>; rel="next"'
    return following


def language_of(request: Request, wanted: Language | None = None) -> Language:
    """Programs say it with `Accept-Language` or `lang`; the cookie is of pages alone."""
    accepted = request.headers.get("accept-language", "").strip().lower()
    return wanted or (Language.RU if accepted.startswith("ru") else Language.EN)
