"""What all tests share: one Ray and one set of engines, which one lane uses, and the property
tests' settings: no deadline, since the machine may be busy; the same examples each time in CI."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:  # it takes seconds to import, which most tests need not wait for
    from tests.support.shared_engines import SharedEngines

os.environ["OMP_NUM_THREADS"] = "1"  # lanes and engines share a small machine's cores
settings.register_profile("ttc", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("ttc")


@pytest.hookimpl(wrapper=True)  # before xdist's own hook, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, object, object]:
    """Marks what uses the shared Ray or its engines. What shares them is one group of xdist, what starts a
    Ray of its own another: one lane does each. They come first, since they take longest."""

    def shares(item: pytest.Item) -> bool:
        return "shared_ray" in getattr(item, "fixturenames", ())

    def is_heavy(item: pytest.Item) -> bool:
        return any(item.get_closest_marker(name) for name in ("engine", "cluster"))

    for item in items:
        fixtures = {*getattr(item, "fixturenames", ())}
        if fixtures & {"shared_ray", "undisturbed"}:
            item.add_marker("cluster")
        if fixtures & {"engines", "undisturbed"}:
            item.add_marker("engine")
        if is_heavy(item):
            item.add_marker(pytest.mark.xdist_group("shared" if shares(item) else "own"))
    # What starts engines of its own comes before what starts a Ray alone, while the shared ones start: a Ray
    # gives up after some seconds.
    items.sort(key=lambda item: (not is_heavy(item), shares(item), not item.get_closest_marker("engine")))
    return (yield)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Ends a run in lanes whose groups are not heeded: each lane would start engines of its own."""
    if getattr(session.config.option, "loadgroup", False) and hasattr(session.config, "workerinput"):
        apart = [
            i.nodeid for i in session.items if i.get_closest_marker("xdist_group") and "@" not in i.nodeid
        ]
        if apart:
            raise pytest.UsageError(f"xdist does not heed the group of {apart[0]}")


@pytest.fixture(scope="session", autouse=True)
def mlflow_tables() -> Iterator[None]:
    """Stores of this process get their tables by a copy, where a module of the tests uses MLflow: its import
    takes seconds, which the others need not wait for."""
    if "mlflow" not in sys.modules:
        yield
        return
    from tests.support.mlflow_tables import copied_tables

    with copied_tables():
        yield


_SHARED = pytest.StashKey[bool]()
"""Whether this process has the shared Ray."""


@pytest.fixture(scope="session")
def shared_ray(pytestconfig: pytest.Config) -> Iterator[None]:
    """A Ray in this process, with CPUS CPUs and no GPU."""
    from tests.support.shared_engines import one_ray

    with one_ray():
        pytestconfig.stash[_SHARED] = True
        yield
        pytestconfig.stash[_SHARED] = False


@pytest.fixture(autouse=True)
def shared_ray_stays(pytestconfig: pytest.Config) -> Iterator[None]:
    """Fails the test that ends the shared Ray, and none after it."""
    yield
    if pytestconfig.stash.get(_SHARED, False) and not sys.modules["ray"].is_initialized():
        pytestconfig.stash[_SHARED] = False
        pytest.fail("this test has ended the Ray that all tests of this process share")


@pytest.fixture(scope="session")
def engines(
    request: pytest.FixtureRequest, shared_ray: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedEngines]:
    """The shared engines. Those that a test of this session asks for are started at once."""
    from tests.support.shared_engines import ENGINES, SharedEngines

    started = SharedEngines(tmp_path_factory.mktemp("models"))
    asked = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    for name in ENGINES:
        if name in asked:
            started[name]
    yield started
    started.close()


@pytest.fixture(scope="session")
def lab_generator(engines: SharedEngines) -> Any:
    return engines["lab_generator"]


@pytest.fixture(scope="session")
def lab_verifier(engines: SharedEngines) -> Any:
    return engines["lab_verifier"]


@pytest.fixture(scope="session")
def lab_session(engines: SharedEngines, lab_generator: Any, lab_verifier: Any) -> Any:
    """Stands in for ``orchestrator.runs.session.session``, where runs are configured with LAB."""
    return engines.session


@pytest.fixture
def shared_command(lab_session: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """``ttc`` in this process, on the shared lab engines: takes its arguments, returns its exit status."""
    from orchestrator.commands.cli import run_command
    from orchestrator.runs.sweep import Sweep

    monkeypatch.setattr("orchestrator.runs.session.session", lab_session)
    monkeypatch.setitem(Sweep.__init__.__kwdefaults__, "engines", lab_session)
    handler = signal.getsignal(signal.SIGTERM)  # a command puts its own in place
    yield lambda *arguments: run_command(arguments)
    signal.signal(signal.SIGTERM, handler)
