"""How a folder's disk is mounted, as far as locks are concerned: some network disks keep them on each machine."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
# The options by which a kind of network disk keeps flock's locks on the machine that takes them.
ALONE = {
    "nfs": ("nolock", "local_lock=all", "local_lock=flock"),
    "nfs4": ("nolock", "local_lock=all", "local_lock=flock"),
    "lustre": ("localflock",),
    "cifs": ("nobrl",),
    "smb3": ("nobrl",),
    "gfs2": ("localflocks",),
    "ocfs2": ("localflocks",),
}


def mounted(place: Path, table: str) -> tuple[str, tuple[str, ...]]:
    r"""Kind and options of the disk that a folder lies on, by the system's table of mounts; ("", ()) where it has none.

    >>> mounted(Path("/data/runs"), "/dev/sda1 / ext4 rw 0 0\nhost:/x /data nfs4 rw,local_lock=all 0 0\n")
    ('nfs4', ('rw', 'local_lock=all'))
    """
    best: tuple[int, str, str] = (-1, "", "")
    for line in table.splitlines():
        fields = line.split(" ")
        if len(fields) < 4:
            continue
        where = Path(fields[1].replace("\\040", " "))
        if (where == place or where in place.parents) and len(where.parts) >= best[0]:
            best = len(where.parts), fields[2], fields[3]
    return best[1], tuple(best[2].split(",")) if best[2] else ()


def locks_alone(place: Path) -> str:
    """Why locks on a folder's disk say nothing to other machines, in some words; empty where nothing tells so."""
    try:
        kind, options = mounted(place.resolve(), MOUNTS.read_text())
    except OSError:
        return ""
    found = [option for option in options if option in ALONE.get(kind, ())]
    return f"{kind}, {found[0]}" if found else ""


__all__ = ["locks_alone", "mounted"]
