"""A full disk is told as a full disk, whoever met it."""

import errno

import pytest

from orchestrator.agents.git import _translate
from orchestrator.agents.room import needs_room
from orchestrator.domain.errors import Permanent, Transient


@needs_room
async def write(number: int) -> str:
    if number:
        raise OSError(number, "said by the system", "/data/runs/1/prompt")
    return "written"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_write_that_finds_no_room_is_tried_again(number: int) -> None:
    with pytest.raises(Transient) as told:
        await write(number)
    assert told.value.code == "disk_full"
    assert "Make room" in told.value.hint


async def test_other_faults_of_files_stay_what_they_are() -> None:
    assert await write(0) == "written"
    with pytest.raises(PermissionError):
        await write(errno.EACCES)


@pytest.mark.parametrize(
    "said",
    [
        "fatal: unable to write loose object file: No space left on device\nfatal: unpack-objects failed",
        "error: unable to write symref for HEAD: No space left on device",
        "fatal: write error: Disk quota exceeded\nfatal: index-pack failed",
    ],
)
def test_git_without_room_does_not_blame_the_objects(said: str) -> None:
    told = _translate(said, "fetch", None)
    assert isinstance(told, Transient)
    assert told.code == "disk_full"


def test_damaged_objects_are_still_damaged() -> None:
    told = _translate("fatal: fsck error in packed object", "fetch", None)
    assert isinstance(told, Permanent)
    assert told.code == "bad_objects"
