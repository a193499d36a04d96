"""`/live/runs/ID`: the log of a run as server-sent events, which go on where a lost connection broke off."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from fastapi import Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from orchestrator.agents.transcript import Entry, Transcript
from orchestrator.store.views import RunStory
from orchestrator.web.live import BEAT_S, Changes, Over
from orchestrator.web.rendering import HEADERS, Rendering
from orchestrator.web.tail import follow

AT_ONCE = 50
"""Records of one event: what a browser takes in without a stutter."""
LOOK_AGAIN_S = 1.0
"""How long a silent log keeps the stream from seeing that its run is over."""
_IN_THREAD_BYTES = 16 * 1024
STREAM_HEADERS = HEADERS | {"X-Accel-Buffering": "no"}
_OVER = format_sse_event(event="over", data_str="")


def resume_at(request: Request, after: int) -> int:
    """What the browser has already wins over what its page was made with."""
    told = request.headers.get("last-event-id", "")
    return int(told) if told.isdecimal() and told.isascii() and len(told) <= 15 else after


def by_record(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """At most AT_ONCE records in each, none of them divided."""
    records = [list(of_record) for _, of_record in groupby(entries, key=lambda entry: entry.place.offset)]
    for start in range(0, len(records), AT_ONCE):
        yield [entry for record in records[start : start + AT_ONCE] for entry in record]


@dataclass(slots=True)
class _Reader:
    """Where one subscriber is. The file was read up to `position`; the transcript may lag by a half line."""

    transcript: Transcript
    position: int = field(init=False)

    def __post_init__(self) -> None:
        self.position = self.transcript.offset

    async def entries(self, path: Path, wait_s: float) -> list[Entry]:
        piece = await follow(path, self.position, wait_s)
        self.position += len(piece)
        if len(piece) < _IN_THREAD_BYTES:
            return self.transcript.feed(piece)
        return await asyncio.to_thread(self.transcript.feed, piece)


class _News:
    """Whether anything was committed since it was asked last, without waiting for it."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._next = asyncio.create_task(changes.wait(0))

    def has_come(self) -> bool:
        """Raises Over at the end of the service."""
        if not self._next.done():
            return False
        self._next = asyncio.create_task(self._changes.wait(self._next.result()))
        return True

    def close(self) -> None:
        self._next.cancel()


@dataclass(frozen=True, slots=True)
class Live:
    """Streams for one page each. They end with the run, and with the service."""

    story: Callable[[int], Awaitable[RunStory]]
    summary: Callable[[Request, RunStory], str]
    changes: Changes
    rendering: Rendering

    async def stream(self, request: Request, run: int, after: int) -> StreamingResponse:
        """Refuses before the answer begins: when there is no such run, or no place."""
        story = await self.story(run)
        with self.changes.place():
            pass  # held by the stream itself, which may never begin
        reader = _Reader(Transcript(resume_at(request, after)))
        return EventSourceResponse(self._events(request, story, reader), headers=STREAM_HEADERS)

    async def _events(self, request: Request, story: RunStory, reader: _Reader) -> AsyncIterator[bytes]:
        with self.changes.place():
            news = _News(self.changes)
            try:
                async for event in self._told(request, story, reader, news):
                    yield event
            except Over:
                return
            finally:
                news.close()

    async def _told(self, request: Request, story: RunStory, reader: _Reader, news: _News) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        said_at = loop.time()
        while True:
            is_over = story.run.state == "ended"  # before the read: then nothing comes after it
            async for event in self._records(request, story, reader, 0 if is_over else LOOK_AGAIN_S):
                said_at = loop.time()
                yield event
            if is_over:
                # Said again: it may have ended after the page was made and before the page followed.
                yield format_sse_event(event="summary", data_str=self.summary(request, story))
                yield _OVER
                return
            if news.has_come():
                known = self.summary(request, story)
                story = await self.story(story.run.id)
                if (summary := self.summary(request, story)) != known:
                    yield format_sse_event(event="summary", data_str=summary)
            if loop.time() - said_at > BEAT_S:
                said_at = loop.time()
                yield KEEPALIVE_COMMENT

    async def _records(
        self, request: Request, story: RunStory, reader: _Reader, wait_s: float
    ) -> AsyncIterator[bytes]:
        """All that is there; waits for the first of it only."""
        path = Path(story.run.output_path) if story.run.output_path else None
        if path is None:
            await asyncio.sleep(wait_s)
            return
        while True:
            before = reader.position
            entries = await reader.entries(path, wait_s)
            if reader.position == before:
                break
            for event in await self._rendered(request, story, entries):
                yield event
            wait_s = 0
        if story.run.state == "ended":
            for event in await self._rendered(request, story, reader.transcript.finish()):
                yield event

    async def _rendered(self, request: Request, story: RunStory, entries: Sequence[Entry]) -> list[bytes]:
        if len(entries) <= 5:
            return self._as_events(request, story, entries)
        return await asyncio.to_thread(self._as_events, request, story, entries)

    def _as_events(self, request: Request, story: RunStory, entries: Sequence[Entry]) -> list[bytes]:
        return [
            format_sse_event(
                event="records",
                id=str(some[-1].place.end),
                data_str=self.rendering.text(request, "run_entries.html", run=story.run, part=None, entries=some),
            )
            for some in by_record(entries)
        ]
