"""A download that goes on keeps nobody from waiting; one that hangs does."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path

import pytest

from actors import downloads
from actors.downloads import bytes_in, hub_folder, patiently, told_of
from actors.messages import PoolFailed, ReplicaInfo, SampleResult
from actors.pool import Pool
from actors.printed import Printed
from actors.replica import Replica
from actors.spec import PoolSpec
from tests.support.links import Scripted


@pytest.fixture(autouse=True)
def printed(monkeypatch: pytest.MonkeyPatch) -> Printed:
    fresh = Printed()
    for module in ("actors.downloads", "actors.pool"):
        monkeypatch.setattr(f"{module}.PRINTED", fresh)
    return fresh


def test_a_download_is_said_again_as_it_grows_and_only_then(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(downloads, "SAY_SECONDS", 0.01)
    said: list[str] = []

    def until_said(times: int) -> None:
        deadline = time.monotonic() + 60
        while len(said) < times:
            assert time.monotonic() < deadline
            said.extend(capsys.readouterr().out.splitlines())
            time.sleep(0.01)

    folder = tmp_path / "blobs"
    with told_of(folder):
        until_said(1)
        folder.mkdir()
        (folder / "one.incomplete").write_bytes(b"x" * 10**8)
        until_said(2)
        time.sleep(0.1)
        said.extend(capsys.readouterr().out.splitlines())
        silent = len(said)
        time.sleep(0.1)
        assert capsys.readouterr().out == "", "it gains nothing"
    assert said[0] == ":phase:download"
    assert said[-1] == ":phase:download: 100 MB"
    assert silent >= 2


def test_a_file_whose_content_has_not_come_counts_nothing(tmp_path: Path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10**9)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert bytes_in(tmp_path) < 10**6
    (tmp_path / "whole").write_bytes(b"x" * 10**7)
    assert 10**7 <= bytes_in(tmp_path) < 2 * 10**7
    assert bytes_in(tmp_path / "none") == 0


def test_the_folder_is_the_hubs_own(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert hub_folder("org/model", None) == tmp_path / "models--org--model" / "blobs"
    assert hub_folder("org/model", "/other") == Path("/other/models--org--model/blobs")


async def test_who_waits_waits_on_while_a_download_goes_on_and_no_longer(printed: Printed, monkeypatch):
    monkeypatch.setattr(downloads, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(downloads, "QUIET_SECONDS", 0.2)
    came: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(patiently(came, 0.05, ["generator-3"]))
    for gigabytes in range(20):
        printed.add("generator-3", [f":phase:download: {gigabytes} GB"])
        await asyncio.sleep(0.02)
    assert not waiting.done(), "eight times as long as it has"
    came.set_result(7)
    assert await waiting == 7
    with pytest.raises(TimeoutError):  # it says nothing more
        await patiently(asyncio.get_running_loop().create_future(), 0.05, ["generator-3"])


async def test_only_a_download_that_one_waits_for_counts(printed: Printed):
    printed.add("generator-0", [":phase:download"])
    printed.add("verifier-0", [":phase:load"])
    printed.add("verifier-1", [":phase:wait"])  # for its turn at a device, which generator-0 may have
    assert downloads.waits_for_a_download(["generator-0", "generator-1"])
    assert not downloads.waits_for_a_download(["verifier-0"])
    assert downloads.waits_for_a_download(["verifier-0", "verifier-1"])
    printed.add("generator-0", [":phase:load"])
    assert not downloads.waits_for_a_download(["generator-0", "verifier-0", "verifier-1"])


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_what_is_there_already_is_returned_whatever_the_time(seconds: float):
    came: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    came.set_result(7)
    assert await patiently(came, seconds, []) == 7
    with pytest.raises(TimeoutError):
        await patiently(asyncio.get_running_loop().create_future(), seconds, [])


async def test_an_error_after_the_wait_is_nobodys(caplog: pytest.LogCaptureFixture):
    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise LookupError("too late") from None

    with pytest.raises(TimeoutError):
        await patiently(stubborn(), 0.01, [])
    await asyncio.sleep(0.01)
    gc.collect()
    assert caplog.text == ""


async def test_what_is_waited_for_ends_with_the_wait():
    ended = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await patiently(long(), 0.01, [])
    await asyncio.wait_for(ended.wait(), 60)

    async def fails() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await patiently(fails(), 60, [])


async def test_a_pool_that_is_late_says_in_which_phase_each_replica_is(printed: Printed):
    class Hanging(Scripted):
        async def info(self, _: None) -> ReplicaInfo:
            printed.add(self.name, [":phase:load"])
            return await asyncio.sleep(3600)

    spec = PoolSpec("scripted", Replica, "model", return_poll=0.01)
    pool: Pool[SampleResult] = Pool(spec, lambda _, name: Hanging(name))
    with pytest.raises(PoolFailed, match=r"scripted-0 \(load, 0 s\): not up after 0\.2 s"):
        await pool.start(0.2)
    await pool.close()


async def test_a_replica_that_downloads_for_longer_than_a_start_may_take_comes_up(
    printed: Printed, monkeypatch
):
    monkeypatch.setattr(downloads, "LOOK_SECONDS", 0.01)

    class Downloading(Scripted):
        async def info(self, _: None) -> ReplicaInfo:
            for _ in range(20):
                printed.add(self.name, [":phase:download"])
                await asyncio.sleep(0.02)
            return await super().info(None)

    spec = PoolSpec("scripted", Replica, "model", return_poll=0.01)
    pool: Pool[SampleResult] = Pool(spec, lambda _, name: Downloading(name))
    await pool.start(0.1)
    assert [info.name for info in pool.up] == ["scripted-0"]
    await pool.close()
