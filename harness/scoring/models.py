"""Folders of models through the one evaluator: a cell of each model, task and style, cached in the store.

The replies are kept under the digest of the weights and everything else that decides them, as those of a run are: a
killed command goes on where it was, and a checkpoint of our own that lies elsewhere is asked nothing twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.asking.devices import Engines
from harness.asking.engines import EngineKind
from harness.asking.engines.kinds import ENDPOINT
from harness.asking.evaluate import cell_of
from harness.core import Cell, Observation, Run, Scale, UserError, replace, slug
from harness.foreign.taken import take
from harness.lora import is_adapter
from harness.observe import View, generate, kept_replies, view_of
from harness.registry import typed
from harness.results.marks import Place, Scores
from harness.results.matrix import BASE, from_cells
from harness.run_inputs import run_stages
from harness.scoring.adapters import take_adapter
from harness.scoring.folders import model_in
from harness.scoring.scored import Scored, asked_run, options_of, scores_of, wanted_cells
from harness.scoring.servers import believed, is_address, open_served, served_by, weights_of_served
from harness.store import disk
from harness.store.checkpoints import Store
from harness.values import cut
from harness.weights import weights_digest

NAME = "elsewhere"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model of a stage ("base" too): where it is, the digest of its weights, and what a reader must know of it.

    One that a server serves has its ``address``, and the ``folder`` is that of the words: tokenizer and processor.
    """

    stage: str
    folder: Path
    weights: str
    note: str = ""
    address: str = ""


@contextmanager
def models_of(base: Path | None, stages: Mapping[str, str | Path], out: Path) -> Iterator[tuple[Model, ...]]:
    """The models of folders; of a stage the tensors, and configuration, tokenizer, template and processor the base's.

    So all are asked alike, whatever their trainers wrote beside the weights. A folder whose tensors have other names
    than the base's is taken as it is, and a note says so; so is every folder where there is no base. A stage may be a
    server's ADDRESS#NAME instead, "base" too.

    Raises:
        UserError: where a folder holds no model.
    """
    given = {**({} if base is None else {BASE: base}), **stages}
    words = None if base is None else model_in(base)
    folders = {stage: place if is_address(place) else model_in(Path(place)) for stage, place in given.items()}
    with ExitStack() as places, disk.refusing_disk_faults(out):
        out.mkdir(parents=True, exist_ok=True)
        disk.sweep(out)
        yield tuple(
            _model(stage, place, words, out, places) if isinstance(place, Path) else _served(stage, place, words)
            for stage, place in folders.items()
        )


def _served(stage: str, place: str, words: Path | None) -> Model:
    """A model that a server serves."""
    if words is None:
        raise UserError(f"{cut(place, 100)} is a server: give the folder of its tokenizer and processor with --base")
    url, name = served_by(place)
    return Model(
        stage=stage,
        folder=words,
        weights=weights_of_served(url, name),
        note=believed(stage, name),
        address=place,
    )


def _model(stage: str, folder: Path, base: Path | None, out: Path, places: ExitStack) -> Model:
    """One of them; what is put together for it goes when ``places`` are left."""
    if is_adapter(folder) and (base is None or stage == BASE):
        raise UserError(f"{cut(str(folder))} is an adapter: give the model that it stands on with --base")
    if base is None or folder == base:
        return Model(stage=stage, folder=folder, weights=weights_digest(folder))
    place = disk.draft_folder(out / f"taken-{slug(stage)}")
    places.callback(shutil.rmtree, place, ignore_errors=True)
    place.rmdir()
    if is_adapter(folder):
        note = take_adapter(folder, base, place)
        note = note and f"{stage}: {note}"
        return Model(stage=stage, folder=place, weights=weights_digest(place), note=note)
    try:
        take(folder, base, place)
    except UserError as fault:
        note = f"{stage} keeps its own configuration, tokenizer and template, because {cut(str(fault))}"
        return Model(stage=stage, folder=folder, weights=weights_digest(folder), note=note)
    return Model(stage=stage, folder=place, weights=weights_digest(place))


def score_models(
    models: Sequence[Model], run: Run, out: Path, styles: Sequence[str], hear: Callable[[str], None]
) -> tuple[Scored, ...]:
    """The models' cells in each style, the first one the headline; ``run`` says on what, ``hear`` is told of each cell.

    Raises:
        UserError: where a stage is none of the stream, or what is kept in the store is damaged.
    """
    run = asked_run(run, [model.stage for model in models if model.stage != BASE])
    store, kind = Store(out), typed(EngineKind, run.scale.engine)
    with disk.refusing_disk_faults(out):
        view = view_of(run, kind)
        names = [BASE, *(stage.name for stage in run_stages(run))]
        cells: list[Cell] = []
        marks: dict[Place, Scores] = {}
        wanted = wanted_cells(run, styles)
        for model in sorted(models, key=lambda one: names.index(one.stage)):
            here = replace(view, engine=f"{ENDPOINT.name}-v{ENDPOINT.version}@server") if model.address else view
            asked = tuple(one for one in wanted if one.stage == names.index(model.stage))
            make_replies(model, here, store, kind, asked, hear)
            for one in asked:
                cell, scores = seen(here, store, model, one)
                cells.append(cell)
                marks[one.stage, one.name, one.style] = scores
    return tuple(scored_cells(view, style, cells, marks, models) for style in styles)


def make_replies(
    model: Model, view: View, store: Store, kind: EngineKind, asked: Sequence[Observation], hear: Callable[[str], None]
) -> None:
    """Generate what the store lacks of a model's replies; the model is loaded once, if at all."""
    store.replies.mkdir(parents=True, exist_ok=True)
    generate(
        view,
        store,
        asked,
        model.weights,
        engines_of(model, kind, view.scale),
        lambda one, seconds: hear(f"{one.name} in the style {one.style} after {model.stage}: {seconds:.0f} s"),
    )


def engines_of(model: Model, kind: EngineKind, scale: Scale) -> Engines:
    """What a model is asked by: the server that serves it, or the engines that load its folder."""
    if model.address:
        kind = replace(ENDPOINT, open=lambda folder, scale: open_served(model, scale))
    return Engines(kind, model.folder, scale, scale.ranks)


def seen(view: View, store: Store, model: Model, one: Observation) -> tuple[Cell, Scores]:
    """The cell of an observation from the kept replies, and the scores of its items."""
    replies = kept_replies(view, store, model.weights, one).records
    marks = view.marks(one, replies)
    cell = cell_of(
        replies,
        marks,
        one,
        run=NAME,
        scorer=view.scorer(one.name),
        engine=view.engine,
        weights=model.weights,
        data=view.asked[one.name].data,
    )
    return cell, scores_of([reply.group for reply in replies], marks)


def scored_cells(
    view: View, style: str, cells: Sequence[Cell], marks: Mapping[Place, Scores], models: Sequence[Model]
) -> Scored:
    """One style's matrix of the models' cells."""
    run = view.run
    stages = [(stage.name, stage.tasks) for stage in run_stages(run)]
    matrix = from_cells(cells, style=style, tasks=run.stream.tasks, general=run.stream.general, stages=stages)
    return Scored(
        source="models",
        style=style,
        seeds=(NAME,),
        matrices=(matrix,),
        marks=(marks,),
        options=options_of(view.asked),
        cells=tuple(cells),
        inputs={model.stage: model.weights for model in models},
        notes=(*(model.note for model in models if model.note), *same_weights(models), *other_engines(cells)),
    )


def same_weights(models: Sequence[Model]) -> list[str]:
    """A line for each two models whose weights are one: a wrong path reads as "nothing was forgotten"."""
    first: dict[str, str] = {}
    found = []
    for model in models:
        if (other := first.setdefault(model.weights, model.stage)) != model.stage:
            found.append(
                f"the weights of {model.stage} are those of {other}, to the last bit: is its folder the right one?"
            )
    return found


def other_engines(cells: Sequence[Cell]) -> list[str]:
    """A line where models were asked by several engines, whose replies differ by themselves."""
    found = sorted({cell.engine for cell in cells})
    return [f"stages were asked by different engines ({', '.join(found)}): a part of a difference may be theirs"] * (
        len(found) > 1
    )


__all__ = ["Model", "models_of", "same_weights", "score_models"]
