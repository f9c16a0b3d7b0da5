"""Fetching a set from where its task says it is published: the only place of this project that uses the network."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from harness.core import Source, Task, UserError, replace
from harness.data.archives import archive_name, download, size_of, unpack
from harness.data.lock import (
    LockedFile,
    LockedSet,
    differences,
    is_plain,
    local_set,
    read_files,
    read_lock,
    set_files,
    set_of,
    write_set,
)
from harness.data.verify import miscounted, read_splits
from harness.store import disk
from harness.values import cut

ROOM = ".fetch"
PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz")
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be fetched of a set: the hub's files with bytes and, where it tells, SHA-256; archives with bytes."""

    source: Source
    revision: str
    sizes: Mapping[str, int]
    sha256: Mapping[str, str]
    archives: Mapping[str, int]


def fetch(data: Path, task: Task, revision: str | None, say: Say) -> None:
    """Download a set, read it, count it, and lock it; after an interruption the files that came whole stay.

    Without ``revision`` it is the one of the lock file, or else the hub's current one; either is said before anything
    is downloaded, with the size.

    Raises:
        UserError: where it cannot be had or written, its counts are not those published, or it is not what is locked.
    """
    folder = data / set_of(data, task)
    with disk.refusing_disk_faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _without_links(folder)
        (folder / ROOM).mkdir(exist_ok=True)
        lock = disk.Lock(folder / ROOM / "lock")
        if not lock.take():
            raise UserError(f"process {lock.owner()} fetches {task.name} already: wait for it or stop it")
        with lock:
            _fetch(data, task, revision, say)


def _fetch(data: Path, task: Task, revision: str | None, say: Say) -> None:
    name = set_of(data, task)
    folder, locked = data / name, read_lock(data).sets.get(name)
    pinned = revision or (locked.revision if locked else "")
    wanted = look_up(task, pinned, folder)
    there = sum(size for name, size in wanted.sizes.items() if disk.size(folder / name) == size)
    total = sum(wanted.sizes.values()) + sum(wanted.archives.values())
    say(_announcement(task, wanted, total, there))
    for torn in (folder / ".cache").rglob("*.incomplete"):  # the hub's library never goes on with one
        torn.unlink()
    disk.need_space(folder, total - there + sum(wanted.archives.values()), f"set {task.name}")
    if wanted.sizes:
        _from_hub(folder, wanted)
    for url in wanted.archives:
        _from_site(folder, url, wanted.source, say)
    _lock(data, task, wanted, locked if locked and locked.revision == wanted.revision else None, say)


def look_up(task: Task, revision: str, folder: Path) -> Wanted:
    """What a set's first source holds at a revision, the current one if that is empty. Raises UserError if nothing."""
    if task.official is None or not task.sources:
        raise UserError(f"task {task.name} does not say where official data is published: put it into {folder} by hand")
    source = task.sources[0]
    sizes: dict[str, int] = {}
    sha256: dict[str, str] = {}
    if source.hub:
        with _refusing_network(source.hub, revision):
            from huggingface_hub import HfApi

            info = HfApi().dataset_info(source.hub, revision=revision or None, files_metadata=True)
        revision = str(info.sha)
        for one in info.siblings or ():
            if any(fnmatchcase(one.rfilename, pattern) for pattern in source.files):
                if not is_plain(one.rfilename):
                    raise UserError(f"{source.hub} names a file {cut(ascii(one.rfilename), 80)}: do not use it")
                sizes[one.rfilename] = one.size or 0
                if one.lfs is not None:
                    sha256[one.rfilename] = one.lfs.sha256
        if not sizes:
            raise UserError(
                f"{source.hub} has no file like {', '.join(source.files)} at {revision}: give another --revision"
            )
    elif revision:
        raise UserError(f"set {task.name} comes from its official site, which has no revisions: leave out --revision")
    stamps = folder / ROOM
    urls = [url for url in source.urls if not (stamps / f"{archive_name(url)}.done").is_file()]
    archives = {url: size_of(url) for url in urls}
    return Wanted(source=source, revision=revision, sizes=sizes, sha256=sha256, archives=archives)


def _announcement(task: Task, wanted: Wanted, total: int, there: int) -> str:
    """One line: what will be downloaded, from where, how large it is, under which licence."""
    source = wanted.source
    parts = [f"{source.hub} at revision {wanted.revision} ({len(wanted.sizes):,} files)"] if source.hub else []
    parts += wanted.archives
    where = ", ".join(parts) or "its official site, all of it downloaded before"
    note = f"; {source.note}" if source.note else ""
    have = f", {there / 1e6:,.1f} MB of it here" if there else ""
    return f"{task.name}: {total / 1e6:,.1f} MB{have} from {where}; licence {task.licence}{note}"


def _without_links(folder: Path) -> None:
    """Raise UserError where a link would lead a download out of its folder."""
    for place in (folder, *(Path(at) / name for at, names, _ in os.walk(folder) for name in names)):
        if place.is_symlink():
            raise UserError(
                f"{place} is a symbolic link, and a download follows none: give a --data folder without, or lock what"
                f" is there by `harness data verify {folder.name}`"
            )


def online() -> None:
    """Let this process, which was asked to download, use the hub and show its progress; before the hub is imported."""
    os.environ.update({"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"})
    if sys.stderr.isatty():
        os.environ.pop("TQDM_DISABLE", None)


def _from_hub(folder: Path, wanted: Wanted) -> None:
    """Download the hub's files; each is looked at by size and, where the hub tells it, by SHA-256."""
    with _refusing_network(wanted.source.hub, wanted.revision):
        from huggingface_hub import snapshot_download

        snapshot_download(
            wanted.source.hub,
            repo_type="dataset",
            revision=wanted.revision,
            allow_patterns=[_literal(name) for name in wanted.sizes],
            local_dir=folder,
        )
    found = read_files({name: folder / name for name in wanted.sizes if (folder / name).is_file()}, {})
    for name, size in wanted.sizes.items():
        file = found.get(name)
        sha256 = wanted.sha256.get(name, file.sha256 if file else "")
        if file is None or file.size != size or file.sha256 != sha256:
            (folder / name).unlink(missing_ok=True)
            raise UserError(
                f"set {folder.name}: {name} did not come whole: expected {size:,} bytes and SHA-256"
                f" {sha256[:12] or 'unknown'}, found {file.size if file else 0:,} bytes: give the command again"
            )


def _literal(name: str) -> str:
    """A pattern that fits this name alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _from_site(folder: Path, url: str, source: Source, say: Say) -> None:
    """Download an archive of the official site, unpack it, and remove it; one put there by hand is taken too."""
    name = archive_name(url)
    room = folder / ROOM
    by_hand = folder / name
    archive = by_hand if by_hand.is_file() else room / name
    if not archive.is_file():
        download(url, archive)
    if name.endswith(PACKED):
        say(f"{folder.name}: {unpack(archive, folder, source.files):,} files from {name}")
        (room / f"{name}.done").touch()
        archive.unlink()
    else:
        archive.replace(by_hand)
        (room / f"{name}.done").touch()


def _lock(data: Path, task: Task, wanted: Wanted, locked: LockedSet | None, say: Say) -> None:
    """Count what came and put it into the lock file; it must be what was ``locked`` for this revision."""
    name = set_of(data, task)
    folder = data / name
    files = read_files(set_files(folder, task.sources), {})
    _only(task, files, wanted)
    if locked and (lines := differences(task.name, locked.files, files)):
        raise UserError(
            f"{lines[0]}: remove that file and fetch again, or give `harness data verify {task.name} --write`"
        )
    counts = {split: read.count for split, read in read_splits(task, folder).items()}
    if lines := miscounted(task.name, task.counts, counts, "published are"):
        raise UserError(
            f"{lines[0]}: it is not locked; give another --revision, or take it as it is by"
            f" `harness data verify {task.name} --write`"
        )
    found = local_set(files, wanted.source.hub or "official site", wanted.revision)
    broken = locked.broken if locked and locked.fingerprint == found.fingerprint else {}
    write_set(data, name, replace(found, counts=counts, broken=broken))
    said = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    say(f"{task.name}: {said}; fingerprint {found.fingerprint[:12]}; locked")


def _only(task: Task, files: Mapping[str, LockedFile], wanted: Wanted) -> None:
    """Raise UserError where the folder holds files of another revision beside those that came from the hub alone."""
    strangers = [name for name in files if name not in wanted.sizes]
    if wanted.sizes and not wanted.source.urls and strangers:
        raise UserError(
            f"set {task.name}: {strangers[0]} is no file of {wanted.source.hub} at this revision: move it away,"
            " then give the command again"
        )


@contextmanager
def _refusing_network(hub: str, revision: str) -> Iterator[None]:
    """Turn what the hub's library raises into one line; faults of the disk stay what they are."""
    try:
        from huggingface_hub import errors
    except ImportError as fault:
        raise UserError("huggingface_hub is not installed: run `pip install -c constraints.txt -e .`") from fault
    try:
        yield
    except errors.GatedRepoError as fault:
        raise UserError(
            f"{hub} is behind a form: accept its terms on the hub and `hf auth login`, then again"
        ) from fault
    except errors.RepositoryNotFoundError as fault:
        raise UserError(f"{hub} is not on the hub: download the set by hand, then `harness data verify`") from fault
    except errors.RevisionNotFoundError as fault:
        raise UserError(f"{hub} has no revision {cut(revision, 50)}: give another --revision") from fault
    except (errors.HTTPError, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError) as fault:
        line = cut(str(fault), 160) or type(fault).__name__
        raise UserError(f"the hub cannot be reached ({line}): the same command goes on later") from fault


__all__ = ["Wanted", "fetch", "look_up", "online"]
