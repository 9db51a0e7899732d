"""The one configuration of training. Its fields are the options of `magical-hub train`."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from magical_hub.errors import ConfigError, DataError, check_number
from magical_hub.files import expanded
from magical_hub.grid import Grid
from magical_hub.safety import read_json

PAPER: dict[str, Any] = {
    "generator": "magical",
    "critic_input": "sub_regions",  # single ones
    "adversarial": "wasserstein",  # L_W, and L_GP at every update
    "lambda_gp": 10.0,
    "lambda_c": 1.0,  # L = L_W + L_GP + L_C + L_B
    "classify_fakes": True,  # L_C is a sum over real and generated sub-regions
    "window_rows": 3,  # at any location of the grid, which is to slide by one
    "window_cols": 3,
    "batch_size": 7,  # 63 sub-regions, where the authors have 64
    "lambda_b": 205.0,
    "augment": "off",
    "ema_decay": 0.0,  # the last weights generate
}
"""What of the method as published (Chang, Choi and Han 2023) differs from the defaults: see docs/method.md."""

SETTINGS = "training_config.json"
"""The file in RUN that holds its settings."""


def setting(
    default: Any, *, public: bool = False, may_change: bool = False, old_name: str | None = None, **bounds: float
) -> Any:
    """A field with the facts about it that other modules need.

    Args:
        default: the value unless given; None is always allowed where it is the default.
        public: whether the value may be published, in records and on the Hub: never names, paths or columns.
        may_change: whether a resumed run may have another value, from there on.
        old_name: the name in the saved settings of earlier runs.
        bounds: the range of the value, or of each of its numbers, as for `check_number`.
    """
    facts = {"bounds": bounds, "public": public, "may_change": may_change, "old_name": old_name}
    return field(default=default, metadata=facts)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The images, their labels, and how they are split."""

    data: Annotated[Any, tyro.conf.arg(constructor=str, metavar="FOLDER|DATASET_ID")] = field(
        metadata={"may_change": True}
    )
    """Folder of images (any depth), or the id of a dataset on the Hub; in Python also a datasets.Dataset or
    IterableDataset."""
    image_column: str = "image"
    """Column of the images in a dataset."""
    label_column: str | None = None
    """Column of the class in a dataset. With a folder, any name makes the first folder below it the class."""
    class_balance: bool = setting(False, public=True)
    """Draw every class equally often, however few its images; needs label_column. Generated images whose class is not
    given still follow the class frequencies of the training set."""
    group_column: str | None = None
    """Column of the group (a board, a lot) in a dataset: a split keeps a group together."""
    group_regex: str | None = None
    """For a folder: a pattern for a file's path, whose first group is the name of the image's group."""
    objects_column: str | None = None
    """Column of the defects: lists of {"bbox": x, y, width, height in pixels, "category"}. A folder has it in its
    metadata.jsonl. A sub-region with a defect is a condition of its own, and generated images come with boxes."""
    mask_column: str | None = None
    """Column of masks instead: images of the same size, 0 where there is no defect. Each of several values is a class
    of defects; with a single value, a defect has the class of its image."""
    mask_values: str | None = None
    """Names of the classes that the values of masks stand for: 1=dark,2=crack. Other values are then no defects."""
    intensity_range: tuple[float, float] | Literal["auto"] | None = None
    """The values that become black and white in all images: 0 4095 for 12 bits; "auto" takes the smallest and the
    largest that occur. Otherwise the whole range of 8 and 16 bits."""
    files_below: str | None = None
    """Folder below which the rows of a dataset may name image files, beside those of the dataset itself."""
    defect_share: float = setting(0.1, at_least=0, at_most=1, public=True)
    """Share of a sub-region that a box or a mask must cover for the sub-region to be labelled with the defect; the one
    that a defect covers most always is."""
    defect_balance: float = setting(0.5, at_least=0, at_most=1, public=True)
    """Share of the windows that are drawn around a sub-region with a defect, every class of defect equally often."""
    split: str = "train"
    """Split of a dataset on the Hub."""
    streaming: bool = False
    """Read a dataset of the Hub image by image; only the decoded canvases are kept on the disk."""
    max_images: int | None = setting(None, at_least=1)
    """Use only the first so many images."""
    validation_fraction: float = setting(0.1, at_least=0, below=1, public=True)
    """Share of the groups that training is monitored with."""
    holdout_fraction: float = setting(0.1, at_least=0, below=1, public=True)
    """Share of the groups that only the evaluation uses."""
    strict: bool = setting(False, may_change=True)
    """Stop at the first image that can't be read or has another shape, instead of skipping or stretching it."""


@dataclass(frozen=True, kw_only=True)
class CanvasOptions:
    """The canvas, its grid of sub-regions and the windows of a step. What is not given is chosen from the data."""

    image_size: int | tuple[int, int] | None = setting(None, at_least=1, public=True)
    """Side of a square canvas, or its height and width, in pixels."""
    rows: int | None = setting(None, at_least=1, public=True)
    """Rows of sub-regions."""
    cols: int | None = setting(None, at_least=1, public=True)
    """Columns of sub-regions."""
    channels: Literal[1, 3] | None = setting(None, at_least=1, public=True)
    """1 (grey) or 3 (RGB)."""
    window_rows: int = setting(2, at_least=1, public=True)
    """Rows of sub-regions in a window."""
    window_cols: int = setting(2, at_least=1, public=True)
    """Columns of sub-regions in a window."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The generator and the sizes of the networks."""

    generator: Literal["seamless", "magical"] = setting("seamless", public=True)
    """"magical": the paper's, whose sub-regions are joined by the boundary loss; "seamless": they agree by
    construction."""
    latent_dim: int = setting(128, at_least=1, public=True)
    """Length of a latent."""
    base_width: int = setting(32, at_least=1, public=True)
    """Channels of both networks at half the resolution of a sub-region; doubled with every halving."""
    max_width: int = setting(128, at_least=1, public=True)
    """The most channels at any level."""
    init_from: str | None = None
    """Checkpoint (a folder, a bundled name or an id on the Hub) that a new run is initialised from. Its networks must
    have the shape of this run's."""


@dataclass(frozen=True, kw_only=True)
class CriticOptions:
    """The critic's images, how they are augmented, and how often the critic is updated."""

    critic_input: Literal["windows", "sub_regions"] = setting("windows", public=True, old_name="critic_sees")
    """The critic's images. "sub_regions": single ones, as in the paper; "windows": neighbouring ones, joined."""
    n_critic: int = setting(1, at_least=1, public=True)
    """Updates of the critic to one of the generator."""
    augment: Literal["adaptive", "off"] = setting("adaptive", public=True)
    """"adaptive": the critics' images are augmented (brightness, contrast, saturation, cut-out) with a strength that
    follows the critic's overfitting, measured on the validation part."""
    augment_target: float = setting(0.5, at_least=0, below=1, public=True)
    """The overfitting r_v to hold (Karras et al. 2020): from 0, none, to 1, where held-out images score as generated
    ones."""
    augment_windows: int = setting(100_000, at_least=1, public=True)
    """Windows of training in which the strength can rise from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """The losses and their weights, the batch, and the optimisers."""

    batch_size: int = setting(16, at_least=1, public=True)
    """Windows in a step, over all processes together. An even number is drawn as same-location pairs, two images of
    one class at one location, whose difference shows the critics mode collapse."""
    gradient_accumulation: int = setting(1, at_least=1, public=True, may_change=True)
    """Parts that a batch is cut into, of which one is in memory at a time. The result is that of the whole batch, up
    to rounding. Several cost another forward pass of the generator."""
    adversarial: Literal["relativistic", "wasserstein"] = setting("relativistic", public=True)
    """"wasserstein": the paper's loss, with its gradient penalty; "relativistic" (with R1 and R2) learns faster."""
    lambda_gp: float = setting(10.0, at_least=0, public=True)
    """Weight of the gradient penalty (wasserstein)."""
    lambda_r: float = setting(0.5, at_least=0, public=True)
    """Weight of R1 and of R2 at the start (relativistic). It falls, down to a tenth, while the critic has no advantage
    (balance_at), and rises again while it has one."""
    penalty_every: int = setting(4, at_least=1, public=True)
    """Updates of the critic to one penalty, whose weight is multiplied by this number (relativistic)."""
    lambda_f: float = setting(0.25, at_least=0, public=True)
    """Weight of a second critic, on frozen ImageNet features (relativistic), which is enabled once the first one has
    no advantage (balance_at); 0 for none."""
    balance_at: float | None = setting(None, at_least=0, public=True, may_change=True)
    """Running mean of the critic's loss (relativistic) from which on it has no advantage over the generator; guessing
    has 0.69. 0.65, or on resuming as before, unless given. With 0 the feature critic is enabled from the first step,
    which suits a run with init_from."""
    lambda_c: float = setting(0.2, at_least=0, public=True)
    """Weight of the auxiliary classifier: the cross-entropy of the location and, where there are any, of class and
    defect."""
    lambda_b: float | None = setting(None, at_least=0, public=True)
    """Weight of the boundary loss. None: 0 for the seamless generator, which needs none, and 1 for the paper's. It is
    205 in the authors' code, where nothing else joins the sub-regions; together with a critic of windows, that smears
    the seams."""
    boundary_thickness: int = setting(1, at_least=1, public=True)
    """Pixel lines on each side of a seam that the boundary loss compares."""
    classify_fakes: bool = setting(False, public=True)
    """Whether the critic is trained to classify generated sub-regions too, as in the paper's formula."""
    generator_lr: float = setting(2e-3, above=0, below=math.inf, public=True)
    """Adam's learning rate for the generator, whose layers have equalised learning rates (hence the high number)."""
    critic_lr: float = setting(2e-3, above=0, below=math.inf, public=True)
    """Adam's learning rate for the critics."""
    adam_betas: tuple[float, float] = setting((0.0, 0.99), at_least=0, below=1, public=True)
    """Adam's decay rates for generator and critics."""
    warmup_steps: int = setting(0, at_least=0, public=True)
    """Steps in which the learning rates rise from zero; then they are constant."""
    decay_steps: int | None = setting(None, at_least=0, public=True, may_change=True)
    """The last steps before max_steps, in which the learning rates fall to zero; 0, or on resuming as before, unless
    given."""
    max_grad_norm: float | None = setting(None, above=0, public=True)
    """Norm that the gradients of each network are clipped to; None for no clipping."""
    ema_decay: float = setting(0.998, at_least=0, below=1, public=True)
    """Decay a step of the EMA weights of the generator, which are the ones that a checkpoint generates with."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The length of the run, its seed, the machine, and what is written to RUN."""

    max_steps: int | None = setting(None, at_least=1, public=True, may_change=True)
    """Steps in all, those before a resume included; unless given, chosen by the number of sub-regions."""
    max_minutes: float | None = setting(None, above=0, public=True, may_change=True)
    """Minutes of this call, reading the images included, after which training ends as if done; it makes at least one
    step. What is written at the end is within them too, from the first samples and the first checkpoint on, which
    tell how long that takes."""
    seed: int = setting(0, at_least=0, below=2**63, public=True)
    """Everything random in training depends only on it and on the number of the step."""
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = setting("auto", public=True)
    """"auto": bf16 where the hardware multiplies it, no otherwise. fp16 needs a GPU and was never tried on one."""
    deterministic: bool = setting(False, public=True, may_change=True)
    """Use deterministic kernels on a GPU, for a resume to the bit; slower. Those of a CPU are deterministic anyhow."""
    on_nan: Literal["stop", "roll_back"] = setting("stop", public=True, may_change=True)
    """What happens where a loss or a weight is not finite: the run stops, or continues from its last checkpoint at
    half of its learning rates, at most three times; then it stops."""
    auto_batch_size: bool = setting(False, may_change=True)
    """Where memory runs out, continue from the last checkpoint with gradient_accumulation doubled, which gives the
    result of the same batch_size. In one process; several stop with an error."""
    output_dir: str = setting("", may_change=True)
    """RUN: the folder of this training, and a pipeline folder when it ends; runs/ and the data's name unless given."""
    resume: bool = setting(False, may_change=True)
    """Continue from the last checkpoint in RUN; without one, start from zero and say so. The command takes the
    settings that are not given from RUN, except max_minutes (in Python: TrainingConfig.from_run)."""
    checkpoint_every: int = setting(1000, at_least=1, may_change=True)
    """Steps between checkpoints."""
    keep_checkpoints: int = setting(2, at_least=1, may_change=True)
    """How many of the last checkpoints to keep."""
    validate: bool = setting(False, may_change=True)
    """Measure KID against the validation part at every checkpoint (extra "eval"), and keep the best checkpoint too."""
    sample_every: int = setting(500, at_least=1, may_change=True)
    """Steps between picture grids (of fixed latents) and their metrics."""
    log_every: int = setting(50, at_least=1, may_change=True)
    """Steps between lines of history.jsonl."""
    report_to: Literal["nothing", "tensorboard", "wandb", "trackio", "mlflow"] = setting("nothing", may_change=True)
    """Tracker that gets the same figures; its package must be installed. MLflow gets the trained model, too."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(RunOptions, LossOptions, CriticOptions, NetworkOptions, CanvasOptions, DataOptions):
    """What `train` does. Every default was chosen for a few hundred to a few thousand images.

    Raises:
        ConfigError: where a setting is out of its range.
    """

    def __post_init__(self) -> None:
        if self.output_dir == "":
            if not isinstance(self.data, (str, Path)):
                raise ConfigError(
                    "output_dir is not given, and a dataset in memory has no name: give a folder for RUN"
                )
            name = re.split(r"[/\\]", str(self.data).rstrip("/\\"))[-1] or "run"
            object.__setattr__(self, "output_dir", str(Path("runs") / name))
        kinds = get_type_hints(type(self))
        for option in fields(self):
            name, value, bounds = option.name, getattr(self, option.name), option.metadata.get("bounds", {})
            try:
                value = _of_kind(value, kinds[name])
            except TypeError as error:
                raise ConfigError(f"{name} is {value!r}: it must be {_in_words(kinds[name])}") from error
            object.__setattr__(self, name, value)
            if bounds and value is not None:
                for number in value if isinstance(value, tuple) else [value]:
                    check_number(name, number, **bounds)
        object.__setattr__(self, "output_dir", str(expanded(self.output_dir)))
        span = self.intensity_range
        if isinstance(span, tuple) and not span[0] < span[1]:
            raise ConfigError(f"intensity_range is {span}: it must be the darker number first, or 'auto'")
        if self.batch_size % self.gradient_accumulation:
            raise ConfigError(
                f"batch_size {self.batch_size} cannot be cut into gradient_accumulation {self.gradient_accumulation} "
                "equal parts: give a number that divides it"
            )
        if self.max_steps is not None and (self.decay_steps or 0) > self.max_steps:
            raise ConfigError(
                f"decay_steps is {self.decay_steps}, and max_steps {self.max_steps}: it must be at most as many"
            )
        if self.class_balance and self.label_column is None:
            raise ConfigError("class_balance needs classes: give label_column, or leave class_balance out")
        if self.augment == "adaptive" and not self.validation_fraction:
            raise ConfigError("augment 'adaptive' needs a validation part: raise validation_fraction, or give 'off'")
        if self.validation_fraction + self.holdout_fraction >= 1:
            raise ConfigError(
                "validation_fraction and holdout_fraction leave nothing to train on: let them sum to less than 1"
            )

    @classmethod
    def paper(cls, data: Any, **settings: Any) -> TrainingConfig:
        """The method as published: see PAPER. `settings` are any other fields, or other values of those."""
        return cls(data=data, **{**PAPER, **settings})

    @classmethod
    def from_run(cls, run: str | Path, **settings: Any) -> TrainingConfig:
        """The settings of a run, to continue it. `settings` are any fields whose value may change, such as max_steps.

        max_minutes is not taken from the run: it limits one call.

        Raises:
            DataError: where the settings of the run are missing or damaged.
            ConfigError: where one of them is out of its range, or the run began with a dataset in memory, and
                `settings` have no data.
        """
        folder = expanded(run)
        saved = read_settings(folder)
        data = settings.get("data", saved.get("data"))
        if data is None or (isinstance(data, str) and data.startswith("<")):
            raise ConfigError(f"{run} began with a dataset in memory, which has no name: give it again as data")
        known = {field.name: saved[field.name] for field in fields(cls) if field.name in saved}
        known |= {"data": data, "output_dir": str(folder), "resume": True, "max_minutes": None}
        try:
            begun = cls(**known)
        except ConfigError as error:
            raise ConfigError(f"the saved settings of {run} cannot be used: {error}") from error
        return replace(begun, **settings)

    @property
    def canvas(self) -> tuple[int, int] | None:
        """(height, width) where image_size was given."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size

    @property
    def grid(self) -> Grid:
        """The grid of the canvas, once nothing of it is left open."""
        assert self.rows and self.cols and self.canvas
        return Grid(self.rows, self.cols, *self.canvas)

    @property
    def boundary_weight(self) -> float:
        """lambda_b, or its default for the generator."""
        if self.lambda_b is not None:
            return self.lambda_b
        return 1.0 if self.generator == "magical" else 0.0

    @property
    def balanced_loss(self) -> float:
        """balance_at, or its default."""
        return 0.65 if self.balance_at is None else self.balance_at

    @property
    def window(self) -> tuple[int, int]:
        """Rows and columns of sub-regions in a window."""
        return self.window_rows, self.window_cols

    def continuing(self, saved: dict[str, Any]) -> TrainingConfig:
        """This configuration for a run that continues, with the saved settings of the run that may not change.

        Raises:
            ConfigError: where a setting contradicts the saved one, or a saved one is out of its range.
        """
        if (schedule := saved.get("lr_schedule", "constant")) != "constant":
            raise ConfigError(f"the run has lr_schedule {schedule!r}, which no longer exists: start a new run")
        settled: dict[str, Any] = {}
        for option in fields(self):
            name, value = option.name, getattr(self, option.name)
            kept = name in ("max_steps", "decay_steps", "balance_at") and value is None
            if option.metadata.get("may_change") and not kept:
                continue
            # A setting that the saved ones lack came with a later version, and its default is what the run began with.
            before = saved.get(name, option.default)
            before = tuple(before) if isinstance(before, list) else before
            value = self.canvas if name == "image_size" else value
            value = None if name == "intensity_range" and value == "auto" else value  # measured when the run began
            if value is not None and value != before:
                raise ConfigError(
                    f"{name} is {value!r}, and the run began with {before!r}: give that, or start a new run"
                )
            settled[name] = before
        try:
            return replace(self, **settled)
        except ConfigError as error:
            raise ConfigError(f"the saved settings of {self.output_dir} cannot be used: {error}") from error

    @classmethod
    def names(cls, mark: str) -> set[str]:
        """The settings that are "public", or that "may_change"; none is unless it says so."""
        return {field.name for field in fields(cls) if field.metadata.get(mark, False)}

    @classmethod
    def renamed(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings of an earlier run, by the names of now."""
        names = {field.metadata.get("old_name"): field.name for field in fields(cls)}
        return {names.get(name, name): value for name, value in settings.items()}

    @classmethod
    def public_of(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings of a run that may be published, and whose values are of the kind of their field."""
        kinds, public, kept = get_type_hints(cls), cls.names("public"), {}
        for name, value in cls.renamed(settings).items():
            if name in public:
                with suppress(TypeError):
                    _of_kind(value, kinds[name])
                    kept[name] = value
        return kept

    def to_json(self) -> str:
        """The text of RUN/training_config.json; a dataset in memory is named by its kind alone."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        if not isinstance(self.data, (str, Path)):
            values["data"] = f"<{type(self.data).__name__}>"
        return json.dumps(values, indent=2, default=str)


def read_settings(run: Path) -> dict[str, Any]:
    """The settings in RUN/training_config.json, by the names of now.

    Raises:
        DataError: where it is missing or damaged.
    """
    advice = "put the right one back, or start a new run"
    return TrainingConfig.renamed(read_json(run / SETTINGS, run, DataError, advice))


def _of_kind(value: Any, kind: Any) -> Any:
    """A value as its field's kind has it: numbers of NumPy as Python's, paths as text, lists as tuples.

    Raises:
        TypeError: where it is of another kind, or no finite number.
    """
    if get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            with suppress(TypeError):
                return _of_kind(value, one)
    elif get_origin(kind) is Literal:
        for choice in get_args(kind):
            if _of_kind(value, type(choice)) == choice:
                return choice
    elif get_origin(kind) is tuple:
        if isinstance(value, (list, tuple)) and len(value) == len(get_args(kind)):
            return tuple(map(_of_kind, value, get_args(kind)))
    elif kind is int:
        if isinstance(value, Integral) and not isinstance(value, bool):
            return int(value)
    elif kind is float:
        with suppress(OverflowError):  # of a whole number that no float can hold
            if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
                return value if isinstance(value, (int, float)) else float(value)
    elif kind is str:
        if isinstance(value, (str, Path)):
            return str(value)
    elif kind is Any or isinstance(value, kind):
        return value
    raise TypeError


def _in_words(kind: Any) -> str:
    """What `_of_kind` takes."""
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, parts))
    if get_origin(kind) is tuple:
        return f"{len(parts)} times {_in_words(parts[0])}"
    if parts:
        return " or ".join(map(_in_words, parts))
    names = {int: "a whole number", float: "a finite number", bool: "True or False", str: "text"}
    return names.get(kind, "None")
