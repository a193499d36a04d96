"""A scripted stand-in of `POST /v1/messages`: the real Claude Code CLI works against it without an account.

Stateless but for the counters of faults: the answer depends only on how many assistant messages follow our marker
in the conversation, so retries, resumed and parallel sessions all get the step they are at.
"""

import argparse
import asyncio
import hashlib
import json
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableSequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.sim.script import (
    STRUCTURED,
    TOLD_IN_THE_TASK,
    Answer,
    Assignment,
    Say,
    Scenario,
    ScenarioName,
    Step,
    read_assignment,
    step_at,
    steps,
    tool_arguments,
    tool_id,
)
from orchestrator.sim.server import utc_now

KNOWN = frozenset(
    {
        *TOLD_IN_THE_TASK,
        ScenarioName.WORK,
        ScenarioName.SLOW,
        ScenarioName.LONG_TOOL,
        ScenarioName.HTTP_401,
        ScenarioName.HTTP_404,
        ScenarioName.HTTP_429,
        ScenarioName.HTTP_529,
        ScenarioName.CUT_STREAM,
        ScenarioName.OVERLOADED_THEN_WORK,
        ScenarioName.CUT_STREAM_THEN_WORK,
        ScenarioName.USAGE_LIMIT,
    }
)
MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_REQUESTS_KEPT = 1000
MAX_RUNS_COUNTED = 1000
LIMIT_RESETS_AFTER = timedelta(hours=1)
FAULTS_BEFORE_WORK = {ScenarioName.OVERLOADED_THEN_WORK: 2, ScenarioName.CUT_STREAM_THEN_WORK: 1}

_CWD = re.compile(r"(?:Primary w|W)orking directory: (/[^\n]*?)(?: \(was /[^\n]*\))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request, for tests and the demo. A credential is kept as its digest only."""

    model: str
    tools: int
    stream: bool
    key: str
    role: str
    run: str
    step: int
    status: int
    has_api_key: bool
    has_authorization: bool
    api_key_sha256: str
    authorization_sha256: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """What matters of a request body."""

    model: str
    tools: int
    stream: bool
    assignment: Assignment
    step: int
    cwd: str
    results: tuple[str, ...]
    wants_structured: bool


class BadRequest(Exception):
    """The body is not a conversation of ours; the text says why."""


def read_conversation(body: bytes | bytearray) -> Conversation:
    """Parses once, here; a `BadRequest` for all that is not one of our prompts."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list):
        raise BadRequest("messages: a list is required")
    turns = [turn for turn in request["messages"] if isinstance(turn, dict)]
    start, assignment = _last_marker(turns)
    later = turns[start + 1 :]
    tools = list(_blocks(request.get("tools")))
    return Conversation(
        model=str(request.get("model", ""))[:200].encode("ascii", "replace").decode(),
        tools=len(tools),
        stream=request.get("stream") is True,
        assignment=assignment,
        step=sum(turn.get("role") == "assistant" for turn in later),
        cwd=_cwd([*reversed(turns), {"content": request.get("system")}]),
        results=tuple(_tool_results(later)),
        wants_structured=any(tool.get("name") == STRUCTURED for tool in tools),
    )


def _last_marker(turns: list[dict[str, object]]) -> tuple[int, Assignment]:
    """A resumed session holds several prompts; the last one counts."""
    for index in reversed(range(len(turns))):
        if turns[index].get("role") == "user":
            for text in _texts(turns[index].get("content")):
                if assignment := read_assignment(text):
                    return index, assignment
    raise BadRequest("this stand-in answers only prompts whose first line is `Task: KEY | Role: ROLE | Run: UUID`")


def _texts(content: object) -> Iterator[str]:
    """The texts of a message: a string, or a list of blocks."""
    if isinstance(content, str):
        yield content
    for block in _blocks(content):
        if block.get("type") == "text" and isinstance(text := block.get("text"), str):
            yield text


def _blocks(content: object) -> Iterator[dict[str, object]]:
    if isinstance(content, list):
        yield from (block for block in content if isinstance(block, dict))


def _tool_results(turns: list[dict[str, object]]) -> Iterator[str]:
    for turn in turns:
        for block in _blocks(turn.get("content")):
            if block.get("type") == "tool_result":
                yield "\n".join(_texts(block.get("content")))


def _cwd(places: list[dict[str, object]]) -> str:
    """The CLI tells the model where it works, and again when a resumed session works elsewhere: the last word
    counts. Without it the paths stay relative.
    """
    for place in places:
        for text in _texts(place.get("content")):
            if place.get("role") not in {"user", "assistant"} and (found := _CWD.findall(text)):
                return str(found[-1]).strip()
    return ""


def content_of(step: Step, conversation: Conversation) -> list[dict[str, object]]:
    """The content blocks of the answer."""
    if isinstance(step, Say):
        return [{"type": "text", "text": step.text}]
    if isinstance(step, Answer) and not conversation.wants_structured:
        return [{"type": "text", "text": json.dumps(step.output, ensure_ascii=False)}]
    name, arguments = tool_arguments(step)
    call_id = tool_id(conversation.assignment, conversation.step)
    call: dict[str, object] = {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
    said = getattr(step, "text", "")
    return [{"type": "text", "text": said}, call] if said else [call]


def message(conversation: Conversation, content: list[dict[str, object]]) -> dict[str, object]:
    """A whole answer, as `stream: false` gets it. The token counts are made up but always the same."""
    uses_tool = any(block["type"] == "tool_use" for block in content)
    return {
        "id": tool_id(conversation.assignment, conversation.step).replace("toolu_", "msg_"),
        "type": "message",
        "role": "assistant",
        "model": conversation.model,
        "content": content,
        "stop_reason": "tool_use" if uses_tool else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 2000 + 500 * conversation.step,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 20 + len(json.dumps(content, ensure_ascii=False)) // 4,
        },
    }


def stream_events(answer: Mapping[str, object]) -> Iterator[dict[str, object]]:
    """The same answer as server-sent events, in the order in which the real API sends them."""
    usage, content = answer["usage"], answer["content"]
    assert isinstance(usage, dict)  # noqa: S101 - `message` made it so
    assert isinstance(content, list)  # noqa: S101 - `message` made it so
    begun = {**answer, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(content):
        yield from _block_events(index, block)
    delta = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


def _block_events(index: int, block: Mapping[str, object]) -> Iterator[dict[str, object]]:
    empty: dict[str, object]
    if block["type"] == "text":
        empty, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        empty = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    yield {"type": "content_block_start", "index": index, "content_block": empty}
    yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def encode(event: Mapping[str, object]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


class CutStream(Response):
    """Breaks off in the middle: the connection is closed before the response is complete."""

    media_type = "text/event-stream"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})


def api_error(status: int, kind: str, text: str, headers: Mapping[str, str] | None = None) -> Response:
    body = {"type": "error", "error": {"type": kind, "message": text}}
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))


def usage_limit_headers(now: datetime) -> dict[str, str]:
    """What a subscription's used-up window looks like on the wire."""
    return {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-reset": str(int((now + LIMIT_RESETS_AFTER).timestamp())),
        "anthropic-ratelimit-unified-representative-claim": "five_hour",
    }


class MessagesApi:
    """The endpoint with its default scenario, its log and its counters of faults already served."""

    def __init__(self, scenario: str, log: MutableSequence[Seen], now: Callable[[], datetime]) -> None:
        self._scenario = Scenario.parse(scenario, KNOWN)
        self._log = log
        self._now = now
        self._count = 0
        self._faults: Counter[str] = Counter()

    async def messages(self, request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return api_error(413, "request_too_large", f"the body is over {MAX_BODY_BYTES} bytes")
        try:
            conversation = read_conversation(body)
            asked = conversation.assignment.scenario
            scenario = Scenario.parse(asked, KNOWN) if asked else self._scenario
        except (BadRequest, ValueError) as error:
            return self._noted(request.headers, None, api_error(400, "invalid_request_error", str(error)))
        await asyncio.sleep(scenario.delay_s)
        return self._noted(request.headers, conversation, self._answer(conversation, scenario.name))

    async def requests(self, _: Request) -> Response:
        """What was asked so far: `count` of all, and the last ones."""
        return JSONResponse({"count": self._count, "requests": [asdict(seen) for seen in self._log]})

    def _answer(self, conversation: Conversation, scenario: ScenarioName) -> Response:
        script = steps(conversation.assignment, scenario, conversation.cwd, conversation.results)
        answer = message(conversation, content_of(step_at(conversation.step, script), conversation))
        if fault := self._fault(conversation, scenario, answer):
            return fault
        if not conversation.stream:
            return Response(json.dumps(answer), media_type="application/json")
        return Response(b"".join(map(encode, stream_events(answer))), media_type="text/event-stream")

    def _fault(
        self, conversation: Conversation, scenario: ScenarioName, answer: Mapping[str, object]
    ) -> Response | None:
        if not self._is_due(conversation.assignment.run, scenario):
            return None
        match scenario:
            case ScenarioName.HTTP_401:
                return api_error(401, "authentication_error", "invalid x-api-key")
            case ScenarioName.HTTP_404:
                return api_error(404, "not_found_error", f"model: {conversation.model}")
            case ScenarioName.HTTP_429:
                return api_error(429, "rate_limit_error", "too many requests", {"retry-after": "1"})
            case ScenarioName.HTTP_529:
                return api_error(529, "overloaded_error", "Overloaded")
            case ScenarioName.CUT_STREAM:
                return CutStream(encode(next(stream_events(answer))))
            case ScenarioName.USAGE_LIMIT:
                headers = usage_limit_headers(self._now())
                return api_error(429, "rate_limit_error", "usage limit reached", headers)
            case ScenarioName.OVERLOADED_THEN_WORK:
                return api_error(529, "overloaded_error", "Overloaded")
            case ScenarioName.CUT_STREAM_THEN_WORK:
                return CutStream(encode(next(stream_events(answer))))
            case _:
                return None

    def _is_due(self, run: str, scenario: ScenarioName) -> bool:
        """Scenarios that recover fail a fixed number of times per run; the others always."""
        if (limit := FAULTS_BEFORE_WORK.get(scenario)) is None:
            return True
        if len(self._faults) >= MAX_RUNS_COUNTED:
            self._faults.clear()
        self._faults[run] += 1
        return self._faults[run] <= limit

    def _noted(self, headers: Headers, conversation: Conversation | None, response: Response) -> Response:
        self._count += 1
        self._log.append(_seen(headers, conversation, response.status_code))
        del self._log[:-MAX_REQUESTS_KEPT]
        return response


def _seen(headers: Headers, conversation: Conversation | None, status: int) -> Seen:
    assignment = conversation.assignment if conversation else None
    return Seen(
        model=conversation.model if conversation else "",
        tools=conversation.tools if conversation else 0,
        stream=conversation.stream if conversation else False,
        key=assignment.key if assignment else "",
        role=assignment.role if assignment else "",
        run=assignment.run if assignment else "",
        step=conversation.step if conversation else 0,
        status=status,
        has_api_key="x-api-key" in headers,
        has_authorization="authorization" in headers,
        api_key_sha256=_digest(headers.get("x-api-key")),
        authorization_sha256=_digest(headers.get("authorization")),
    )


def _digest(secret: str | None) -> str:
    return "" if secret is None else hashlib.sha256(secret.encode()).hexdigest()


def create_app(
    scenario: str = "work", log: list[Seen] | None = None, now: Callable[[], datetime] = utc_now
) -> ASGIApp:
    """The ASGI app. `log` gets what was seen, the last thousand at most; a prompt may name its own scenario."""
    api = MessagesApi(scenario, [] if log is None else log, now)
    return Starlette(
        routes=[
            Route("/v1/messages", api.messages, methods=["POST"]),
            Route("/requests", api.requests, methods=["GET"]),
        ]
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A scripted Messages API on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--scenario", default="work", help=f"one of: {', '.join(sorted(KNOWN))}")
    options = parser.parse_args(argv)
    try:
        app = create_app(options.scenario)
    except ValueError as error:
        parser.error(str(error))
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", access_log=False, log_level="warning"))
        server.run(sockets=[listener])


if __name__ == "__main__":
    main()
