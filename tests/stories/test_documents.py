"""People reject, change and approve again what agents wrote."""

from pathlib import Path

from orchestrator.sim.world import REPO, World
from stories.team import BRANCH, FOLDER, at_work
from support import until


def test_a_rejected_brd_is_written_again_for_the_reason_and_asked_for_again(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.waits_for("approval", "analysis")
        first = team.head
        team.reject("нет раздела о больших файлах")
        until(lambda: team.started() == ["analyst", "analyst"], "the analyst works again")
        team.waits_for("approval", "analysis")
        assert team.head != first
        assert "нет раздела о больших файлах" in team.task_file()
        assert "нет раздела о больших файлах" not in team.task_file(0)
        team.approve()
        team.reaches("architecture")
        assert team.started()[:2] == ["analyst", "analyst"]


def test_an_approval_of_the_rejected_brd_does_not_count_for_the_new_one(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.waits_for("approval", "analysis")
        with world.plane.lock:  # both are there at the first look
            team.approve()
            team.reject("я передумала")
        until(lambda: len(team.started()) == 2, "the analyst works again")
        team.waits_for("approval", "analysis")
        team.heard()
        assert team.started() == ["analyst", "analyst"]


def test_a_brd_that_a_person_changed_after_its_approval_is_asked_for_again_and_starts_nobody(
    world: World, scripted: Path
) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.approved_until("architecture")
        team.waits_for("approval", "architecture")
        there = (world.gitea.file_at(REPO, BRANCH, f"{FOLDER}/BRD.md") or b"").decode()
        team.push({f"{FOLDER}/BRD.md": f"{there}\n\n## Дополнение\nИ файлы KML.\n"})
        team.waits_for("approval", "analysis")
        team.heard()
        assert team.started() == ["analyst", "architect"]
        team.approve()
        team.waits_for("approval", "architecture")
        assert team.started() == ["analyst", "architect"]
        team.approve()
        until(lambda: "developer" in team.started(), "the developer works")


def test_a_brd_that_is_changed_after_its_approval_is_asked_for_again_while_the_other_documents_lie_there(
    world: World, scripted: Path
) -> None:
    """Its approval is newer than they are, and older than what it was about now is."""
    with at_work(world, scripted) as team:
        team.write_all()
        team.begin()
        team.waits_for("approval", "analysis")
        team.approve()
        team.waits_for("approval", "architecture")
        there = (world.gitea.file_at(REPO, BRANCH, f"{FOLDER}/BRD.md") or b"").decode()
        team.push({f"{FOLDER}/BRD.md": f"{there}\n\n## Дополнение\nИ файлы KML.\n"})
        team.waits_for("approval", "analysis")
        team.heard()
        assert team.task()["stage"] == "analysis"
        team.approve()
        team.waits_for("approval", "architecture")
        assert team.started() == []


def test_a_rejected_architecture_is_written_again_by_the_architect(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.approved_until("architecture")
        team.waits_for("approval", "architecture")
        brd = world.gitea.file_at(REPO, BRANCH, f"{FOLDER}/BRD.md")
        team.reject("слишком сложно\nобойдёмся без очереди")
        until(lambda: team.started() == ["analyst", "architect", "architect"], "the architect works again")
        team.waits_for("approval", "architecture")
        assert "слишком сложно" in team.task_file()
        assert world.gitea.file_at(REPO, BRANCH, f"{FOLDER}/BRD.md") == brd
        team.approve()
        until(lambda: team.started()[-1] == "developer", "the developer works")


def test_a_person_may_write_the_documents_in_place_of_agents(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin_written("ci")
        assert team.started() == []
        assert team.pull.user.login == "developer"
