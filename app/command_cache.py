"""`anygen cache`: what a stage's frozen parts say of its samples, computed once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from anygen.errors import BadArgument

from .common import Command, Progress, clean_stdout, number, quiet_libraries

STAGES = ("encoder-alignment", "decoder-alignment")
"""Stages with something to cache."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    positive = number(int, 1)
    parser.add_argument("stage", choices=STAGES, metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="YAML file of the run, with stage.cache"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="lay a setting over the file, such as stage.cache=runs/cache; may be given several times",
    )  # fmt: skip
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument(
        "--samples", type=positive, default=10_000, metavar="N",
        help="samples of the toybox, which has no end (default 10000); own data are cached whole",
    )  # fmt: skip
    parser.add_argument(
        "--samples-per-shard", type=positive, default=512, metavar="N", help="samples of a file (default 512)"
    )
    parser.add_argument(
        "--batch", type=positive, default=16, metavar="N",
        help="samples that go through the language model at once (default 16)",
    )  # fmt: skip
    parser.add_argument(
        "--dtype", choices=("float16", "float32"), default="float16", help="type on disk (default float16)"
    )
    parser.add_argument(
        "--export-webdataset", type=Path, metavar="DIR", help="write the finished cache as tars as well"
    )
    parser.add_argument("--dry-run", action="store_true", help="print size and time, and leave")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(arguments: argparse.Namespace) -> None:
    """Compute the cache, or what is missing of it.

    Args:
        arguments: as declared above.

    Raises:
        BadArgument: when the configuration file does not exist.
    """
    if not arguments.config.is_file():
        raise BadArgument(f"Found no file {arguments.config}, expected the YAML configuration of the run.")
    quiet_libraries()
    from anygen.stages.caching.export import export_webdataset
    from anygen.stages.caching.work import CacheOptions, job_of
    from anygen.stages.run import read_config

    options = CacheOptions(
        samples=arguments.samples, shard=arguments.samples_per_shard, batch=arguments.batch,
        dtype=arguments.dtype, workers=arguments.workers,
    )  # fmt: skip
    progress = Progress(quiet=arguments.quiet)
    with clean_stdout() as stdout:
        job = job_of(arguments.stage, read_config(arguments.config, arguments.settings), options)
        stdout.write(told(job, arguments.workers) + "\n")
        stdout.flush()
        if arguments.dry_run:
            return
        index = job.run(lambda done, total: progress.show(f"{done} of {total} shards"))
        progress.clear()
        size = sum(shard.bytes for shard in index.shards)
        stdout.write(f"{job.folder}: {sum(index.splits.values()):,} samples, {_megabytes(size)}\n")
        if arguments.export_webdataset is not None:
            tars = export_webdataset(job.folder, arguments.export_webdataset)
            stdout.write(f"{arguments.export_webdataset}: {len(tars)} tars\n")


def told(job: Any, workers: int) -> str:
    """What is ahead, in a line.

    Args:
        job: the job.
        workers: processes.

    Returns:
        The line.
    """
    ahead = job.estimate()
    kept = f", {ahead.finished} of them finished" if ahead.finished else ""
    minutes, seconds = divmod(round(ahead.seconds), 60)
    processes = "1 process" if workers == 1 else f"{workers} processes"
    return (
        f"{job.name}: {ahead.samples:,} samples in {ahead.shards} shards{kept}; about "
        f"{_megabytes(ahead.bytes)} in {job.folder}, about {minutes} min {seconds} s with {processes}"
    )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


CACHE = Command(
    name="cache", help="compute a stage's frozen features once", add_arguments=add_arguments, run=run
)
