"""The tab Generate: images of a checkpoint, and defects put into them where the user clicks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from magical_hub.app.making import Made, Pipelines, make, place, walk
from magical_hub.app.mistakes import show_errors
from magical_hub.app.packing import BOXES, FORMATS, pack
from magical_hub.conditions import LabelNames
from magical_hub.errors import ConfigError, check_number
from magical_hub.grid import Grid
from magical_hub.pictures import enlarged, enlarged_by, with_grid, with_labels
from magical_hub.texts import listed, markdown

ANY = "as often as in training"
NONE = "none"
CHECKPOINT = "RUN (the folder of a training), the name of a bundled checkpoint, or OWNER/NAME on the Hub."
PICTURE: dict[str, Any] = {"format": "png", "interactive": False, "show_label": False}
"""The options of every component with images: lossless; the name is above the image, where it hides no pixel."""
WHOLE: dict[str, Any] = {"precision": 0, "maximum": 2**53 - 1}
"""The options of every box for a seed: a browser rounds larger whole numbers, which are other seeds."""
PROGRESS = gr.Progress()
QUICK = 256 * 256
"""Pixels of a canvas of which the page opens with images."""


class GenerateTab:
    """The components of the tab, and what they do.

    Args:
        pipelines: of all users.
        checkpoint: the initial one.
        folder: where ZIP files go.
        local: whether users may name other checkpoints.
    """

    def __init__(self, pipelines: Pipelines, checkpoint: str, folder: Path, local: bool) -> None:
        self._pipelines, self._folder = pipelines, folder
        self._only = None if local else checkpoint
        self.loaded, self.made = gr.State(""), gr.State()
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self._lay_out_request(checkpoint, local)
            with gr.Column(scale=2, min_width=320):
                self._lay_out_pictures()

    def _lay_out_request(self, checkpoint: str, local: bool) -> None:
        self.name = gr.Textbox(checkpoint, label="Checkpoint", info=CHECKPOINT, visible=local)
        self.load = gr.Button("Load", visible=local)
        self.about = gr.Markdown()
        self.label = gr.Dropdown([ANY], value=ANY, label="Class")
        self.number = gr.Slider(1, 32, value=4, step=1, label="Number of images")
        self.seed = gr.Number(
            0, label="Seed", info="The same seed gives the same images, here and by the command.", **WHOLE
        )
        self.truncation = gr.Slider(
            0,
            2,
            value=1,
            step=0.05,
            label="Truncation",
            info="1 is as trained; towards 0 images draw near their mean, above 1 away from it.",
        )
        self.draw = gr.Checkbox(label="With defects as often as in training", visible=False)
        self.go = gr.Button("Generate", variant="primary")
        with gr.Accordion("Download", open=False):
            self.format = gr.Radio([*FORMATS], value="COCO", label="Layout")
            self.pack = gr.Button("Pack the images as a ZIP file")
            self.packed = gr.File(label="ZIP file", interactive=False)

    def _lay_out_pictures(self) -> None:
        gr.Markdown("Images: choose one")
        self.gallery = gr.Gallery(
            **PICTURE, label="Images", columns=8, fit_columns=False, height="auto", allow_preview=False, buttons=[]
        )
        with gr.Row():
            with gr.Column(min_width=300):
                gr.Markdown("The canvas and its grid")
                self.canvas = gr.Image(
                    **PICTURE,
                    label="Canvas",
                    alt_text="The chosen image under the lines of its grid of sub-regions",
                    buttons=["fullscreen"],
                )
                with gr.Column(visible=False) as self.tools:
                    self.defect = gr.Dropdown([NONE], value=NONE, label="Defect to put where you click")
                    with gr.Row(equal_height=True):
                        self.row = gr.Number(1, label="Row", precision=0, minimum=1, min_width=80)
                        self.col = gr.Number(1, label="Column", precision=0, minimum=1, min_width=80)
                        self.put = gr.Button("Put it there", size="md", min_width=120)
            with gr.Column(min_width=300):
                gr.Markdown("Without (left) and with its defects (right)")
                self.slider = gr.ImageSlider(**PICTURE, label="Without and with its defects", buttons=["fullscreen"])
                self.marks = gr.Checkbox(True, label="Draw boxes and masks", visible=False)
                self.facts = gr.Markdown()

    def wire(self, page: gr.Blocks) -> None:
        """Say what each of the components does; inside the page."""
        named, shown = [self.name, self.loaded], [self.canvas, self.slider, self.facts]
        described = [self.loaded, self.about, self.label, self.draw, self.tools, self.defect, self.marks, self.format]
        gr.on([self.load.click, self.name.submit], self._load, self.name, described, **computing(self.about))
        inputs = [self.loaded, self.number, self.seed, self.label, self.truncation, self.draw, self.marks]
        page.load(self._load, self.name, described, **computing(self.about)).success(
            self._open, [self.made, *inputs], [self.made, self.gallery, *shown], **computing(self.gallery)
        )
        self.go.click(self._load_if_new, named, described, **computing(self.about)).success(
            self._generate, inputs, [self.made, self.gallery, *shown], **computing(self.gallery)
        )
        looked_at = [self.made, self.marks]
        self.gallery.select(self._choose, looked_at, [self.made, *shown], show_progress="hidden")
        self.marks.change(self._show, looked_at, shown, show_progress="hidden")
        placed = [self.made, self.gallery, *shown]
        self.canvas.select(self._click, [*looked_at, self.defect], placed, **computing(self.slider))
        self.put.click(self._put, [*looked_at, self.defect, self.row, self.col], placed, **computing(self.slider))
        self.pack.click(self._pack, [self.made, self.format], self.packed, **computing(self.packed))

    @show_errors
    def _load(self, name: str) -> tuple[Any, ...]:
        name = self._only or name.strip()
        pipe = self._pipelines.get(name)
        known, grid = LabelNames.of(pipe.generator.config), pipe.generator.grid
        defects = (
            f"Defects: {markdown(listed(known.defects))}."
            if known.defects
            else "It generates no defects, so no boxes."
        )
        about = (
            f"**{markdown(Path(name).name)}**: {grid.height} x {grid.width} px, {grid.rows} x {grid.cols} "
            f"sub-regions of {grid.cell_height} x {grid.cell_width} px. {defects}"
        )
        formats = [name for name in FORMATS if known.defects or name not in BOXES]
        return (
            name,
            about,
            gr.Dropdown([ANY, *known.classes], value=ANY, visible=bool(known.classes)),
            gr.Checkbox(False, visible=bool(known.defects)),
            gr.Column(visible=bool(known.defects)),
            gr.Dropdown([*known.defects, NONE], value=(*known.defects, NONE)[0]),
            gr.Checkbox(True, visible=bool(known.defects)),
            gr.Radio(formats, value=formats[0]),
        )

    @show_errors
    def _load_if_new(self, name: str, loaded: str) -> Any:
        return gr.skip() if (self._only or name.strip()) == loaded else self._load(name)

    @show_errors
    def _generate(
        self,
        loaded: str,
        number: int,
        seed: int,
        label: str,
        truncation: float,
        draw: bool,
        marks: bool,
        progress: gr.Progress = PROGRESS,
    ) -> tuple[Any, ...]:
        class_label = None if label == ANY else label
        pipe = self._pipelines.get(loaded)
        made = Made(loaded, truncation, make(pipe, number, seed, class_label, truncation, draw, progress))
        return made, self._thumbnails(made), *self._show(made, marks)

    @show_errors
    def _open(self, made: Made | None, loaded: str, *inputs: Any) -> tuple[Any, ...]:
        """The first images, when the page is opened; not of canvases that take long."""
        grid = self._pipelines.get(loaded).generator.grid
        if made is not None or grid.height * grid.width > QUICK:
            return (gr.skip(),) * 5
        images: tuple[Any, ...] = self._generate(loaded, *inputs)
        return images

    @show_errors
    def _choose(self, made: Made, marks: bool, event: gr.SelectData) -> tuple[Any, ...]:
        made = replace(made, chosen=event.index)
        return made, *self._show(made, marks)

    @show_errors
    def _click(self, made: Made | None, marks: bool, defect: str, event: gr.SelectData) -> tuple[Any, ...]:
        made = _something(made)
        grid = self._pipelines.get(made.checkpoint).generator.grid
        return self._placed(made, marks, defect, *_sub_region_at(event.index, made.picture.image, grid))

    @show_errors
    def _put(self, made: Made | None, marks: bool, defect: str, row: int, col: int) -> tuple[Any, ...]:
        for name, number in (("Row", row), ("Column", col)):
            check_number(name, number, at_least=1, whole=True)
        return self._placed(_something(made), marks, defect, row - 1, col - 1)

    def _placed(self, made: Made, marks: bool, defect: str, row: int, col: int) -> tuple[Any, ...]:
        made = place(self._pipelines.get(made.checkpoint), made, row, col, defect)
        return made, self._thumbnails(made), *self._show(made, marks)

    def _thumbnails(self, made: Made) -> Any:
        pictures = [(picture.image, str(number)) for number, picture in enumerate(made.pictures, 1)]
        return gr.Gallery(pictures, selected_index=made.chosen)

    @show_errors
    def _show(self, made: Made | None, marks: bool) -> tuple[Any, ...]:
        """The canvas, before and after, and what is known of the chosen picture."""
        if made is None:
            return gr.skip(), gr.skip(), gr.skip()
        pipe, picture = self._pipelines.get(made.checkpoint), made.picture
        known, grid = LabelNames.of(pipe.generator.config), pipe.generator.grid
        after = enlarged(picture.image)
        if marks:
            after = with_labels(picture.image, picture.objects, picture.mask, known.defects)
        label = "" if picture.label is None else f", {markdown(known.classes[picture.label], 80)}"
        facts = [f"Seed {picture.seed}{label}"]
        for item in picture.objects:
            left, top, width, height = item["bbox"]
            category = markdown(item["category"], 80)
            facts.append(f"- {category}: {width:g} x {height:g} px from column {left:g}, row {top:g} on")
        requested = 0 if picture.field is None else int((picture.field > 0).sum())
        if requested and not picture.objects:
            facts.append("- the defect that was put here does not show: no box, no mask")
        canvas = with_grid(picture.image, grid, picture.field)
        return canvas, (enlarged(picture.defect_free), after), "\n".join(facts)

    @show_errors
    def _pack(self, made: Made | None, format_name: str) -> str:
        made = _something(made)
        return str(pack(self._pipelines.get(made.checkpoint), made, format_name, self._folder))


class WalkBox:
    """The components of the walk, and what they do.

    Args:
        pipelines: of all users.
        tab: whose checkpoint, class and truncation count.
    """

    def __init__(self, pipelines: Pipelines, tab: GenerateTab) -> None:
        self._pipelines, self._tab = pipelines, tab
        self.frames = gr.State([])
        with gr.Accordion("Walk between two seeds", open=False):
            gr.Markdown(
                "From the first image of one seed to that of another, through latents between theirs. Class and local "
                "noise stay those of the first. A generator that has learned its images by heart jumps."
            )
            with gr.Row():
                self.start = gr.Number(0, label="From seed", **WHOLE, min_width=100)
                self.end = gr.Number(1, label="To seed", **WHOLE, min_width=100)
                self.number = gr.Slider(2, 24, value=9, step=1, label="Frames", min_width=160)
                self.go = gr.Button("Walk", min_width=100)
            self.position = gr.Slider(1, 9, value=1, step=1, label="Frame", interactive=True)
            self.frame = gr.Image(
                **PICTURE,
                label="The walk",
                height=420,
                buttons=[],
                alt_text="One image of the walk: move the slider above to see the others",
            )

    def wire(self) -> None:
        """Say what each of the components does; inside the page."""
        tab = self._tab
        inputs = [tab.loaded, self.start, self.end, self.number, tab.label, tab.truncation]
        self.go.click(self._walk, inputs, [self.frames, self.position, self.frame], **computing(self.frame))
        self.position.input(self._turn, [self.frames, self.position], self.frame, show_progress="hidden")

    @show_errors
    def _walk(
        self,
        loaded: str,
        start: int,
        end: int,
        number: int,
        label: str,
        truncation: float,
        progress: gr.Progress = PROGRESS,
    ) -> tuple[Any, ...]:
        class_label = None if label == ANY else label
        frames = walk(self._pipelines.get(loaded), (start, end), number, class_label, truncation, progress)
        return frames, gr.Slider(1, number, value=1, step=1), enlarged(frames[0])

    @show_errors
    def _turn(self, frames: list[Image.Image], position: int) -> Any:
        return enlarged(frames[position - 1]) if frames else gr.skip()


def computing(where: Any) -> dict[str, Any]:
    """How an event runs that makes images.

    One after the other, so that two users at once wait for each other in a queue; progress is shown in one place.
    """
    return {"concurrency_id": "compute", "concurrency_limit": 1, "show_progress_on": where}


def _something(made: Made | None) -> Made:
    if made is None:
        raise ConfigError("there are no images yet: press Generate")
    return made


def _sub_region_at(pixel: tuple[int, int], image: Image.Image, grid: Grid) -> tuple[int, int]:
    """Row and column of the sub-region under a pixel (x, y) of the enlarged image."""
    factor = enlarged_by(image)
    x, y = (min(max(0, int(place)) // factor, size - 1) for place, size in zip(pixel, image.size, strict=True))
    location, _ = grid.cover(y, x, 1, 1)
    return divmod(location, grid.cols)
