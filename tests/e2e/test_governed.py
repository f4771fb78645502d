"""The folder governs: what does not load changes nothing, what is removed is pruned, nobody writes beside it."""

from collections.abc import Callable

from tests.e2e.world import LOGIN, ROLE, World, user, wait_until


def stalled(world: World) -> dict[str, object]:
    """The status of the folder once it is stalled."""

    def look() -> dict[str, object] | None:
        sources = world.tctl_json("policy", "status", "-o", "json")["sources"]
        return next((one for one in sources if one["state"] == "Stalled"), None)

    found: dict[str, object] = wait_until(look)
    return found


def ready(world: World) -> dict[str, object]:
    def look() -> dict[str, object] | None:
        sources = world.tctl_json("policy", "status", "-o", "json")["sources"]
        return next((one for one in sources if one["name"] == "folder" and one["state"] == "Ready"), None)

    found: dict[str, object] = wait_until(look)
    return found


def test_a_broken_file_changes_nothing_and_status_names_every_problem(new_world: Callable[..., World]) -> None:
    world = new_world()
    ann = world.person("ann").enrol().login()
    applied = ready(world)["revision"]

    world.write("roles/dev.yaml", ROLE.replace("logins:", "logns:"))
    world.write("users/cleo.yaml", user("cleo", roles="dve"))

    wait_until(lambda: len(stalled(world)["problems"]) == 2)  # type: ignore[arg-type]
    status = stalled(world)
    problems = [f"{one['file']}:{one['line']}: {one['message']}" for one in status["problems"]]  # type: ignore[attr-defined]
    assert problems == ["roles/dev.yaml:6: unknown field logns", "users/cleo.yaml:4: unknown role dve"]
    assert ann.ssh(f"{LOGIN}@db-1", "true").status == 0
    assert status["revision"] == applied
    world.write("roles/dev.yaml", ROLE)
    world.write("users/cleo.yaml", user("cleo"))
    ready(world)
    assert world.wait_event("policy.stalled")["source"] == "folder"


def test_an_emptied_folder_revokes_nobody(new_world: Callable[..., World]) -> None:
    world = new_world()
    ann = world.person("ann").enrol().login()

    for path in world.policies.rglob("*.yaml"):
        path.unlink()

    assert "declares nothing any more" in str(stalled(world)["message"])
    assert ann.ssh(f"{LOGIN}@db-1", "true").status == 0


def test_what_the_folder_owns_is_read_only_elsewhere_and_what_it_does_not_own_is_left_alone(world: World) -> None:
    lock = "kind: lock\nversion: v2\nmetadata: {name: by-hand}\nspec: {target: {login: nobody-at-all}}\n"
    assert world.tctl("create", "-", stdin=lock).status == 0

    owned = world.tctl("rm", "role/dev")
    world.write("users/zoe.yaml", user("zoe"))
    world.wait_event("user.create", name="zoe")

    assert owned.status == 1
    assert "role/dev is declared in roles/dev.yaml:1 and can only be deleted there" in owned.errors
    assert "by-hand" in world.tctl("get", "locks").output
    assert world.tctl("rm", "lock/by-hand").status == 0


def test_an_edit_while_the_process_is_away_is_applied_at_the_next_start(new_world: Callable[..., World]) -> None:
    world = new_world()
    world.stop()
    world.write("users/late.yaml", user("late"))
    (world.policies / "users/bob.yaml").unlink()

    world.start()

    names = [row["name"] for row in world.tctl_json("users", "ls", "-o", "json")]
    assert names == ["ann", "late"]
    assert world.wait_event("user.delete", name="bob")["file"] == "users/bob.yaml"
