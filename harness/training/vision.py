"""That pictures train the vision tower: a stage that only seems to see them would measure something else.

Each rank looks at its own part of the gradients, without a word to the others, as soon as pictures were shown; at the
end of a stage the saved weights are compared with the parent's, which holds for whatever trained them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

TOWERS = ("visual.", "vision_tower.", "vision_model.")


def check_vision(model: Any) -> bool:
    """Whether pictures were seen to train the vision tower; False while the batch had nothing to learn from.

    An adapter of the language model alone leaves the vision tower as it is: there is nothing to be seen.

    Raises:
        RuntimeError: where the language model has a gradient and the vision tower has none.
    """
    seen = {True: not learns_to_see(model), False: False}
    for name, parameter in model.named_parameters():
        vision = is_vision(name)
        seen[vision] = seen[vision] or _any(parameter.grad)
    if seen[False] and not seen[True]:
        raise RuntimeError("the batch has pictures, but the vision tower got no gradient: it did not run")
    return seen[True]


def is_vision(name: str) -> bool:
    """Whether a parameter is of the vision tower, by the names that transformers gives towers."""
    return any(tower in name for tower in TOWERS)


def learns_to_see(model: Any) -> bool:
    """Whether anything of the vision tower is trained: an adapter of the language model alone leaves it as it is."""
    return any(is_vision(name) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _any(gradient: Any) -> bool:
    """Whether a gradient, or this rank's part of it, is not all zero."""
    if gradient is None:
        return False
    mine = gradient.to_local() if hasattr(gradient, "to_local") else gradient
    return bool(mine.any())


def check_moved(before: Path, after: Path) -> None:
    """Compare the vision tower's weights of two model folders.

    Raises:
        RuntimeError: where other weights have moved and none of the vision tower's has.
    """
    moved = moved_parts(before, after)
    if moved[False] and not moved.get(True, True):
        raise RuntimeError(f"the stage showed pictures and moved weights, but none of the vision tower in {after}")


def moved_parts(before: Path, after: Path) -> dict[bool, bool]:
    """Whether any weight of the vision tower (True), and any other one (False), differs between two model folders.

    Tensors are read one by one, and no more of them than it takes. Those that only one folder has are left out, and so
    is the vision tower where none of its is in both.
    """
    import torch

    old, new = _tensors(before), _tensors(after)
    moved = {False: False, **{is_vision(name): False for name in old.keys() & new.keys()}}
    for name in sorted(old.keys() & new.keys()):
        vision = is_vision(name)
        if not moved[vision]:
            moved[vision] = not torch.equal(_read(old[name], name), _read(new[name], name))
        if all(moved.values()):
            break
    return moved


def _tensors(folder: Path) -> dict[str, Path]:
    """The file of each tensor of a model folder."""
    from safetensors import safe_open

    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            found.update(dict.fromkeys(opened.keys(), file))
    return found


def _read(file: Path, name: str) -> Any:
    """A tensor in fp32."""
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return opened.get_tensor(name).float()


__all__ = ["check_moved", "check_vision", "is_vision", "learns_to_see", "moved_parts"]
