"""The table of jobs with their requirements, and the function that runs a job."""

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
import small
import speed
import torch
import zoo
from context import FailedError, JobContext, OutOfTimeError, read_results
from needs import FOR_TESTS, find_missing, free_gb
from training import Part, find_camvid

from dseg.errors import DsegError
from dseg.locks import LockedError, locked

MOST_BYTES, MOST_FILES = 10 << 20, 8


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job and its requirements.

    Attributes:
        parts: returns its parts by name, in the order in which they run.
        camvid: whether it needs CamVid.
        disk_gb: free disk space that it needs, in GB.
        packages: packages that it needs in addition to those of all jobs, by module.
        options: command-line options that it reads.
    """

    parts: Callable[[JobContext], dict[str, Part]]
    camvid: bool = True
    disk_gb: float = 1.0
    packages: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


JOBS: dict[str, Job] = {
    "check": Job(parts=lambda context: check.PARTS, camvid=False, disk_gb=2, packages=FOR_TESTS),
    "camvid": Job(parts=lambda context: camvid.PARTS, options=("compile",)),
    "bundled": Job(parts=lambda context: bundled.PARTS, disk_gb=4),
    "zoo": Job(parts=zoo.find_parts, disk_gb=4, options=("group", "keep")),
    "small": Job(parts=small.find_parts, disk_gb=2),
    "throughput": Job(parts=lambda context: speed.PARTS, camvid=False),
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

    0: all parts are finished; 1: a part failed or time ran out; 128 plus the number of the signal
    that ended the job. After 1 or a signal the same command resumes the job.

    Raises:
        DsegError: a requirement is missing, or ``out`` holds the results of another job.
    """
    job = JOBS[name]
    before = read_results(out)
    if before.get("job") == name and before.get("complete"):
        print(f"{out} holds the finished job {name}: nothing to do. Name another --out.")
        return 0
    chosen = {key: options[key] for key in job.options}
    context = JobContext(name, out, seconds, tiny, data, chosen, only)
    check_requirements(context, job, only)
    try:
        with locked(context.work / ".job.lock"), context.stopping_on_signals():
            context.open()
            context.log(f"{context.results['machine']}")
            return run_parts(context, job, only)
    except LockedError as fault:
        raise DsegError(
            f"Another job works in {out} ({fault.holder}).", hint="wait, or name another --out."
        ) from None


def check_requirements(context: JobContext, job: Job, only: tuple[str, ...]) -> None:
    """Raise a DsegError that names all missing requirements of a job."""
    lacking = []
    if not context.tiny and not torch.cuda.is_available():
        lacking.append("a GPU that torch can use (or --tiny, to try the job without)")
    if job.camvid and context.data is None and not context.tiny:
        lacking.append("the folder of CamVid (--data), with train, trainannot, val and valannot")
    if missing := find_missing(job.packages):
        lacking.append(f"the packages {', '.join(missing)}")
    needed = 0.2 if context.tiny else job.disk_gb
    if (there := free_gb(context.out)) < needed:
        lacking.append(f"{needed:g} GB of disk at {context.out}, where {there:.1f} GB are free")
    if unknown := set(only) - set(job.parts(context)):
        lacking.append(f"other names for --only than {', '.join(sorted(unknown))}: "
                       f"{', '.join(job.parts(context))}")  # fmt: skip
    if lacking:
        raise DsegError(
            f"The job {context.job} needs {'; and '.join(lacking)}.",
            hint="see scripts/gpu/README.md.",
        )
    if context.data is not None:
        find_camvid(context)


def run_parts(context: JobContext, job: Job, only: tuple[str, ...]) -> int:
    """Run the parts one after the other until time runs out."""
    parts = job.parts(context)
    wanted = [part for part in parts if not only or part in only]
    for part in wanted:
        if context.is_finished(part):
            context.log(f"{part}: finished by an earlier start")
            continue
        if not context.left:
            break
        context.log(f"{part}: {context.left:.0f} s are left")
        try:
            context.keep(part, parts[part](context), finished=True)
        except OutOfTimeError as cut:
            context.log(f"{part}: out of time: {cut}")
        except (FailedError, DsegError) as fault:
            context.log(f"{part}: failed: {fault}")
            context.keep(part, context.results.get(part, {}) | {"failed": str(fault)[-1500:]})
        except Exception:  # the other parts still run
            context.log(traceback.format_exc())
            context.keep(part, context.results.get(part, {}) | {"failed": traceback.format_exc()})
    context.results["complete"] = all(map(context.is_finished, parts))
    context.save()
    if context.results["complete"]:
        tidy(context.work)
    report_files(context)
    if context.signal:
        return 128 + context.signal
    return 0 if all(map(context.is_finished, wanted)) else 1


def tidy(work: Path) -> None:
    """Remove states and drawn data, which only an unfinished job needs; keep the weights."""
    for path in work.rglob("*"):
        if path.is_file() and path.suffix not in (".safetensors", ".jsonl", ".json", ".lock"):
            path.unlink()
    for path in (work / "camvid", work / "scenes"):
        shutil.rmtree(path, ignore_errors=True)


def report_files(context: JobContext) -> None:
    """Log how the job ended, and warn if its folder is larger than intended."""
    files = [path for path in context.out.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    done = (
        "all is done" if context.results["complete"] else "not all is done: start it again to go on"
    )
    context.log(f"{done}; {len(files)} files of {size / 2**20:.1f} MiB in {context.out}")
    if len(files) > MOST_FILES or size > MOST_BYTES:
        context.log(f"WARNING: more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB")
