"""The tab Compare: which of two images is real? And the training image that each generated one is nearest to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image
from scipy.stats import binomtest

from magical_hub.app.generating import CHECKPOINT, PICTURE, WHOLE, computing
from magical_hub.app.mistakes import show_errors
from magical_hub.errors import check_number
from magical_hub.evaluation import Comparison, compare
from magical_hub.pictures import enlarged
from magical_hub.texts import plain

DISTANCES = (
    "The number is the distance by pixels: 0 is equal but for light and a shift of a few pixels, 1.41 has nothing in "
    "common. It proves nothing: the tab Report tests whether images are copies."
)


@dataclass(frozen=True, eq=False)
class Quiz:
    """The pairs that one user is shown, and the answers given.

    Args:
        compared: the images, pair by pair.
        real_is_left: of each pair.
        answers: so far, whether each was right.
    """

    compared: Comparison
    real_is_left: tuple[bool, ...]
    answers: tuple[bool, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether all pairs are answered."""
        return len(self.answers) == len(self.real_is_left)

    def score(self) -> str:
        """The answers counted, with Wilson's interval of their share."""
        right, given = sum(self.answers), len(self.answers)
        if not given:
            return "No answers yet."
        interval = binomtest(right, given).proportion_ci(0.95, method="wilson")
        text = f"{right} of {given} right: {right / given:.0%} (95%: {interval.low:.0%} to {interval.high:.0%}). "
        if interval.low > 0.5:
            return text + "Better than guessing: the images can be told apart."
        if not self.is_over:
            return text
        return text + "That may be guessing (50%): with more pairs it could still come out."


class CompareTab:
    """The components of the tab, and what they do.

    Args:
        checkpoint: the initial one.
    """

    def __init__(self, checkpoint: str) -> None:
        self.quiz = gr.State()
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self.name = gr.Textbox(checkpoint, label="Checkpoint to compare", info=CHECKPOINT)
                self.real = gr.Textbox(
                    label="Real images",
                    info="The folder of the training images. A RUN records its own, and shows those held out.",
                )
                self.number = gr.Slider(4, 48, value=12, step=1, label="Pairs")
                self.seed = gr.Number(0, label="Seed of the pairs", **WHOLE)
                self.start = gr.Button("Show the pairs", variant="primary")
            with gr.Column(scale=2, min_width=320):
                self.question = gr.Markdown("One of each pair is real, the other one generated. **Which is real?**")
                with gr.Row():
                    self.left, self.right = (self._picture(side) for side in ("left", "right"))
                with gr.Row():
                    self.say_left = gr.Button("The left one is real", interactive=False, min_width=140)
                    self.say_right = gr.Button("The right one is real", interactive=False, min_width=140)
                self.score = gr.Markdown("No answers yet.", elem_id="score")
                self.give_up = gr.Button("Show all images now", interactive=False)
        with gr.Column(visible=False) as self.answers:
            gr.Markdown(f"**Each generated image, and the training image nearest to it.** {DISTANCES}")
            self.closest = self._pictures("Generated images and the nearest of training")
            gr.Markdown("**The real images**")
            self.reals = self._pictures("Real images")

    def _picture(self, side: str) -> gr.Image:
        return gr.Image(
            **PICTURE, label=f"The {side} one", min_width=140, buttons=[], alt_text=f"The {side} image of the pair"
        )

    def _pictures(self, label: str) -> gr.Gallery:
        return gr.Gallery(**PICTURE, label=label, columns=6, fit_columns=False, height="auto", buttons=[])

    def wire(self) -> None:
        """Say what each of the components does; inside the page."""
        shown = [
            *(self.quiz, self.left, self.right, self.say_left, self.say_right),
            *(self.score, self.give_up, self.answers, self.closest, self.reals),
        ]
        self.start.click(self._start, [self.name, self.real, self.number, self.seed], shown, **computing(self.left))
        self.say_left.click(partial(self._say, left=True), self.quiz, shown, show_progress="hidden")
        self.say_right.click(partial(self._say, left=False), self.quiz, shown, show_progress="hidden")
        self.give_up.click(lambda quiz: self._show(quiz, reveal=True), self.quiz, shown, show_progress="hidden")

    @show_errors
    def _start(self, name: str, real: str, number: int, seed: int) -> tuple[Any, ...]:
        check_number("seed", seed, at_least=0, whole=True)
        check_number("the number of pairs", number, at_least=1, whole=True)
        compared = compare(name.strip(), real.strip() or None, num_images=number, seed=seed)
        # By chance, and not by the seed: nobody can know the answers of another quiz.
        sides = tuple(bool(side) for side in np.random.default_rng().integers(0, 2, len(compared.real)))
        return self._show(Quiz(compared, sides))

    def _say(self, quiz: Quiz, left: bool) -> tuple[Any, ...]:
        if quiz.is_over:  # a second click on the last pair
            return self._show(quiz)
        right = quiz.real_is_left[len(quiz.answers)] == left
        return self._show(replace(quiz, answers=(*quiz.answers, right)))

    def _show(self, quiz: Quiz, reveal: bool = False) -> tuple[Any, ...]:
        """All components: the next pair, or all images."""
        over, compared = quiz.is_over or reveal, quiz.compared
        pair: list[Any] = [gr.skip(), gr.skip()]
        if not over:
            number = len(quiz.answers)
            pair = [_image(compared.real[number]), _image(compared.generated[number])]
            pair = pair if quiz.real_is_left[number] else pair[::-1]
        closest, reals = [], []
        if over:
            for made, near, name, distance in zip(
                compared.generated, compared.closest, compared.closest_names, compared.distances, strict=True
            ):
                closest += [(_image(made), "generated"), (_image(near), f"{distance:.2f} {plain(name, 80)}")]
            reals = [_image(real) for real in compared.real]
        buttons = [gr.Button(interactive=not over) for _ in range(2)]
        left = len(quiz.real_is_left) - len(quiz.answers)
        score = quiz.score() + ("" if over else f" {left} pairs to go.")
        return (quiz, *pair, *buttons, score, gr.Button(interactive=not over), gr.Column(visible=over), closest, reals)


def _image(pixels: np.ndarray) -> Image.Image:
    """An enlarged picture of pixels (C, H, W) uint8."""
    return enlarged(Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)))
