"""The command `magical-hub`: thin; each subcommand calls one public function.

Progress and notes go to stderr; the output of `info` and of `--json` to stdout. Exit codes: 0 done, 2 a user's
mistake (one line on stderr), 1 anything else. Heavy libraries are imported when a subcommand runs, so that `--help`
is fast.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro

from magical_hub.augmentation.settings import Settings
from magical_hub.errors import ConfigError, LeakageError, MagicalError, TrainingStopped, first_line
from magical_hub.files import expanded
from magical_hub.texts import plain, plain_lines
from magical_hub.training.command import train_defaults
from magical_hub.training.config import (
    CanvasOptions,
    CriticOptions,
    DataOptions,
    LossOptions,
    NetworkOptions,
    RunOptions,
    TrainingConfig,
)
from magical_hub.usefulness.options import UsefulnessOptions

app = tyro.extras.SubcommandApp()

LEAKAGE = 3
"""The exit code of a report that finds copies, with --fail-on-leak, and of a push that is refused."""


@dataclass(frozen=True, kw_only=True)
class DetectorComparison(UsefulnessOptions):
    """How `evaluate --usefulness` compares detectors of boxes or masks."""

    def __post_init__(self) -> None:
        """Checked when parsing is over, where an error is one line and no box of tyro's."""


@dataclass(frozen=True, kw_only=True)
class SyntheticRows(Settings):
    """The settings of `augment_dataset`, those for streams apart."""

    mask_values: str | None = None  # type: ignore[assignment]
    """Names of the classes that values of the masks stand for: 1=dark,2=crack."""
    keep: Literal["verified", "all"] = "verified"
    provenance: tyro.conf.Suppress[bool] = True
    probability: tyro.conf.Suppress[float] = 0.5

    def __post_init__(self) -> None:
        """Checked when parsing is over, as above."""


@app.command
def train(
    data: tyro.conf.OmitArgPrefixes[DataOptions],
    canvas: tyro.conf.OmitArgPrefixes[CanvasOptions],
    network: tyro.conf.OmitArgPrefixes[NetworkOptions],
    critic: tyro.conf.OmitArgPrefixes[CriticOptions],
    loss: tyro.conf.OmitArgPrefixes[LossOptions],
    run: tyro.conf.OmitArgPrefixes[RunOptions],
    dry_run: bool = False,
    push_to_hub: str | None = None,
    preset: Literal["paper"] | None = None,
    json: bool = False,
) -> None:
    """Train on a folder of images, or a dataset of the Hub. RUN is then a checkpoint.

    Args:
        dry_run: say what training would be and cost, and stop there.
        push_to_hub: OWNER/NAME: evaluate RUN when training ends, and publish it privately unless it copies.
        preset: start from the settings of the published method (docs/method.md); the other options override them.
        json: print what was made as one JSON object on stdout.
    """
    from magical_hub.provenance import chain
    from magical_hub.training import plan, train

    groups = (data, canvas, network, critic, loss, run)
    settings = TrainingConfig(**{name: value for group in groups for name, value in vars(group).items()})
    if dry_run or (_is_first_process() and not settings.resume):
        planned = plan(settings)
        if dry_run:
            return _report(planned.to_dict(), json, planned.text())
        print(planned.text(), file=sys.stderr)
        settings = planned.config
    result = train(settings)
    about = {**asdict(result), "provenance": chain(Path(result.output_dir))}
    text = f"{result.steps} steps done in {result.seconds:.0f} s: {result.output_dir}"
    if push_to_hub is not None and _is_first_process():
        from magical_hub.evaluation import evaluate
        from magical_hub.hub import push

        evaluate(result.output_dir)
        pushed = push(result.output_dir, push_to_hub)
        about, text = {**about, "pushed": asdict(pushed)}, f"{text}\npushed: {pushed.url}"
    _report(about, json, text)


@app.command
def generate(
    checkpoint: str,
    output_dir: str,
    num_images: int = 8,
    class_labels: tuple[str, ...] | None = None,
    seed: int = 0,
    truncation_psi: float = 1.0,
    batch_size: int = 8,
    format: Literal["png", "tiff", "zarr"] = "png",
    croissant: bool = False,
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Generate full images, exactly `num_images`.

    Args:
        checkpoint: RUN, an id on the Hub, or a bundled checkpoint's name.
        output_dir: folder for the images, made where it is missing; it must hold no images yet, but for those that the
            same command left when it was cut off.
        num_images: how many images.
        class_labels: a class for all images, or one per image; names or numbers.
        seed: image i depends only on the seed and on i.
        truncation_psi: 1 is as trained; towards 0 images draw near their mean, up to 2 away from it.
        batch_size: images at a time, as PNG files.
        format: tiff and zarr are written tile by tile, so of any size; the same command continues after a stop.
        croissant: write Croissant metadata (croissant.json) beside PNG files.
        device: cpu, cuda, mps ...
        json: print what was made as one JSON object on stdout.
    """
    from magical_hub import MagicalPipeline
    from magical_hub.devices import move
    from magical_hub.export import write_imagefolder, write_series
    from magical_hub.provenance import chain

    if croissant and format != "png":
        raise ConfigError(f"croissant is for PNG files, and format is {format}: leave one of them out")
    folder = expanded(output_dir)
    pipe = MagicalPipeline.from_pretrained(checkpoint)
    move(device, pipe)
    labels = class_labels[0] if class_labels and len(class_labels) == 1 else class_labels
    request: dict[str, Any] = {"class_labels": labels, "seed": seed, "truncation_psi": truncation_psi}
    with _continued():
        if format == "png":
            rows = write_imagefolder(pipe, folder, num_images, batch_size=batch_size, croissant=croissant, **request)
        else:
            rows = write_series(pipe, folder, num_images, format, **request)
    about = {"output_dir": str(folder), "images": rows, "provenance": chain(folder)}
    _report(about, json, f"{len(rows)} images: {folder}")


@app.command
def augment(
    data: str,
    output_dir: str,
    rows: tyro.conf.OmitArgPrefixes[SyntheticRows],
    checkpoint: str | None = None,
    format: Literal["hf", "parquet", "imagefolder", "coco", "yolo", "anomalib"] = "hf",
    reference_column: str | None = None,
    tune: bool = False,
    tune_steps: int = 300,
    group_column: str | None = None,
    split: str = "train",
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Write a training set with synthetic images among its own, in the layout of another program.

    Without a checkpoint the defects of the data are painted on its own good images.

    Args:
        data: a folder (one per class, or with metadata.jsonl), one that save_to_disk wrote, or a dataset's id.
        output_dir: new or empty folder, or a URL (s3://BUCKET/NAME and other file systems of fsspec).
        rows: which synthetic images are made, and how.
        checkpoint: RUN, an id on the Hub, or a bundled checkpoint's name.
        format: hf (load_from_disk), parquet (load_dataset), imagefolder, coco, yolo or anomalib.
        reference_column: without a checkpoint: images of the same objects without their defects.
        tune: without a checkpoint: choose settings and the share of synthetic images by small detectors, which takes
            some ten minutes on one core and continues after a stop; none are written where none help.
        tune_steps: of each detector; fewer are quicker and less certain.
        group_column: of boards, lots or modules, which --tune keeps together.
        split: of the dataset; no other is written.
        device: cpu, cuda, mps ...
        json: print what was made as one JSON object on stdout.
    """
    from magical_hub.augmentation import write_augmented
    from magical_hub.data.masks import parse_mask_values
    from magical_hub.provenance import steps_of

    values = None if rows.mask_values is None else parse_mask_values(rows.mask_values)
    with _continued():
        made = write_augmented(
            data,
            checkpoint,
            output_dir,
            Settings(**{**vars(rows), "mask_values": values}),
            format,
            split,
            device,
            reference_column=reference_column,
            tune=tune,
            tune_steps=tune_steps,
            group_column=group_column,
        )
    about = asdict(made)
    about["provenance"] = steps_of(about.pop("record"))
    _report(about, json, made.summary())


@app.command
def evaluate(
    checkpoint: str | None = None,
    generated: Path | None = None,
    real: str | None = None,
    holdout: str | None = None,
    output_dir: Path | None = None,
    num_images: int | None = None,
    seed: int = 0,
    rows: int | None = None,
    cols: int | None = None,
    label_column: str | None = None,
    usefulness: bool = False,
    detectors: tyro.conf.OmitArgPrefixes[DetectorComparison] = DetectorComparison(),
    normal_class: str | None = None,
    fail_on_leak: bool = False,
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Evaluate generated images: quality, seams, coherence, diversity, leakage; report.html and report.json.

    With --usefulness and --real alone: whether defects painted on the data's own good images make a detector better.

    Args:
        checkpoint: RUN, an id on the Hub, or a bundled checkpoint's name: images are made from it.
        generated: a folder of generated images, instead.
        real: the images of training, a folder or a dataset's id; a RUN records its own, and those held out.
        holdout: real images that were not used for training.
        output_dir: folder of the report; RUN/evaluation for a RUN.
        num_images: how many generated images to evaluate, 600; and of --usefulness, how many synthetic images a
            detector has, 400, or 100 with --quick.
        seed: of the images and of every choice.
        rows: rows of sub-regions; a checkpoint has its own.
        cols: columns of sub-regions.
        label_column: with folders, any name makes the first folder below a class.
        usefulness: whether synthetic images make a detector better: of boxes or masks where --real has them, with or
            without a checkpoint, and else of image classes. It takes half an hour or so, with --quick minutes; the
            same command continues what was stopped.
        detectors: how --usefulness compares detectors of boxes or masks.
        normal_class: name of the class without defects; without it no anomaly detector is tried.
        fail_on_leak: exit with 3 where copies are found, or none could be looked for.
        device: cpu, cuda, mps ...
        json: print the report as one JSON object on stdout.
    """
    from magical_hub import evaluate
    from magical_hub.usefulness import evaluate_usefulness, has_defects

    options = UsefulnessOptions(**vars(detectors))
    data_alone = usefulness and checkpoint is None and generated is None
    if data_alone and (real is None or output_dir is None or fail_on_leak or holdout is not None):
        raise ConfigError(
            "--usefulness without a checkpoint needs --real DATA and --output-dir, and neither --holdout (a part of "
            "DATA is tested on) nor --fail-on-leak"
        )
    if not data_alone and (checkpoint is None) == (generated is None):
        raise ConfigError("give either --checkpoint or --generated, or --usefulness --real DATA alone")
    subject = checkpoint if checkpoint is not None else str(generated)
    if output_dir is None and not (expanded(subject) / "split.json").is_file():
        raise ConfigError("there is no RUN to put the report into: give --output-dir")
    of_boxes = usefulness and generated is None and real is not None and (data_alone or has_defects(real, options))
    folder = expanded(subject) / "evaluation" if output_dir is None else output_dir
    common: dict[str, Any] = {"seed": seed, "device": device}
    of_images: dict[str, Any] = {
        "rows": rows,
        "cols": cols,
        "label_column": label_column,
        "normal_class": normal_class,
    }
    report = None
    if not data_alone:
        of_images |= {
            "num_images": 600 if num_images is None else num_images,
            "usefulness": usefulness and not of_boxes,
        }
        report = evaluate(subject, real, holdout, output_dir=output_dir, **of_images, **common)
    if report is None or of_boxes:
        comparison: dict[str, Any] = {"options": options, "num_images": num_images, "report": report}
        with _continued():
            report = evaluate_usefulness(str(real), folder, checkpoint, **comparison, **common)
    _report(report.to_dict(), json, report.summary())
    if fail_on_leak and report.leaks is not False:
        print(f"leakage gate: {plain(report.sections['leakage'].statement)}", file=sys.stderr)
        sys.exit(LEAKAGE)


@app.command(name="app")
def page(
    checkpoint: str = "solar-cells-128",
    data: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    browser: bool = True,
    device: str = "cpu",
) -> None:
    """Work in a browser: paint defects, generate, train, compare, evaluate. On this machine alone by default.

    Args:
        checkpoint: RUN, an id on the Hub, or a bundled checkpoint's name.
        data: images whose defects are painted on good ones: a folder, a dataset's id on the Hub, or a folder that
            DefectBank.save wrote. Without it those of RUN, or rendered packages.
        host: the address to listen on. Whoever reaches it can read this machine's images and start trainings.
        port: the port to listen on.
        browser: open the page.
        device: cpu, cuda, mps ...
    """
    from magical_hub.extras import extra

    with extra("app"):
        from magical_hub.app import serve
    serve(checkpoint, data=data, host=host, port=port, browser=browser, device=device)


@app.command
def push(
    checkpoint: str,
    repo_id: str,
    public: bool = False,
    report: str | None = None,
    allow_unchecked: bool = False,
    critic: bool = False,
    license: str | None = None,
    dataset: str | None = None,
    create_pr: bool = False,
    revision: str | None = None,
    commit_message: str | None = None,
    dry_run: str | None = None,
    json: bool = False,
) -> None:
    """Publish a checkpoint on the Hub, privately, with its card; not (3) where copies were found or never looked for.

    Args:
        checkpoint: RUN, another checkpoint's folder or name, or an id on the Hub.
        repo_id: OWNER/NAME; the repository is made where it is missing.
        public: make the repository public.
        report: report.json of `evaluate`, or its folder; RUN/evaluation unless given.
        allow_unchecked: publish although copies were found or none could be looked for; the card says so.
        critic: publish the critic too, which others need to train on, and which can tell what it was trained on.
        license: its identifier on the Hub (apache-2.0 ...), for the card.
        dataset: the id on the Hub of the training images, for the card.
        create_pr: open a pull request, and leave the branch as it is.
        revision: the branch; made where it is missing.
        commit_message: its first line.
        dry_run: write the repository to this folder instead.
        json: print what was made as one JSON object on stdout.
    """
    from magical_hub.hub import push

    result = push(
        checkpoint,
        repo_id,
        private=not public,
        report=report,
        allow_unchecked=allow_unchecked,
        critic=critic,
        license=license,
        dataset=dataset,
        create_pr=create_pr,
        revision=revision,
        commit_message=commit_message,
        dry_run=dry_run,
    )
    kept = "; its card was left as a person had written it" if result.card_kept else ""
    _report(asdict(result), json, f"{len(result.files)} files, leakage check {result.leakage}{kept}: {result.url}")


@app.command
def info(checkpoint: str | None = None, provenance: str | None = None, json: bool = False) -> None:
    """Say what a checkpoint is, or where something comes from, back to its training set.

    Args:
        checkpoint: RUN, an id on the Hub, or a bundled checkpoint's name.
        provenance: RUN, a folder of generated images, or one of them.
        json: print it as one JSON object on stdout.
    """
    if (checkpoint is None) == (provenance is None):
        raise ConfigError("give either --checkpoint or --provenance")
    if provenance is not None:
        from magical_hub.provenance import chain, steps_text

        steps = chain(provenance)
        return _report({"provenance": steps}, json, steps_text(steps), out=sys.stdout)
    from magical_hub.checkpoint import describe, explain

    assert checkpoint is not None
    about = describe(checkpoint)
    _report(about, json, explain(about), out=sys.stdout)


def main() -> None:
    """Run the command; a user's mistake is one line on stderr."""
    _log_plainly()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clears away what was begun; train has its own
    try:
        defaults = train_defaults(sys.argv[2:]) if sys.argv[1:2] == ["train"] else {}
        app.command(name="train")(partial(train, **defaults))
        app.cli(
            prog="magical-hub",
            description="Few, large, aligned images in; many labelled ones out.",
        )
    except LeakageError as error:
        print(f"leakage gate: {error}", file=sys.stderr)
        sys.exit(LEAKAGE)
    except MagicalError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except TrainingStopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(1)
    except MemoryError as error:
        print(f"error: out of memory ({first_line(error)}): give smaller or fewer images", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        where = f" ({plain(error.filename)})" if error.filename else ""
        print(
            f"error: {os.strerror(error.errno)}{where}: nothing made before is lost; correct that and try again",
            file=sys.stderr,
        )
        sys.exit(1)
    except KeyboardInterrupt as stop:
        print(f"stopped{stop}", file=sys.stderr)
        sys.exit(130)


@contextmanager
def _continued() -> Iterator[None]:
    """Within it a stop says that the same command continues: of work whose finished parts are kept."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(": what is finished is kept, and the same command continues from there") from None


def _log_plainly() -> None:
    """Log to stderr, each message once: a data set is read several times in one command."""
    logged: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in logged
        logged.add(message)
        return new

    class PlainFormatter(logging.Formatter):
        def formatMessage(self, record: logging.LogRecord) -> str:
            return plain(super().formatMessage(record))

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(levelname)s: %(message)s"))
    handler.addFilter(is_new)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _is_first_process() -> bool:
    """Whether this process prints for all, under `accelerate launch`."""
    return os.environ.get("RANK", "0") == "0"


def _report(about: dict[str, Any], as_json: bool, text: str, out: Any = sys.stderr) -> None:
    if not _is_first_process():
        return
    if as_json:
        print(json.dumps(about, default=str))
    else:
        print(plain_lines(text), file=out)


if __name__ == "__main__":
    main()
