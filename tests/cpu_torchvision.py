"""Lets PyPI's torchvision, which is built for CUDA, be imported beside a torch that is built for CPUs.

`python tests/cpu_torchvision.py` installs it into the environment that runs it, where every process of it, children
included, has it from its start. Two operators that torchvision's import wants are declared; nothing here calls them.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any


class DeclareOperators(MetaPathFinder):
    """Declares the operators when torchvision is first imported, and finds nothing itself."""

    library: Any = None

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Nothing."""
        if name == "torchvision" and DeclareOperators.library is None:
            import torch

            if torch.version.cuda is None:
                DeclareOperators.library = torch.library.Library("torchvision", "FRAGMENT")
                for operator in ("nms", "qnms"):
                    signature = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                    DeclareOperators.library.define(signature)


def install() -> None:
    """Copy this file into the environment, and have each start of its Python import it."""
    packages = Path(sysconfig.get_paths()["purelib"])
    shutil.copyfile(__file__, packages / "cpu_torchvision.py")
    (packages / "cpu_torchvision.pth").write_text("import cpu_torchvision\n")


if __name__ == "__main__":
    install()
else:
    sys.meta_path.insert(0, DeclareOperators())
