"""Memory of one device at its peak: while a stage loads its weights, trains, and samples its replies.

Bytes are the sum of named parts. A parameter that is trained is 16 bytes: its fp32 master, its gradient, and AdamW's
two moments (4 each); FSDP2 spreads them, and the reference, over the devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.budget.shape import Shape

TRAINED = 16  # bytes a trained parameter
FP32, HALF = 4, 2
PIXEL_VALUES = 6  # numbers that the processor makes of a pixel: three colours, twice in time
BETWEEN = 3  # numbers that are kept for one of a layer's own, where nothing is recomputed: as measured on the twin
KV_SEQUENCES = 16  # sequences of full length that vLLM's cache has room for at least: two groups of eight
VLLM_TOKENS = 8192  # of one step of vLLM, for whose activations it keeps room
TIGHT = 0.8  # of a device's memory: above it the parts that are estimates, activations above all, decide
RANK = 3e9  # bytes of a rank's libraries: what a whole run of the twin stays within
MOST_SHARE = 0.5  # of the memory that vLLM is given where there is more: enough to keep the cards busy
VLLM, CACHE = ("vLLM weights", "vLLM activations"), "cache"


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a stage is trained and its replies are sampled, as far as memory sees it.

    ``adapter`` counts LoRA's parameters, 0 for full fine-tuning; ``base`` is the bytes of a frozen weight. A forward
    pass of one device has at most ``tokens`` in rows of ``row``, and ``pictures`` of ``pixels`` each; in ``half``
    precision activations are recomputed layer by layer. ``reference`` is the bytes of a weight of the KL reference, 0
    where there is none or it is an adapter; gathered whole or layer by layer (``whole_reference``). Of a rollout batch
    ``waiting`` pictures a device lie in the host's memory, and ``kept`` ones, as in TRL, on the device, ``kept_twice``
    while they are shuffled. ``replies`` says what samples them:
    nothing, transformers (``at_once`` of them in one call) or vllm, each sequence up to ``length`` tokens.
    """

    devices: int = 1
    adapter: int = 0
    base: int = FP32
    half: bool = True
    tokens: int
    row: int
    pictures: int = 1
    pixels: int
    reference: int = 0
    whole_reference: bool = False
    waiting: int = 0
    kept: int = 0
    kept_twice: bool = False
    replies: str = ""
    at_once: int = 0
    length: int = 0


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one device by part: in training, while replies are sampled (if they are), and while weights load."""

    training: Mapping[str, float]
    sampling: Mapping[str, float]
    loading: Mapping[str, float]

    @property
    def peak(self) -> float:
        """The largest of the three sums."""
        return max(sum(parts.values()) for parts in (self.training, self.sampling, self.loading))

    def verdict(self, memory: float) -> str:
        """Whether a device of so much memory holds it: fits, tight (above four fifths of it) or no.

        What loads is known to the byte, so it is never tight.
        """
        estimated = max(sum(self.training.values()), sum(self.sampling.values()))
        return "no" if self.peak > memory else "tight" if estimated > TIGHT * memory else "fits"

    @property
    def engine(self) -> float:
        """What vLLM wants at least: its weights, its activations, and a cache for a few sequences; 0 without it."""
        return sum(self.sampling.get(name, 0.0) for name in (*VLLM, CACHE)) if VLLM[0] in self.sampling else 0.0

    def vllm_share(self, memory: float) -> float | None:
        """The share of a device that vLLM can be given beside the rest, in steps of 0.05; None without vLLM.

        At most 0.5: a larger cache keeps no card busier.
        """
        if not self.engine:
            return None
        rest = sum(self.sampling.values()) - self.engine
        return min(MOST_SHARE, max(0, int((memory - rest) / memory / 0.05)) / 20)


def of(shape: Shape, way: Way) -> Memory:
    """The memory of one device."""
    states = _states(shape, way)
    kept = {"pictures kept": (1 + way.kept_twice) * way.kept * way.pixels * PIXEL_VALUES * FP32}
    forward = {"activations": activations(shape, way), "gathered weights": _gathered(shape, way)}
    judged = {"reference's pass": _reference_pass(shape, way)}
    stepped = {"optimiser's step": FP32 * (way.adapter or shape.parameters) / way.devices}
    most = forward
    for other in (judged, stepped):
        most = other if sum(other.values()) > sum(most.values()) else most
    training = {**states, **kept, **most}
    sampling = {**states, **kept, **_replies(shape, way)} if way.replies else {}
    return Memory(training=_there(training), sampling=_there(sampling), loading=_there(_loading(shape, way)))


def _there(parts: Mapping[str, float]) -> dict[str, float]:
    return {name: size for name, size in parts.items() if size}


def _states(shape: Shape, way: Way) -> dict[str, float]:
    trained = way.adapter or shape.parameters
    return {
        "weights, gradients, moments": TRAINED * trained / way.devices,
        "frozen base": way.base * shape.parameters / way.devices if way.adapter else 0.0,
        "reference": way.reference * shape.parameters / way.devices,
    }


def _loading(shape: Shape, way: Way) -> dict[str, float]:
    """Several ranks load whole weights each onto its own device, and spread them when the reference is there too."""
    held = FP32 if not way.adapter else way.base
    return {"whole weights": held * shape.parameters, "whole reference": way.reference * shape.parameters}


def activations(shape: Shape, way: Way) -> float:
    """What a forward pass keeps for the backward one.

    In half precision the input of each layer, and all of one layer, the language model's or the vision tower's; in fp32
    nothing is recomputed, so all of every one, with what lies between its parts.
    """
    patches = way.pictures * shape.patches(way.pixels)
    text, seen = way.tokens * _layer(shape.width, shape.inner), patches * _layer(shape.vision_width, shape.vision_inner)
    mask = way.tokens * way.row  # dense: a row sees itself
    if not way.half:
        return FP32 * (BETWEEN * (shape.layers * text + shape.vision_layers * seen) + mask)
    inputs = shape.layers * way.tokens * shape.width + shape.vision_layers * patches * shape.vision_width
    return HALF * (inputs + max(text, seen) + mask)


def _layer(width: int, inner: int) -> int:
    """Numbers of one layer a token: eight vectors of its width and five of its MLP's inner width."""
    return 8 * width + 5 * inner


def _gathered(shape: Shape, way: Way) -> float:
    """Weights that are whole on a device for an instant: table and head; all in bf16 where nothing is spread."""
    if way.devices > 1:
        return HALF * 2 * shape.embedding
    return HALF * shape.parameters if way.half and not way.adapter else 0.0


def _reference_pass(shape: Shape, way: Way) -> float:
    """The frozen reference's weights that are whole at once: all of them, or its largest layer."""
    if not way.reference or way.devices == 1:
        return 0.0
    return HALF * (shape.parameters if way.whole_reference else shape.embedding)


def _replies(shape: Shape, way: Way) -> dict[str, float]:
    """What sampling adds: the cache of keys and values, and vLLM's own copy of the weights."""
    bytes_each = HALF if way.half else FP32
    if way.replies == "vllm":
        return {
            VLLM[0]: bytes_each * shape.parameters,
            VLLM[1]: bytes_each * VLLM_TOKENS * _layer(shape.width, shape.inner),
            CACHE: KV_SEQUENCES * way.length * bytes_each * shape.kv_values,
        }
    cache = way.at_once * way.length * bytes_each * shape.kv_values
    return {CACHE: cache, "cache, again": cache}  # measured: transformers holds it twice at its peak


def host(shape: Shape, way: Way) -> float:
    """Bytes of the host's memory: fp32 weights, each rank's pictures and libraries.

    On one device the weights pass through the host on their way there; of several the main rank gathers what it saves.
    """
    weights = shape.parameters if way.devices == 1 else way.adapter or shape.parameters
    pictures = way.waiting * way.pixels * PIXEL_VALUES * FP32
    return FP32 * weights + way.devices * (pictures + RANK)


__all__ = ["Memory", "Way", "activations", "host", "of"]
