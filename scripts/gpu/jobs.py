"""The table of jobs, what each needs, and how its parts are run one after the other."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bundled
import camvid
import check
import speed
import torch
import zoo
from desk import Desk, FailedError, OutOfTimeError, read_results
from needs import FOR_TESTS, find_missing, free_gb
from training import Part, find_camvid

from dseg.errors import DsegError
from dseg.locks import LockedError, locked

MOST_BYTES, MOST_FILES = 10 << 20, 8


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job.

    Attributes:
        parts: returns them by name, in their order.
        camvid: whether it cannot do without CamVid.
        disk_gb: free space that it needs.
        packages: more than all jobs need, by module.
        options: those of the command line that change what it does.
    """

    parts: Callable[[Desk], dict[str, Part]]
    camvid: bool = True
    disk_gb: float = 1.0
    packages: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


JOBS: dict[str, Job] = {
    "check": Job(parts=lambda desk: check.PARTS, camvid=False, disk_gb=2, packages=FOR_TESTS),
    "camvid": Job(parts=lambda desk: camvid.PARTS, options=("compile",)),
    "bundled": Job(parts=lambda desk: bundled.PARTS, disk_gb=4),
    "zoo": Job(parts=zoo.find_parts, disk_gb=4, options=("group", "keep")),
    "throughput": Job(parts=lambda desk: speed.PARTS, camvid=False),
}


def run_job(
    name: str,
    out: Path,
    *,
    seconds: float,
    tiny: bool,
    data: Path | None,
    only: tuple[str, ...],
    options: dict[str, Any],
) -> int:
    """Run a job's parts that are not finished yet; return the exit code.

    0: all is done; 1: a part failed or time ran out; 128 and the number of the signal that ended
    it. The same command goes on in the two other cases.

    Raises:
        DsegError: something is missing that the job needs, or ``out`` holds another job's results.
    """
    job = JOBS[name]
    before = read_results(out)
    if before.get("job") == name and before.get("complete"):
        print(f"{out} holds the finished job {name}: nothing to do. Name another --out.")
        return 0
    chosen = {key: options[key] for key in job.options}
    desk = Desk(name, out, seconds, tiny, data, chosen)
    refuse_unfit(desk, job, only)
    try:
        with locked(desk.work / ".job.lock"), desk.stopping_on_signals():
            desk.open()
            desk.say(f"{desk.results['machine']}")
            return run_parts(desk, job, only)
    except LockedError as fault:
        raise DsegError(
            f"Another job works in {out} ({fault.holder}).", hint="wait, or name another --out."
        ) from None


def refuse_unfit(desk: Desk, job: Job, only: tuple[str, ...]) -> None:
    """Raise a DsegError that names all that a job needs and does not find."""
    lacking = []
    if not desk.tiny and not torch.cuda.is_available():
        lacking.append("a GPU that torch can use (--tiny tries the job without)")
    if job.camvid and desk.data is None and not desk.tiny:
        lacking.append("CamVid's folder (--data), with train, trainannot, val and valannot")
    if missing := find_missing(job.packages):
        lacking.append(f"the packages {', '.join(missing)}")
    needed = 0.2 if desk.tiny else job.disk_gb
    if (there := free_gb(desk.out)) < needed:
        lacking.append(f"{needed:g} GB of disk at {desk.out}, where {there:.1f} GB are free")
    if unknown := set(only) - set(job.parts(desk)):
        lacking.append(f"other names for --only than {', '.join(sorted(unknown))}: "
                       f"{', '.join(job.parts(desk))}")  # fmt: skip
    if lacking:
        raise DsegError(
            f"The job {desk.job} needs {'; and '.join(lacking)}.",
            hint="scripts/gpu/README.md says what each job needs.",
        )
    if desk.data is not None:
        find_camvid(desk)


def run_parts(desk: Desk, job: Job, only: tuple[str, ...]) -> int:
    """Run the parts one after the other until time is over."""
    parts = job.parts(desk)
    wanted = [part for part in parts if not only or part in only]
    for part in wanted:
        if desk.is_finished(part):
            desk.say(f"{part}: finished by an earlier start")
            continue
        if not desk.left:
            break
        desk.say(f"{part}: {desk.left:.0f} s are left")
        try:
            desk.keep(part, parts[part](desk), finished=True)
        except OutOfTimeError as cut:
            desk.say(f"{part}: out of time: {cut}")
        except (FailedError, DsegError) as fault:
            desk.say(f"{part}: failed: {fault}")
            desk.keep(part, desk.results.get(part, {}) | {"failed": str(fault)[-1500:]})
        except Exception:  # the other parts are worth having
            desk.say(traceback.format_exc())
            desk.keep(part, desk.results.get(part, {}) | {"failed": traceback.format_exc()})
    desk.results["complete"] = all(map(desk.is_finished, parts))
    desk.save()
    if desk.results["complete"]:
        tidy(desk.work)
    report_files(desk)
    if desk.signal:
        return 128 + desk.signal
    return 0 if all(map(desk.is_finished, wanted)) else 1


def tidy(work: Path) -> None:
    """Remove what only going on needs: states and drawn data; weights stay."""
    for path in work.rglob("*"):
        if path.is_file() and path.suffix not in (".safetensors", ".jsonl", ".json", ".lock"):
            path.unlink()
    for path in (work / "camvid", work / "scenes"):
        shutil.rmtree(path, ignore_errors=True)


def report_files(desk: Desk) -> None:
    """Say how the job ended, and whether its folder is as small as it should be."""
    files = [path for path in desk.out.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    done = "all is done" if desk.results["complete"] else "not all is done: start it again to go on"
    desk.say(f"{done}; {len(files)} files of {size / 2**20:.1f} MiB in {desk.out}")
    if len(files) > MOST_FILES or size > MOST_BYTES:
        desk.say(f"WARNING: more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB")
