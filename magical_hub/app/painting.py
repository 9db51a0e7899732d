"""The tab Paint: a defect of the data put where the user clicks on a good image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from magical_hub.app.banks import Banks, Click, Stock, read_good
from magical_hub.app.generating import PICTURE, WHOLE, computing
from magical_hub.app.mistakes import show_errors
from magical_hub.app.packing import FORMATS, pack_painted
from magical_hub.defects import Painted
from magical_hub.errors import AugmentationError, ConfigError, check_number
from magical_hub.pictures import enlarged, enlarged_by, with_labels
from magical_hub.texts import listed, markdown

DATA = (
    "A folder of images or a data set with some defects and good images, its id on the Hub, or a folder that "
    "DefectBank.save wrote."
)
SEEDS = 8
"""Tried by *Paint again* until all defects are visible."""
THUMBNAIL = 160


@dataclass(frozen=True, eq=False)
class Painting:
    """The image that one user paints on.

    Args:
        data: name of the bank's data.
        name: of the image.
        image: its pixels, without defects.
        clicks: classes and places, in order.
        seed: of the painting.
        painted: the image with them.
    """

    data: str
    name: str
    image: np.ndarray
    clicks: tuple[Click, ...]
    seed: int
    painted: Painted


class PaintTab:
    """The components of the tab, and what they do.

    Args:
        banks: of all users.
        data: the initial data.
        folder: where ZIP files go.
    """

    def __init__(self, banks: Banks, data: str, folder: Path) -> None:
        self._banks, self._folder = banks, folder
        self.loaded, self.painting = gr.State(""), gr.State()
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self._lay_out_request(data)
            with gr.Column(scale=2, min_width=320):
                self._lay_out_pictures()

    def _lay_out_request(self, data: str) -> None:
        self.data = gr.Textbox(data, label="Defects of", info=DATA)
        self.load = gr.Button("Load the defects")
        self.about = gr.Markdown()
        self.defect = gr.Dropdown([], label="Defect to paint where you click")
        with gr.Row():
            self.again = gr.Button("Paint again", variant="primary", min_width=120)
            self.clear = gr.Button("Take all away", min_width=120)
        self.seed = gr.Number(
            0, label="Seed of the painting", info="The same seed and places give the same image.", **WHOLE
        )
        with gr.Accordion("Download", open=False):
            self.format = gr.Radio([*FORMATS], value="COCO", label="Layout of the label")
            self.pack = gr.Button("Pack image and label as a ZIP file")
            self.packed = gr.File(label="ZIP file with the painted image", interactive=False)

    def _lay_out_pictures(self) -> None:
        with gr.Row():
            with gr.Column(min_width=300):
                gr.Markdown("The good image: click where the defect is to be")
                self.before = gr.Image(
                    **PICTURE,
                    label="The good image",
                    alt_text="The good image: click where the defect is to be",
                    buttons=[],
                )
                with gr.Row(equal_height=True):
                    self.x = gr.Number(0, label="x", precision=0, minimum=0, min_width=80)
                    self.y = gr.Number(0, label="y", precision=0, minimum=0, min_width=80)
                    self.put = gr.Button("Paint it there", size="md", min_width=120)
            with gr.Column(min_width=300):
                gr.Markdown("With its defects")
                self.after = gr.Image(
                    **PICTURE, label="With its defects", alt_text="The image with its defects", buttons=["fullscreen"]
                )
                self.marks = gr.Checkbox(False, label="Draw boxes and masks of the label")
                self.facts = gr.Markdown(elem_id="painted")
        gr.Markdown("Good images: choose one, or drop one of your own")
        self.gallery = gr.Gallery(
            **PICTURE,
            label="Good images",
            columns=8,
            fit_columns=False,
            height="auto",
            allow_preview=False,
            buttons=[],
            elem_id="good",
        )
        self.upload = gr.File(label="A good image", height=120, elem_id="drop", type="filepath")

    def wire(self, page: gr.Blocks) -> None:
        """Say what each of the components does; inside the page."""
        shown = [self.painting, self.before, self.after, self.facts, self.seed]
        opened = [self.loaded, self.about, self.defect, self.gallery, *shown]
        gr.on([page.load, self.load.click, self.data.submit], self._load, self.data, opened, **computing(self.about))
        inputs = [self.painting, self.marks]
        self.gallery.select(self._choose, [self.loaded, self.marks], shown, show_progress="hidden")
        self.upload.upload(self._drop, [self.loaded, self.upload, self.marks], shown, **computing(self.after))
        placed = [*inputs, self.defect, self.seed]
        self.before.select(self._click, placed, shown, **computing(self.after))
        self.put.click(self._put, [*placed, self.x, self.y], shown, **computing(self.after))
        self.again.click(self._again, [*inputs, self.seed], shown, **computing(self.after))
        self.clear.click(self._clear, inputs, shown, show_progress="hidden")
        self.marks.change(self._show, inputs, shown, show_progress="hidden")
        self.pack.click(self._pack, [self.painting, self.format], self.packed, **computing(self.packed))

    @show_errors
    def _load(self, name: str) -> tuple[Any, ...]:
        name = name.strip()
        stock = self._banks.get(name)
        bank = stock.bank
        about = f"**{markdown(Path(name).name, 80)}**: {len(bank)} defects of {markdown(listed(bank.classes))}."
        if stock.good:
            label, image = stock.good[0]
            clicks, seed = stock.suggestion(image)
            painting = _painting(stock, Painting(name, label, image, clicks, seed, _without_defects(image)))
            shown = self._show(painting, False)
        else:
            about += " A bank holds no good images: drop one of your own."
            shown = (None, None, None, "", 0)
        gallery = [_picture(image, THUMBNAIL) for _, image in stock.good]
        return name, about, gr.Dropdown([*bank.classes], value=bank.classes[0]), gallery, *shown

    @show_errors
    def _choose(self, loaded: str, marks: bool, event: gr.SelectData) -> tuple[Any, ...]:
        name, image = self._banks.get(loaded).good[event.index]
        return self._begin(loaded, name, image, marks)

    @show_errors
    def _drop(self, loaded: str, file: str | None, marks: bool) -> tuple[Any, ...]:
        if not loaded:
            raise ConfigError("there are no defects yet: press Load the defects")
        if file is None:
            return self._show(None, marks)
        name, image = read_good(file)
        return self._begin(loaded, name, image, marks)

    def _begin(self, loaded: str, name: str, image: np.ndarray, marks: bool) -> tuple[Any, ...]:
        return self._show(Painting(loaded, name, image, (), 0, _without_defects(image)), marks)

    @show_errors
    def _click(
        self, painting: Painting | None, marks: bool, defect: str, seed: int, event: gr.SelectData
    ) -> tuple[Any, ...]:
        painting = _something(painting)
        factor = enlarged_by(Image.fromarray(painting.painted.mask))
        x, y = (side / factor for side in event.index)
        return self._placed(painting, marks, defect, seed, x, y)

    @show_errors
    def _put(
        self, painting: Painting | None, marks: bool, defect: str, seed: int, x: float, y: float
    ) -> tuple[Any, ...]:
        return self._placed(_something(painting), marks, defect, seed, x, y)

    def _placed(self, painting: Painting, marks: bool, defect: str, seed: int, x: float, y: float) -> tuple[Any, ...]:
        height, width = painting.image.shape[:2]
        for name, number in (("x", x), ("y", y)):
            check_number(name, number)
        if not (0 <= x < width and 0 <= y < height):
            raise ConfigError(f"({x:g}, {y:g}) is outside of the image: x must be below {width} and y below {height}")
        stock = self._banks.get(painting.data)
        if defect not in stock.bank.classes:
            raise ConfigError("no defect is chosen: choose one of the list")
        clicks = (*painting.clicks, (defect, float(x), float(y)))
        return self._show(_painting(stock, replace(painting, clicks=clicks, seed=seed)), marks)

    @show_errors
    def _again(self, painting: Painting | None, marks: bool, seed: int) -> tuple[Any, ...]:
        painting = _something(painting)
        stock = self._banks.get(painting.data)
        if not painting.clicks:
            raise ConfigError("there is no defect yet: click on the good image")
        check_number("seed", seed, at_least=0, whole=True)
        first = seed if seed != painting.seed else seed + 1
        for number in range(first, first + SEEDS):
            try:
                return self._show(_painting(stock, replace(painting, seed=number)), marks)
            except AugmentationError:
                if number == first + SEEDS - 1:
                    raise
        raise AssertionError

    @show_errors
    def _clear(self, painting: Painting | None, marks: bool) -> tuple[Any, ...]:
        painting = _something(painting)
        return self._begin(painting.data, painting.name, painting.image, marks)

    @show_errors
    def _show(self, painting: Painting | None, marks: bool) -> tuple[Any, ...]:
        """The good image, the image with its defects, and what its label says."""
        if painting is None:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip()
        painted, top = painting.painted, painting.image.max()
        names = self._banks.get(painting.data).bank.classes
        after = _picture(painted.image, top=top)
        facts = [f"{int(painted.changed.sum())} of {painted.changed.size} pixels changed."]
        for item in painted.objects:
            left, top_, width, height = item["bbox"]
            category = markdown(item["category"], 80)
            facts.append(f"- {category}: {width:g} x {height:g} px from column {left:g}, row {top_:g} on")
        shown = with_labels(after, painted.objects, painted.mask, names) if marks else enlarged(after)
        return painting, enlarged(_picture(painting.image)), shown, "\n".join(facts), painting.seed

    @show_errors
    def _pack(self, painting: Painting | None, format_name: str) -> str:
        painting = _something(painting)
        bank = self._banks.get(painting.data).bank
        about = {"seed": painting.seed, "num_images": 1, "clicks": [list(click) for click in painting.clicks]}
        return str(pack_painted(bank, painting.painted, painting.name, about, format_name, self._folder))


def _painting(stock: Stock, painting: Painting) -> Painting:
    """The painting with its defects painted anew.

    Raises:
        ConfigError: where the seed is not a whole number from 0 on.
        AugmentationError: where a defect would not be visible.
    """
    if not isinstance(painting.seed, int) or painting.seed < 0:
        raise ConfigError(f"seed is {painting.seed}: must be a whole number from 0 on")
    if not painting.clicks:
        return replace(painting, painted=_without_defects(painting.image))
    defects = stock.defects(painting.clicks, painting.image.shape[:2], painting.seed)
    return replace(painting, painted=stock.bank.paint(painting.image, defects, seed=painting.seed))


def _without_defects(image: np.ndarray) -> Painted:
    """An image without defects."""
    return Painted(image, [], np.zeros(image.shape[:2], np.uint8), np.zeros(image.shape[:2], bool))


def _picture(pixels: np.ndarray, side: int | None = None, top: int | None = None) -> Image.Image:
    """Pixels of 8 bits as they are; of 16 bits so that the brightest is white.

    Args:
        pixels: (H, W) or (H, W, 3).
        side: pixels of the longer side at most.
        top: what is white instead.
    """
    if pixels.dtype != np.uint8:
        scale = 255 / max(1, int(pixels.max() if top is None else top))
        pixels = (pixels * scale).round().clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    if side is not None:
        image.thumbnail((side, side))
    return image


def _something(painting: Painting | None) -> Painting:
    if painting is None:
        raise ConfigError("there is no good image yet: choose one, or drop one of your own")
    return painting
