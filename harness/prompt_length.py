"""Prompts that are longer than the scale allows, found and named before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.core import Example, Run, Style, Task, UserError
from harness.run_inputs import asked_examples, run_stages, run_styles, run_tasks, training_examples
from harness.scales import model_folder
from harness.values import cut

# No picture has more tokens than one for so many pixels, and no text more than one for each of its bytes: a prompt that
# is short enough by this count needs no tokenizer. The chat template takes the rest.
PIXELS_A_TOKEN = 64
TEMPLATE = 64
SHOWN = 3


def refuse_long_prompts(run: Run, every_style: bool = False) -> None:
    """Look at every prompt that a run will train on or ask; with ``every_style``, that any paradigm could train on.

    Raises:
        UserError: naming the items whose prompts are longer than the scale allows: cutting one would cut its picture.
    """
    long = {item: length for item, length in _lengths(run, every_style) if length > run.scale.max_prompt_tokens}
    if long:
        names = ", ".join(f"{cut(item, 60)} ({length} tokens)" for item, length in list(long.items())[:SHOWN])
        more = f" and {len(long) - SHOWN} more" if len(long) > SHOWN else ""
        raise UserError(
            f"scale {run.scale.name} allows prompts of {run.scale.max_prompt_tokens} tokens, longer are {names}{more}:"
            " shorten or leave out these items, or use a scale with a larger max_prompt_tokens"
        )


def _lengths(run: Run, every_style: bool) -> Iterator[tuple[str, int]]:
    """The id and the length of each prompt that may be too long."""
    from harness.asking.engines.prompts import prompt_lengths
    from harness.asking.engines.transformers import load_processor
    from harness.asking.evaluate import open_pictures

    doubtful = [
        (example, text)
        for task, style, example in _asked(run, every_style)
        if _most_tokens(text := style.ask(task, example), example, run) > run.scale.max_prompt_tokens
    ]
    if doubtful:
        processor = load_processor(model_folder(run.scale), run.scale)
        for example, text in doubtful:
            yield example.id, prompt_lengths(processor, [(text, open_pictures(example))])[0]


def _asked(run: Run, every_style: bool) -> Iterator[tuple[Task, Style, Example]]:
    """Every item of the run with every style that it is asked in."""
    tasks, styles = run_tasks(run), run_styles(run)
    trained = list(styles.values()) if every_style else [run.paradigm.style]
    shown: list[tuple[Sequence[Style], Mapping[str, Sequence[Example]]]] = [
        (trained, training_examples(run, stage, tasks)) for stage in run_stages(run)
    ]
    shown.append((list(styles.values()), {name: asked_examples(run, task) for name, task in tasks.items()}))
    for ways, items in shown:
        for name, examples in items.items():
            for style in ways:
                yield from ((tasks[name], style, example) for example in examples)


def _most_tokens(text: str, example: Example, run: Run) -> int:
    """An upper bound of a prompt's length in tokens."""
    pictures = len(example.images) * (run.scale.max_pixels // PIXELS_A_TOKEN + TEMPLATE)
    return len(text.encode("utf-8", "replace")) + pictures + TEMPLATE
