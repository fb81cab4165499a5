"""What comes from elsewhere: damaged and hostile run folders, opened by every command, and malformed inputs."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from damaged import DAMAGED_FILES, DAMAGES, VERBS, damaged_run
from hostile import HOSTILE, SECRET, Hostile, harm, opened
from malformed import MALFORMED, Malformed, fault

from semexplain.system.trouble import REFUSED
from soak.injections import Injection
from soak.victims import Outcome, run


def of_strangers(world: Path) -> Iterator[Injection]:
    """All of them.

    Args:
        world: What :func:`soak.world.make` has made.
    """
    small = world / "small"
    for name in DAMAGED_FILES:
        for damage in DAMAGES:
            for verb in VERBS:
                yield Injection(f"damaged {name} {damage}: {verb}", _damaged(small, name, damage, verb))
    for hostile in HOSTILE:
        for verb in hostile.verbs:
            yield Injection(f"hostile {hostile.name}: {verb}", _hostile(small, hostile, verb))
    for case in MALFORMED:
        yield Injection(
            f"malformed {case.name!a}", lambda folder, case=case: _empty(folder, lambda: fault(case, folder))
        )


def _damaged(small: Path, name: str, damage: str, verb: str) -> Callable[[Path], str | None]:
    def inject(folder: Path) -> str | None:
        hurt = damaged_run(small / "run", folder, name, damage)
        victim = run(lambda: VERBS[verb](hurt, folder / "out"), folder / "log")
        if (wrong := _told(victim)) is not None:
            return wrong
        named = Path(name).name in victim.text or (verb == "parts" and "has no parts.yaml" in victim.text)
        return None if victim.status == 0 or named else f"the file is not named: {victim.text[-400:]}"

    return lambda folder: _empty(folder, lambda: inject(folder))


def _malformed(case: Malformed) -> Callable[[Path], str | None]:
    return lambda folder: _empty(folder, lambda: fault(case, folder))


def _hostile(small: Path, hostile: Hostile, verb: str) -> Callable[[Path], str | None]:
    photo = small / "faces" / "img_align_celeba" / "000001.jpg"

    def inject(folder: Path) -> str | None:
        os.environ["XDG_CONFIG_HOME"] = str(folder / "home")
        (folder / "home").mkdir()
        place = folder / "there"
        place.mkdir()
        victim, done = harm(
            hostile,
            small / "run",
            place,
            lambda copy, out: run(lambda: opened(verb, copy, photo, out), folder / "log"),
        )
        if done is None and SECRET in victim.text:
            done = "it told the secret"
        return done or _told(victim)

    return lambda folder: _empty(folder, lambda: inject(folder))


def _told(victim: Outcome) -> str | None:
    if "Traceback" in victim.text or victim.status not in (0, REFUSED):
        return f"status {victim.status}: {victim.text[-600:]}"
    return None


def _empty(folder: Path, inject: Callable[[], str | None]) -> str | None:
    """Inject in an empty folder, and leave nothing of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        return inject()
    finally:
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)
