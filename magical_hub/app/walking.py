"""Below the tab Generate: a walk from one seed's image to another's."""

from __future__ import annotations

from typing import Any

import gradio as gr
from PIL import Image

from magical_hub.app.generating import ANY, PICTURE, PROGRESS, GenerateTab, computing
from magical_hub.app.making import walk
from magical_hub.app.mistakes import in_one_line
from magical_hub.app.pipelines import Pipelines
from magical_hub.pictures import enlarged


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
                self.start = gr.Number(0, label="From seed", precision=0, min_width=100)
                self.end = gr.Number(1, label="To seed", precision=0, min_width=100)
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
        asked = [tab.loaded, self.start, self.end, self.number, tab.label, tab.truncation]
        self.go.click(self._walk, asked, [self.frames, self.position, self.frame], **computing(self.frame))
        self.position.input(self._turn, [self.frames, self.position], self.frame, show_progress="hidden")

    @in_one_line
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
        asked = None if label == ANY else label
        frames = walk(self._pipelines.get(loaded), (start, end), number, asked, truncation, progress)
        return frames, gr.Slider(1, number, value=1, step=1), enlarged(frames[0])

    @in_one_line
    def _turn(self, frames: list[Image.Image], position: int) -> Any:
        return enlarged(frames[position - 1]) if frames else gr.skip()
