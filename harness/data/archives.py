"""Archives of official sites: downloaded over https where the last try stopped, and unpacked inside one folder."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from harness.core import UserError
from harness.data.lock import is_plain
from harness.store import disk
from harness.values import cut

BLOCK = 2**20
SECONDS = 60  # without a byte, until a server counts as gone
# Pictures hardly shrink and JSON to a tenth; more than that is a bomb.
MOST_TIMES, MOST_BESIDE = 50, 10**9
SCHEMES = ("https",)

Member = tuple[str, int, Callable[[], IO[bytes]]]


def archive_name(url: str) -> str:
    """The file name of an archive's address. Raises UserError where that is no https address of a file."""
    parts = urlsplit(url)
    name = parts.path.rpartition("/")[2]
    if parts.scheme not in SCHEMES or not is_plain(name):
        raise UserError(f"{cut(url)} is no https address of a file: mend the task's sources")
    return name


def size_of(url: str) -> int:
    """The bytes of the file at an address; 0 where its server does not say. Raises UserError where it cannot be had."""
    with _opened(url, method="HEAD") as response:
        return int(response.headers.get("Content-Length") or 0)


def download(url: str, target: Path) -> None:
    """Download a file, from where an earlier try stopped; ``target`` appears when it is whole.

    Raises:
        UserError: where it cannot be had or written; what came stays for the next try.
    """
    part = target.with_name(target.name + ".part")
    begun = part.stat().st_size if part.is_file() and not part.is_symlink() else 0
    with _opened(url, begun) as response:
        if response.status != 206:
            begun = 0
            part.unlink(missing_ok=True)
        wanted = begun + int(response.headers.get("Content-Length") or -begun)
        with part.open("ab") as file:
            shutil.copyfileobj(response, file, BLOCK)
    if wanted and part.stat().st_size != wanted:
        raise UserError(
            f"{cut(url)} broke off after {part.stat().st_size:,} of {wanted:,} bytes: give the command again"
        )
    part.replace(target)


@contextmanager
def _opened(url: str, begun: int = 0, method: str = "GET") -> Iterator[HTTPResponse]:
    """The answer of a server; faults of the network become one line, those of the disk stay what they are."""
    archive_name(url)
    headers = {"User-Agent": "cpt-harness", **({"Range": f"bytes={begun}-"} if begun else {})}
    try:
        response = urlopen(Request(url, headers=headers, method=method), timeout=SECONDS)  # noqa: S310 - https alone
    except (OSError, HTTPException) as fault:
        raise UserError(
            f"{cut(url)} cannot be had ({cut(str(fault), 120)}): try again, or download it by hand"
        ) from fault
    with response:
        if urlsplit(response.url).scheme not in SCHEMES:
            raise UserError(f"{cut(url)} leads to {cut(response.url)}, which is not https: download it by hand")
        try:
            yield response
        except (ConnectionError, TimeoutError, HTTPException) as fault:
            raise UserError(
                f"{cut(url)} broke off ({cut(str(fault), 120)}): give the command again to go on"
            ) from fault


def unpack(archive: Path, folder: Path, patterns: Sequence[str] = ()) -> int:
    """Put an archive's files that fit a pattern (all without patterns) into a folder; how many there are.

    Only regular files with plain names below the folder are written, and no link on the way is followed. Files that are
    there with their size are left, so that an interrupted unpacking goes on.

    Raises:
        UserError: where the archive is damaged, hostile, holds too much or nothing that is wanted; nothing of it that
            was not yet written will be.
    """
    try:
        with _members(archive) as members:
            for name, _, _ in members:
                if not is_plain(name):
                    raise UserError(f"{archive} holds {cut(ascii(name), 80)}, which leaves its folder: do not use it")
            wanted = [one for one in members if not patterns or any(fnmatchcase(one[0], each) for each in patterns)]
            total = sum(size for _, size, _ in wanted)
            if not wanted:
                raise UserError(f"{archive} holds no file of the set ({', '.join(patterns)}): download it again")
            if total > MOST_TIMES * archive.stat().st_size + MOST_BESIDE:
                raise UserError(f"{archive} would unpack to {total:,} bytes, too much for its size: do not use it")
            disk.need_space(folder, total, f"unpacking {archive.name}")
            for name, size, opened in wanted:
                _write(folder, name, size, opened)
            return len(wanted)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError) as fault:
        raise UserError(f"{archive} is damaged ({cut(str(fault), 120)}): remove it and fetch again") from fault


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    """Name, size and opener of each regular file of a zip or tar archive; links and devices are refused."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            found = [one for one in packed.infolist() if not one.is_dir()]
            for one in found:
                kind = one.external_attr >> 28  # of the Unix mode, where there is one
                if kind not in (0, 8):
                    raise UserError(f"{archive} holds {cut(ascii(one.filename), 80)}, which is no file: do not use it")
            yield [(one.filename, one.file_size, partial(packed.open, one)) for one in found]
    else:
        with tarfile.open(archive) as packed_tar:
            entries = [one for one in packed_tar.getmembers() if not one.isdir()]
            for entry in entries:
                if not entry.isreg():
                    raise UserError(f"{archive} holds {cut(ascii(entry.name), 80)}, which is no file: do not use it")
            yield [(one.name, one.size, partial(_reader, packed_tar, one)) for one in entries]


def _reader(packed: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    """A regular file of a tar archive, opened."""
    found = packed.extractfile(entry)
    if found is None:
        raise EOFError(f"{entry.name} has no content")
    return found


def _write(folder: Path, name: str, size: int, opened: Callable[[], IO[bytes]]) -> None:
    """Write one file of an archive below a folder, whole or not at all."""
    target = folder / name
    for place in (target, *target.parents):
        if place == folder:
            break
        if place.is_symlink():
            raise UserError(f"{place} is a symbolic link: move it away, unpacking follows none")
    if target.is_file() and target.stat().st_size == size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = disk.aside(target)
    draft.unlink(missing_ok=True)
    try:
        with opened() as source, draft.open("xb") as file:
            shutil.copyfileobj(source, file, BLOCK)
        if draft.stat().st_size != size:
            raise EOFError(f"{name} is cut short")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


__all__ = ["archive_name", "download", "size_of", "unpack"]
