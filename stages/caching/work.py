"""Computing a cache: estimate, shards over processes, and going on after a kill."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from anygen.checkpoints.manifest import sha256, write_atomic
from anygen.config import from_json, to_json
from anygen.errors import AnyGenError, BadArgument, CheckpointCorrupt

from ..run import RunConfig, build_stage, stage_config
from ..run_folder import hold
from .compute import Subject
from .decoding import START, write_start
from .identity import CACHED, identity, made_with, marks
from .index import (
    FORMAT,
    INDEX,
    PLAN,
    SHARDS,
    Index,
    Shard,
    differences,
    dtype_of,
    note_of,
    saving,
    seal,
    unseal,
    verify_shard,
    write_index,
    write_shard,
)
from .samples import pack

PROBED = 8
"""Samples that the estimate computes."""


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """How a cache is computed."""

    samples: int = 10_000
    """Samples of a procedural data set; one's own data are cached whole."""
    shard: int = 512
    """Samples of a shard."""
    batch: int = 16
    """Samples that go through the language model at once."""
    dtype: str = "float16"
    """What vectors, states, targets and latents are kept in; `float32` loses nothing."""
    workers: int = 1
    """Processes; each holds a model of its own and computes on one thread."""

    def __post_init__(self) -> None:
        if min(self.samples, self.shard, self.batch, self.workers) < 1:
            raise BadArgument(f"found {to_json(self)}, expected at least 1 of each")
        dtype_of(self.dtype)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is ahead."""

    samples: int
    """Samples of all splits."""
    shards: int
    """Files."""
    finished: int
    """Files that are there from a run before, verified."""
    bytes: int
    """Size of the finished cache."""
    seconds: float
    """Time that the rest takes, over all processes."""


class CacheJob:
    """A cache to be computed.

    Args:
        name: Stage that will train on it.
        config: The stage's configuration as its YAML has it, with `cache`.
        options: How.

    Raises:
        BadArgument: The stage has nothing to cache, the configuration names no folder, or something else
            lies there.
    """

    def __init__(self, name: str, config: dict[str, Any], options: CacheOptions) -> None:
        if name not in CACHED:
            raise BadArgument(f"found stage {name}, expected one with features: {', '.join(CACHED)}")
        parsed = stage_config(name, config)
        if parsed.cache is None:
            raise BadArgument("found no `cache` in the stage's configuration, expected a folder; add `cache`")
        self.name, self.options, self.folder = name, options, Path(parsed.cache)
        self._config = {key: value for key, value in config.items() if key != "cache"}
        self._parsed = stage_config(name, self._config)
        subject = _subject(name, self._config, options)  # first: the toybox's features may come of it
        self.identity = identity(name, self._parsed)
        self._check_folder()
        self.splits, self._probe = subject.splits, _probe(subject, options)
        self.sources = tuple(getattr(subject.stage, "sources", ()))
        self._subject: Subject | None = subject
        self.shards = tuple(_shards(self.splits, options.shard))

    @property
    def plan(self) -> dict[str, Any]:
        """What a cache in the folder must have been begun with."""
        shape = {"stage": self.name, "dtype": self.options.dtype, "samples_per_shard": self.options.shard}
        return self.identity | shape | {"format_version": FORMAT, "samples": self._count()}

    def _count(self) -> int | None:
        return self.options.samples if self._parsed.data is None else None

    def _check_folder(self) -> None:
        """See that the folder is new, or holds the beginnings of this very cache."""
        plan = self.folder / PLAN
        if self.folder.exists() and not self.folder.is_dir():
            raise BadArgument(f"{self.folder} is a file, expected a folder for the cache; name another")
        if plan.is_file():
            try:
                others = list(differences(unseal(plan), self.plan))
            except CheckpointCorrupt:
                others = [f"{PLAN} is damaged"]
            if others:
                raise BadArgument(
                    f"found in {self.folder} a cache of something else ({'; '.join(others)}); "
                    "remove it, or cache into a new folder"
                )
        elif self.folder.is_dir() and any(p.name != ".lock" for p in self.folder.iterdir()):
            raise BadArgument(f"{self.folder} holds other files and no cache; name an empty or new folder")

    def estimate(self) -> Estimate:
        """Size and time, from a few samples that were computed."""
        seconds, size, count = self._probe
        finished = self.finished.values()
        left = sum(s.end - s.begin for s in self.shards) - sum(s.end - s.begin for s in finished)
        total = sum(self.splits.values())
        return Estimate(
            samples=total,
            shards=len(self.shards),
            finished=len(finished),
            bytes=round(size / count * total),
            seconds=seconds / count * left / min(self.options.workers, max(1, len(self.shards))),
        )

    @cached_property
    def finished(self) -> dict[str, Shard]:
        """Shards of a run before, by their files; each is verified when this is first asked for."""
        listed, found = self._index_shards(), {}
        for shard in self.shards:
            with contextlib.suppress(AnyGenError):
                note = note_of(self.folder, shard)
                done = listed.get(shard.file) or from_json(Shard, unseal(note))
                if (done.split, done.begin, done.end) == (shard.split, shard.begin, shard.end):
                    verify_shard(self.folder, done)
                    found[shard.file] = done
        return found

    def _index_shards(self) -> dict[str, Shard]:
        try:
            index = from_json(Index, unseal(self.folder / INDEX))
        except AnyGenError:
            return {}
        return {shard.file: shard for shard in index.shards}

    def run(self, on_shard: Callable[[int, int], None] = lambda done, total: None) -> Index:
        """Compute what is missing, and write the index.

        Args:
            on_shard: Told how many shards of how many are finished.

        Returns:
            The index.

        Raises:
            AnyGenError: A sample cannot be computed, the disk refuses, or a process died.
        """
        self._check_space()
        with hold(self.folder), saving(self.folder):
            (self.folder / SHARDS).mkdir(exist_ok=True)
            write_atomic(self.folder / PLAN, seal(self.plan))
            for draft in (self.folder / SHARDS).glob(".*.tmp"):
                draft.unlink()
            parts = self._start()
            done = dict(self.finished)
            missing = [shard for shard in self.shards if shard.file not in done]
            on_shard(len(done), len(self.shards))
            for shard in self._computed(missing):
                done[shard.file] = shard
                on_shard(len(done), len(self.shards))
            index = self._index([done[s.file] for s in self.shards], parts)
            write_index(self.folder, index)
            for shard in self.shards:
                note_of(self.folder, shard).unlink(missing_ok=True)
        return index

    def _start(self) -> dict[str, Any]:
        """The trained parts before training; only decoder alignment trains without the rest of the model."""
        folder = self.folder / START
        shutil.rmtree(folder, ignore_errors=True)
        assert self._subject is not None
        return write_start(self._subject.system, folder) if self.name == "decoder-alignment" else {}

    def _index(self, shards: Sequence[Shard], parts: dict[str, Any]) -> Index:
        start = self.folder / START
        files = sorted(p for p in start.rglob("*") if p.is_file())
        return Index(
            stage=self.name,
            identity=self.identity,
            made_with=made_with(self._parsed.parts()),
            splits=self.splits,
            dtype=self.options.dtype,
            shards=tuple(shards),
            start={p.relative_to(start).as_posix(): sha256(p) for p in files},
            sources=self.sources,
            parts=parts,
        )

    def _check_space(self) -> None:
        place = next(p for p in (self.folder, *self.folder.absolute().parents) if p.exists())
        free, wanted = shutil.disk_usage(place).free, self.estimate().bytes
        if wanted > free:
            raise BadArgument(
                f"found {free >> 20} MiB of room, expected about {wanted >> 20} MiB for the cache; "
                "name a folder on another disk"
            )

    def _computed(self, shards: Sequence[Shard]) -> Iterator[Shard]:
        if self.options.workers == 1 or len(shards) < 2:
            assert self._subject is not None
            for shard in shards:
                yield compute_shard(self._subject, shard, self.folder, self.options)
            return
        self._subject = None  # the workers have their own
        yield from self._spread(shards)

    def _spread(self, shards: Sequence[Shard]) -> Iterator[Shard]:
        pool = ProcessPoolExecutor(
            min(self.options.workers, len(shards)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self.name, self._config, self.options),
        )
        with pool:
            pending: set[Future[Shard]] = {pool.submit(_work, shard, self.folder) for shard in shards}
            try:
                while pending:
                    finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in finished:
                        yield future.result()
            except BrokenProcessPool:
                raise CheckpointCorrupt(
                    "a process of the cache died (out of memory?); run it again, finished shards are kept"
                ) from None
            finally:
                for future in pending:
                    future.cancel()


def _shards(splits: dict[str, int], size: int) -> Iterator[Shard]:
    for split, count in splits.items():
        for number, begin in enumerate(range(0, count, size)):
            file = f"{split.replace('/', '.')}-{number:05d}.safetensors"
            yield Shard(file=file, split=split, begin=begin, end=min(begin + size, count))


def _subject(name: str, config: dict[str, Any], options: CacheOptions) -> Subject:
    return Subject(build_stage(name, config), count=options.samples, batch=options.batch)


def _probe(subject: Subject, options: CacheOptions) -> tuple[float, int, int]:
    """Seconds and bytes of a few samples, and how many; the first pass only warms up."""
    split, count = next(iter(subject.splits.items()))
    count = min(PROBED, count)
    subject.samples(split, 0, 1)
    started = time.perf_counter()
    samples, _ = subject.samples(split, 0, count)
    seconds = time.perf_counter() - started
    tensors = pack(samples, dtype_of(options.dtype))
    return seconds, sum(t.numel() * t.element_size() for t in tensors.values()), count


def compute_shard(subject: Subject, shard: Shard, folder: Path, options: CacheOptions) -> Shard:
    """Compute and write one shard.

    Raises:
        AnyGenError: A sample cannot be computed, or the disk refuses.
    """
    samples, items = subject.samples(shard.split, shard.begin, shard.end)
    tensors = pack(samples, dtype_of(options.dtype))
    return write_shard(folder, replace(shard, files=marks(items)), tensors)


_SUBJECT: list[tuple[Subject, CacheOptions]] = []


def _begin(name: str, config: dict[str, Any], options: CacheOptions) -> None:
    """In a new process: one thread, the stage, and an end when the parent ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    torch.set_num_threads(1)
    with contextlib.suppress(RuntimeError):
        torch.set_num_interop_threads(1)
    _SUBJECT.append((_subject(name, config, options), options))


def _follow(parent: Any) -> None:
    """End with the parent: a worker of a killed command would wait for ever."""
    parent.join()
    os._exit(1)


def _work(shard: Shard, folder: Path) -> Shard:
    subject, options = _SUBJECT[0]
    return compute_shard(subject, shard, folder, options)


def job_of(name: str, config: RunConfig, options: CacheOptions) -> CacheJob:
    """The job of a run file."""
    torch.set_num_threads(config.threads)
    return CacheJob(name, config.stage, options)
