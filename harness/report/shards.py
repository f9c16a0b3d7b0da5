"""Data as the page reads it: a script that hands a text of base64 over, and can do nothing else.

A page that is opened from a file may load scripts but fetch nothing. So each part of the data is a script of one call
whose second argument is compressed JSON in base64: no letter of a reply or of a data set stands in it as it is, and
nothing of it is ever run.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any

_NAME = re.compile(r"[a-z0-9][a-z0-9./-]*")
_CALL = re.compile(r'receive\("([a-z0-9./-]+)", "([A-Za-z0-9+/=]+)"\);\n')


def shard(name: str, value: Any) -> bytes:
    """A value as the script ``name``; equal values give equal bytes.

    A number that JSON does not have, such as NaN, is a ValueError: nothing undefined is shown as a number.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a shard")
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    packed = gzip.compress(text.encode(), compresslevel=6, mtime=0)
    return f'receive("{name}", "{base64.b64encode(packed).decode()}");\n'.encode()


def opened(content: bytes) -> tuple[str, Any]:
    """The name and the value of a shard, as the page reads them. Raises ValueError where it is none.

    >>> opened(shard("items/gqa", ["</script>"]))
    ('items/gqa', ['</script>'])
    """
    found = _CALL.fullmatch(content.decode("ascii"))
    if found is None:
        raise ValueError("a shard is one call with a name and base64, and nothing else")
    return found[1], json.loads(gzip.decompress(base64.b64decode(found[2], validate=True)))


__all__ = ["opened", "shard"]
