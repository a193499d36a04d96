"""`/preferences`: language and light or dark, kept in cookies. It changes nothing of ours, so a link may do it."""

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

from orchestrator.domain.roles import Language
from orchestrator.web.rendering import LANGUAGE_COOKIE, THEME_COOKIE, THEMES, GivenRendering
from orchestrator.web.signin.local import local

router = APIRouter(include_in_schema=False)
YEAR_S = 365 * 86_400


@router.get("/preferences")
async def prefer(
    rendering: GivenRendering, request: Request, language: str = "", theme: str = "", back: str = "/"
) -> RedirectResponse:
    answer = RedirectResponse(rendering.url(local(back)), 303, {"Cache-Control": "no-store"})
    chosen = ((LANGUAGE_COOKIE, language, tuple(Language)), (THEME_COOKIE, theme, THEMES))
    is_secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
    for cookie, value, allowed in chosen:
        if value in allowed:
            answer.set_cookie(
                cookie, value, max_age=YEAR_S, path=rendering.url("/"), secure=is_secure, samesite="lax"
            )
    return answer
