"""The tab Report: an evaluation folder, opened and explained; and a new one, with its progress."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from magical_hub.app.generating import CHECKPOINT
from magical_hub.app.jobs import EVERY, Jobs, status
from magical_hub.app.mistakes import show_errors
from magical_hub.errors import DataError, check_number
from magical_hub.files import expanded
from magical_hub.safety import read_json
from magical_hub.texts import markdown

EXPLAINED = {
    "split": "*If held-out images show what was trained on, the other figures are too good: split by board or lot.*",
    "fidelity": "*How far the generated images are from real ones, beside how far other real images are (the floor).*",
    "seams": "*Steps in brightness where sub-regions meet, beside those of real images: 1 is right.*",
    "coherence": "*Whether the parts of an image belong together: one light, one lot, one rotation.*",
    "diversity": "*Whether the images vary as real ones do, or are a few pictures drawn again and again.*",
    "leakage": "*Whether training images come out again. The share of planted copies found is the sensitivity.*",
    "usefulness": "*Whether a detector gets better by these images than by the same real images alone.*",
}
"""A sentence that explains each section."""
LARGEST = 2**28
"""Bytes of a page; pictures are in it."""
PAGE = (
    '<iframe title="Report" sandbox srcdoc="{}" style="width: 100%; height: 80vh; border: 1px solid '
    'var(--border-color-primary); border-radius: 8px"></iframe>'
)
"""Sandboxed: a report is a file that anybody may have written, and runs no script here."""


class ReportTab:
    """The components of the tab, and what they do.

    Args:
        jobs: of all users.
        checkpoint: the initial one.
    """

    def __init__(self, jobs: Jobs, checkpoint: str) -> None:
        self._jobs = jobs
        self.watched = gr.State("")
        self.timer = gr.Timer(EVERY, active=False)
        with gr.Row():
            with gr.Column(min_width=300):
                self.folder = gr.Textbox(label="Report to open", info="RUN, or the folder of report.json.")
                self.open = gr.Button("Open")
            with gr.Column(min_width=300):
                with gr.Accordion("Make a new report", open=False):
                    self._lay_out_request(checkpoint)
        self.status = gr.HTML(status(None))
        self.verdicts = gr.Markdown()
        self.page = gr.HTML()

    def _lay_out_request(self, checkpoint: str) -> None:
        self.name = gr.Textbox(checkpoint, label="Checkpoint to evaluate", info=CHECKPOINT)
        self.real = gr.Textbox(label="Training images", info="A folder, or a dataset's id. A RUN has its own.")
        self.holdout = gr.Textbox(
            label="Held-out images", info="Real images not used for training. A RUN has its own."
        )
        self.output = gr.Textbox(label="Folder of the report", info="RUN/evaluation unless given.")
        self.number = gr.Slider(10, 2000, value=600, step=10, label="Images to evaluate")
        with gr.Row():
            self.start = gr.Button("Evaluate", variant="primary", min_width=120)
            self.cancel = gr.Button("Cancel", variant="stop", min_width=120)

    def wire(self) -> None:
        """Say what each of the components does; inside the page."""
        shown = [self.verdicts, self.page]
        gr.on([self.open.click, self.folder.submit], self._open, self.folder, shown, show_progress_on=self.verdicts)
        inputs = [self.name, self.real, self.holdout, self.output, self.number]
        self.start.click(self._start, inputs, [self.watched, self.status, self.timer], show_progress="hidden")
        self.cancel.click(self._jobs.cancel, self.watched, self.status, show_progress="hidden")
        ticked = [self.status, self.timer, self.folder, *shown]
        self.timer.tick(self._tick, self.watched, ticked, show_progress="hidden")

    @show_errors
    def _open(self, folder: str) -> tuple[str, str]:
        place = _report_folder(folder)
        try:
            report = read_json(
                place / "report.json", place, DataError, "give the folder that magical-hub evaluate wrote"
            )
            sections = [
                f"- {markdown(section['question'])} **{markdown(section['verdict'], 40)}**: "
                f"{markdown(section['statement'])} {EXPLAINED.get(name, '')}"
                for name, section in report["sections"].items()
            ]
            verdict = f"### {markdown(report['statement'])}"
            page = _page(place / "report.html")
        except DataError:
            raise
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(
                f"{place} holds no report that can be read ({type(error).__name__}): give the folder that "
                "magical-hub evaluate wrote"
            ) from error
        return "\n".join([verdict, "", *sections]), PAGE.format(html.escape(page))

    @show_errors
    def _start(self, name: str, real: str, holdout: str, output: str, number: int) -> tuple[Any, ...]:
        check_number("the number of images", number, at_least=1, whole=True)
        name = name.strip()
        folder = output.strip() or str(Path(name) / "evaluation")
        arguments = ["evaluate", "--checkpoint", name, "--num-images", str(number)]
        for option, value in (("--real", real), ("--holdout", holdout), ("--output-dir", output)):
            arguments += [option, value.strip()] if value.strip() else []
        self._jobs.start(folder, arguments)
        return folder, status(self._jobs.find(folder)), gr.Timer(active=True)

    @show_errors
    def _tick(self, folder: str) -> tuple[Any, ...]:
        job = self._jobs.find(folder)
        if job is not None and job.runs:
            return status(job), gr.skip(), gr.skip(), gr.skip(), gr.skip()
        new = self._open(folder) if job is not None and job.is_done else (gr.skip(), gr.skip())
        return status(job), gr.Timer(active=False), folder, *new


def _page(file: Path) -> str:
    if file.is_symlink() or not file.is_file() or file.stat().st_size > LARGEST:
        raise OSError("it is not a report")
    return file.read_text(encoding="utf-8")


def _report_folder(folder: str) -> Path:
    if not folder.strip():
        raise DataError("no folder is given: give RUN, or the folder that magical-hub evaluate wrote")
    place = expanded(folder.strip())
    return place / "evaluation" if (place / "evaluation" / "report.json").is_file() else place
