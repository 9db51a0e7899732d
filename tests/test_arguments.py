"""Wrong arguments of the pipeline and of a training are refused in one line; none is rounded or taken for another."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from magical_hub import MagicalPipeline, SeamlessGenerator, TrainingConfig, cli
from magical_hub.devices import move
from magical_hub.errors import CheckpointError, ConfigError, GridError
from magical_hub.export import write_imagefolder, write_series
from magical_hub.hub import push
from magical_hub.training import plan

NAN = float("nan")


@pytest.fixture(scope="module")
def defect_pipe(make_pipeline: Any) -> MagicalPipeline:
    """2 x 3 sub-regions, classes crack, good and void, defects scratch and void."""
    return make_pipeline(
        SeamlessGenerator,
        channels=3,
        class_names=["crack", "good", "void"],
        class_frequencies=[0.2, 0.7, 0.1],
        num_defects=2,
        defect_names=["scratch", "void"],
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_images": 1.5}, "num_images is 1.5: it must be a whole number"),
        ({"images_per_batch": 2.5}, "images_per_batch is 2.5: it must be a whole number"),
        ({"class_labels": 1.0}, "there is no class 1.0"),
        ({"class_labels": "²"}, "there is no class '²'"),
        ({"class_labels": np.float64(1.0)}, "there is no class 1.0"),
        ({"class_labels": {"crack", "good"}}, "there is no class {"),
        ({"class_labels": (name for name in ["crack"])}, "there is no class <generator"),
        ({"defects": np.full((2, 3), 0.7)}, "a defect map holds something else than whole numbers"),
        ({"defects": torch.full((2, 3), 0.7)}, "a defect map holds something else than whole numbers"),
        ({"defects": np.full((2, 3), NAN)}, "a defect map holds something else than whole numbers"),
        ({"defects": np.full((2, 3), True)}, "a defect map holds something else than whole numbers"),
        ({"defects": np.full((2, 3), "scratch")}, "a defect map holds something else than whole numbers"),
        ({"defects": [[[0, 1], [0]]]}, "a defect map holds something else than whole numbers"),
        ({"defects": 1}, "defects is 1: give"),
        ({"defects": "scratch"}, "defects is 'scratch': give"),
        ({"defects": {(0, 0): "²"}}, "there is no defect '²'"),
        ({"latents": np.zeros((1, 16))}, "latents are of the kind ndarray: give a torch.Tensor of floats"),
        ({"latents": [[0.0] * 16]}, "latents are of the kind list"),
        ({"latents": torch.zeros(1, 16, dtype=torch.int64)}, "latents are of the kind torch.int64"),
        ({"latents": torch.full((1, 16), NAN)}, "latents hold numbers that are not finite"),
        ({"regions": [0.7]}, "no plain list of whole numbers"),
        ({"regions": torch.tensor([1.5])}, "no plain list of whole numbers"),
        ({"regions": [True]}, "no plain list of whole numbers"),
        ({"regions": ["0"]}, "no plain list of whole numbers"),
        ({"regions": {0}}, "no plain list of whole numbers"),
        ({"regions": [10**30]}, "no plain list of whole numbers"),
        ({"regions": [0], "masks": True}, "regions come without: leave masks out"),
        ({"seeds": {1, 2}}, "give a list of whole numbers"),
        ({"seeds": (seed for seed in [1])}, "give a list of whole numbers"),
        ({"generator": 0}, "generator is a int: give a torch.Generator"),
        ({"generator": torch.Generator(), "seeds": [1]}, "generator and seeds are both given"),
        ({"truncation_psi": "1"}, "truncation_psi is '1': give 0"),
        ({"truncation_psi": None}, "truncation_psi is None: give 0"),
    ],
)
def test_no_argument_is_taken_for_another(defect_pipe: MagicalPipeline, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        defect_pipe(**arguments)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("place", [(0.5, 0), (True, 0), 0, "a", (0, 0, 0), (2, 0), (0, -1), (None, 0)])
def test_a_defect_needs_a_row_and_a_column(defect_pipe: MagicalPipeline, place: Any) -> None:
    with pytest.raises(GridError, match=r"there is no sub-region .* for a defect in a grid of 2 x 3"):
        defect_pipe(seeds=[3], defects={place: 1})


def test_defect_maps_of_every_library_are_the_same(defect_pipe: MagicalPipeline) -> None:
    wanted = [[0, 1, 0], [0, 0, 2]]
    for given in (np.array(wanted, np.uint8), np.array(wanted, np.float64), torch.tensor(wanted), [wanted]):
        assert defect_pipe(seeds=[3], regions=[0], defects=given).defects.tolist() == [wanted]
    assert defect_pipe(seeds=[3], regions=[0], defects={(np.int64(1), 2): "void"}).defects[0, 1, 2] == 2


def test_masks_need_defects(pipe: MagicalPipeline) -> None:
    with pytest.raises(ConfigError, match="this checkpoint was trained without defects: leave masks out"):
        pipe(masks=True)


@pytest.mark.parametrize("number", [0.5, "0", None, NAN])
def test_a_region_has_whole_pixels(pipe: MagicalPipeline, defect_pipe: MagicalPipeline, number: Any) -> None:
    for each in (pipe, defect_pipe):
        with pytest.raises(GridError, match=r"a rectangle is .*: give whole numbers of pixels"):
            each.region(number, 0, 4, 4)


def test_a_region_has_one_class(defect_pipe: MagicalPipeline) -> None:
    with pytest.raises(ConfigError, match="class_labels are for 2 images, and there are 1"):
        defect_pipe.region(0, 0, 4, 4, class_label=["crack", "void"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("strict", "no", "it must be True or False"),
        ("streaming", 1, "it must be True or False"),
        ("batch_size", 2.0, "it must be a whole number"),
        ("batch_size", [4, 4], "it must be a whole number"),
        ("latent_dim", 1.5, "it must be a whole number"),
        ("rows", (2, 2), "it must be a whole number or None"),
        ("max_steps", float("inf"), "it must be a whole number or None"),
        ("seed", 0.5, "it must be a whole number"),
        ("lambda_gp", float("inf"), "it must be a finite number"),
        ("lambda_r", [1.0, 2.0], "it must be a finite number"),
        ("max_minutes", NAN, "it must be a finite number or None"),
        ("channels", True, "it must be 1 or 3 or None"),
        ("generator", None, "it must be 'seamless' or 'magical'"),
        ("image_column", None, "it must be text"),
        ("label_column", 0, "it must be text or None"),
        ("adam_betas", 0, "it must be 2 times a finite number"),
        ("intensity_range", 5, "it must be 2 times a finite number or 'auto' or None"),
        ("intensity_range", (5, 5), "it must be the darker number first"),
        ("image_size", (32, 32, 32), "it must be a whole number or 2 times a whole number or None"),
        ("output_dir", 7, "it must be text"),
    ],
)
def test_no_setting_is_taken_for_another(name: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        TrainingConfig(**{"data": "x", "output_dir": "y", name: value})
    assert str(error.value).startswith(f"{name} is ") and words in str(error.value)


def test_numbers_of_numpy_and_paths_are_saved_as_they_are() -> None:
    """A resumed run compares its settings with what their JSON says."""
    given = {
        "rows": np.int64(2),
        "lambda_r": np.float32(0.5),
        "image_size": [np.int64(32), 48],
        "init_from": Path("a"),
    }
    plain = {"rows": 2, "lambda_r": 0.5, "image_size": (32, 48), "init_from": "a"}
    assert TrainingConfig(data="x", **given) == TrainingConfig(data="x", **plain)
    assert TrainingConfig(data="x", **given).to_json() == TrainingConfig(data="x", **plain).to_json()


def test_an_empty_path_is_not_the_folder_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipe: Any) -> None:
    """As of a variable of the shell that is not set. Nor is a URL a folder called "s3:"."""
    monkeypatch.chdir(tmp_path)
    for write in (write_imagefolder, write_series):
        with pytest.raises(ConfigError, match="a path is empty"):
            write(pipe, "", 1)
        with pytest.raises(ConfigError, match="s3://bucket/x is an address, where a path of this machine belongs"):
            write(pipe, "s3://bucket/x", 1)
    with pytest.raises(ConfigError, match="is an address"):
        TrainingConfig(data="x", output_dir="s3://bucket/run")
    with pytest.raises(ConfigError, match="a path is empty"):
        cli.generate("solar-cells-128", "")
    with pytest.raises(ConfigError, match="a path is empty"):
        pipe.save_pretrained("")
    with pytest.raises(ConfigError, match="a path is empty"):
        plan(TrainingConfig(data=""))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [None, 5, b"x", ["x"]])
def test_what_is_no_name_of_a_checkpoint(name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="a path is"):
        MagicalPipeline.from_pretrained(name)


def test_a_pipeline_of_other_networks(pipe: MagicalPipeline) -> None:
    for generator in (None, pipe.critic, torch.nn.Identity()):
        with pytest.raises(ConfigError, match=r"the generator is a \w+: give a MagicalGenerator or SeamlessGenerator"):
            MagicalPipeline(generator)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the critic is a MagicalGenerator: give a MagicalCritic"):
        MagicalPipeline(pipe.generator, pipe.generator)  # type: ignore[arg-type]


def test_weights_that_overflow_make_no_black_images(pipe: MagicalPipeline, defect_pipe: MagicalPipeline) -> None:
    """They are finite themselves, so that loading lets them through."""
    for each in (pipe, defect_pipe):
        huge = MagicalPipeline(copy.deepcopy(each.generator))
        for value in huge.generator.parameters():
            value.data *= 1e30
        for make in (lambda pipe=huge: pipe(seeds=[1]), lambda pipe=huge: pipe.region(0, 0, 4, 4)):
            with pytest.raises(CheckpointError, match="the generator gives pixels that are not finite"):
                make()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_names": ["a", "a", "b"]}, "class_names has a name twice"),
        ({"defect_names": ["a", "a"]}, "defect_names has a name twice"),
        ({"class_frequencies": [1e-300] * 3}, "class_frequencies are all 0"),
    ],
)
def test_configurations_that_cannot_be_drawn_by(make_pipeline: Any, changes: dict[str, Any], words: str) -> None:
    settings = {"class_names": ["a", "b", "c"], "num_defects": 2, **changes}
    with pytest.raises(ConfigError, match=words):
        make_pipeline(SeamlessGenerator, **settings)


def test_a_device_that_keeps_no_weights(pipe: MagicalPipeline) -> None:
    for device in ("meta", "tpu", "cuda:99"):
        with pytest.raises(ConfigError, match=f"there is no device {device} here"):
            move(device, pipe)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"license": "<script>\n- x: y"}, "is not an identifier of the Hub"),
        ({"dataset": "a b"}, "dataset 'a b' is not the id of a repository"),
        ({"report": "nowhere"}, "nowhere is missing: give the report.json of `magical-hub evaluate`"),
    ],
)
def test_what_a_card_cannot_say(pipe: MagicalPipeline, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        push(pipe, "acme/tiny", allow_unchecked=True, dry_run=tmp_path / "new", **options)
    assert words in str(error.value) and not (tmp_path / "new").exists()
