"""The tab Train: what a training will be, before it starts; then its progress, curves and samples."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from magical_hub.app.generating import PICTURE, computing
from magical_hub.app.jobs import EVERY, Jobs, status
from magical_hub.app.mistakes import show_errors
from magical_hub.data import inspect_image
from magical_hub.errors import ConfigError, DataError, TrainingError
from magical_hub.files import expanded
from magical_hub.grid import Grid
from magical_hub.pictures import with_grid
from magical_hub.training import TrainingConfig, plan
from magical_hub.training.planning import Plan
from magical_hub.training.run.layout import check_free, source_of

NOTHING_SHOWN = (0, "")
"""When curves.png was written, and the name of the last picture of samples: what a page shows already."""


class TrainTab:
    """The components of the tab, and what they do.

    Args:
        jobs: of all users.
        folder: where uploaded images go.
    """

    def __init__(self, jobs: Jobs, folder: Path) -> None:
        self._jobs, self._folder = jobs, folder
        self.watched, self.shown = gr.State(""), gr.State(NOTHING_SHOWN)
        self.timer = gr.Timer(EVERY, active=False)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self._lay_out_request()
            with gr.Column(scale=2, min_width=320):
                self._lay_out_run()

    def _lay_out_request(self) -> None:
        self.data = gr.Textbox(label="Images", info="A folder of aligned images, or a dataset's id on the Hub.")
        self.upload = gr.File(
            label="or upload images", file_count="multiple", height=140, elem_id="upload", type="filepath"
        )
        self.classes = gr.Checkbox(label="The first folders are classes")
        self.objects = gr.Checkbox(label="metadata.jsonl says where defects are (objects)")
        self.run = gr.Textbox(label="RUN", info="Folder of the training; runs/ and the data's name unless given.")
        with gr.Row():
            self.steps = gr.Number(0, label="Steps", info="0: chosen from the data.", precision=0, min_width=120)
            self.minutes = gr.Number(0, label="Minutes at most", info="0: no limit.", min_width=120)
        self.look = gr.Button("Look at the images", variant="primary")

    def _lay_out_run(self) -> None:
        with gr.Row():
            self.plan = gr.Textbox(
                label="What training will be", lines=6, interactive=False, scale=2, min_width=300, elem_id="plan"
            )
            self.canvas = gr.Image(
                **PICTURE,
                label="The first image and its grid",
                height=260,
                min_width=200,
                buttons=[],
                alt_text="The first of the images, resized to the canvas, under its grid of sub-regions",
            )
        with gr.Row():
            self.start = gr.Button("Start", variant="primary", min_width=100)
            self.stop = gr.Button("Stop", variant="stop", min_width=100)
            self.resume = gr.Button("Resume RUN", min_width=100)
            self.watch = gr.Button("Watch RUN", min_width=100)
        self.status = gr.HTML(status(None))
        self.curves = self._picture("Curves", "The figures of training over its steps")
        self.samples = self._picture("Samples", "Generated images of fixed seeds, below eight real ones")

    def _picture(self, label: str, alt_text: str) -> gr.Image:
        return gr.Image(**PICTURE, label=label, alt_text=alt_text, buttons=["fullscreen"], visible=False)

    def wire(self) -> None:
        """Say what each of the components does; inside the page."""
        inputs = [self.data, self.classes, self.objects, self.run, self.steps, self.minutes]
        watched = [self.watched, self.shown, self.status, self.timer]
        self.upload.upload(self._upload, self.upload, self.data)
        self.look.click(self._look, inputs, [self.run, self.plan, self.canvas], **computing(self.plan))
        self.start.click(self._start, inputs, [self.run, *watched], show_progress="hidden")
        self.resume.click(self._resume, [self.run, self.minutes], watched, show_progress="hidden")
        self.watch.click(self._watch, self.run, watched, show_progress="hidden")
        self.stop.click(self._jobs.cancel, self.watched, self.status, show_progress="hidden")
        self.timer.tick(
            self._tick,
            [self.watched, self.shown],
            [self.status, self.curves, self.samples, self.shown, self.timer],
            show_progress="hidden",
        )

    @show_errors
    def _upload(self, files: list[str]) -> str:
        folder = Path(tempfile.mkdtemp(dir=self._folder, prefix="upload-"))
        for number, file in enumerate(files):
            name = Path(file).name
            shutil.copy(file, folder / (f"{number}-{name}" if (folder / name).exists() else name))
        return str(folder)

    @show_errors
    def _look(self, *inputs: Any) -> tuple[Any, ...]:
        config = _config(*inputs)
        check_free(config)
        source = source_of(config)  # before another process takes seconds to start, only to say the same
        planned = _planned(config)
        settled = planned.config
        assert settled.canvas and settled.rows and settled.cols
        grid = Grid(settled.rows, settled.cols, *settled.canvas)
        image = inspect_image(next(source.records()), source.intensity).image
        canvas = None
        if image is not None:  # else it is too large to be decoded whole
            canvas = with_grid(image.resize((grid.width, grid.height), Image.Resampling.LANCZOS), grid)
        return config.output_dir, planned.text(), canvas

    @show_errors
    def _start(self, *inputs: Any) -> tuple[Any, ...]:
        config = _config(*inputs)
        self._jobs.start(config.output_dir, _command(vars(config)))
        return config.output_dir, *self._begin(config.output_dir)

    @show_errors
    def _resume(self, run: str, minutes: float) -> tuple[Any, ...]:
        run = _named(run)
        TrainingConfig.from_run(run)  # an error is shown here; the command takes the settings from RUN
        self._jobs.start(run, _command({"output_dir": run, "resume": True, "max_minutes": minutes or None}))
        return self._begin(run)

    @show_errors
    def _watch(self, run: str) -> tuple[Any, ...]:
        run = _named(run)
        if not (expanded(run) / "history.jsonl").is_file() and self._jobs.find(run) is None:
            raise DataError(f"{run} holds no training: give the folder of one")
        return self._begin(run)

    def _begin(self, run: str) -> tuple[Any, ...]:
        return run, NOTHING_SHOWN, status(self._jobs.find(run)), gr.Timer(active=True)

    @show_errors
    def _tick(self, run: str, shown: tuple[int, str]) -> tuple[Any, ...]:
        job = self._jobs.find(run)
        folder = expanded(run)
        curves, samples = folder / "curves.png", sorted(folder.glob("samples/step-*.png"))
        new = (curves.stat().st_mtime_ns if curves.is_file() else 0, samples[-1].name if samples else "")
        pictures: list[Any] = [gr.skip(), gr.skip()]
        if new[0] != shown[0]:
            pictures[0] = gr.Image(_opened(curves), visible=True)
        if new[1] != shown[1]:
            pictures[1] = gr.Image(_opened(samples[-1]), visible=True)
        goes_on = job is None or job.runs  # another program's training is watched until the page is left
        return status(job), *pictures, new, gr.skip() if goes_on else gr.Timer(active=False)


def _named(run: str) -> str:
    if not run.strip():
        raise ConfigError("RUN is not given: give the folder of a training")
    return run.strip()


def _config(data: str, classes: bool, objects: bool, run: str, steps: int, minutes: float) -> TrainingConfig:
    if not data.strip():
        raise DataError("no images are given: give a folder of images, or the id of a dataset on the Hub")
    return TrainingConfig(
        data=data.strip(),
        label_column="label" if classes else None,
        objects_column="objects" if objects else None,
        output_dir=run.strip(),
        max_steps=steps or None,
        max_minutes=minutes or None,
    )


def _planned(config: TrainingConfig) -> Plan:
    """The plan, made in a process of its own: it measures its memory, and this process holds images and pipelines."""
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(plan, config).result()
    except BrokenProcessPool as error:
        raise TrainingError(
            "a few steps took more memory than there is: give smaller or fewer images, or train by the command with "
            "a smaller --image-size"
        ) from error


def _command(settings: dict[str, Any]) -> list[str]:
    """The arguments of the command for these settings; what has its default is left out."""
    arguments = ["train"]
    for field in fields(TrainingConfig):
        value, option = settings.get(field.name), f"--{field.name.replace('_', '-')}"
        if value is None or value == field.default:
            continue
        if isinstance(value, bool):
            arguments.append(option if value else f"--no-{option[2:]}")
        elif isinstance(value, (list, tuple)):
            arguments += [option, *map(str, value)]
        else:
            arguments.append(f"{option}={value}")
    return arguments


def _opened(path: Path) -> Image.Image:
    """Read now: the file may be replaced."""
    with Image.open(path) as image:
        image.load()
        return image
