"""The pipeline: what it gives, what an image depends on, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from magical_hub import MagicalGenerator, MagicalPipeline
from magical_hub.errors import CheckpointError, ConfigError, GridError

LEVEL = 1 / 255 + 1e-6
WEIGHTS = "diffusion_pytorch_model.safetensors"


# -- what comes out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fixture", "mode", "channels"), [("pipe", "L", 1), ("class_pipe", "RGB", 3), ("seamless_pipe", "RGB", 3)]
)
def test_output_types(fixture, mode, channels, request):
    pipe = request.getfixturevalue(fixture)
    seeds = [4, 5, 6]
    pil = pipe(seeds=seeds)
    assert len(pil.images) == 3 and all(image.mode == mode and image.size == (48, 32) for image in pil.images)
    assert pil.latents.shape == (3, 16) and pil.seeds.tolist() == seeds and pil.seeds.dtype == torch.int64
    array, tensor = pipe(seeds=seeds, output_type="np").images, pipe(seeds=seeds, output_type="pt").images
    assert array.shape == (3, 32, 48, channels) and array.dtype == np.float32
    assert tensor.shape == (3, channels, 32, 48) and tensor.dtype == torch.float32
    assert tensor.min() >= 0 and tensor.max() <= 1 and tensor.std() > 0.01
    assert np.array_equal(array, tensor.movedim(1, -1).numpy())
    for image, expected in zip(pil.images, array, strict=True):
        pixels = np.asarray(image).reshape(32, 48, channels)
        assert np.abs(pixels / 255 - expected).max() <= 0.5 / 255 + 1e-6


def test_sub_regions_are_stitched_at_their_places(pipe):
    """Cell by cell, the image is what the network says of each location."""
    made = pipe(seeds=[9], output_type="pt")
    network = pipe.generator
    for location, (left, top, right, bottom) in enumerate(network.grid.boxes().tolist()):
        with torch.no_grad():
            cell = network(made.latents, torch.tensor([location]), seeds=made.seeds)[0] / 2 + 0.5
        assert torch.allclose(made.images[0, :, top:bottom, left:right], cell, atol=1e-5)


@pytest.mark.parametrize("fixture", ["pipe", "seamless_pipe"])
def test_regions(fixture, request):
    pipe = request.getfixturevalue(fixture)
    seeds, channels = [1, 2], pipe.generator.config.channels
    whole = pipe(seeds=seeds, output_type="pt").images
    cells = pipe(seeds=seeds, regions=[5, 0], output_type="pt").images
    assert cells.shape == (2, 2, channels, 16, 16)
    assert (cells[:, 0] - whole[:, :, 16:, 32:]).abs().max() <= LEVEL
    assert (cells[:, 1] - whole[:, :, :16, :16]).abs().max() <= LEVEL
    assert pipe(seeds=seeds, regions=[5, 0], output_type="np").images.shape == (2, 2, 16, 16, channels)
    pil = pipe(seeds=seeds, regions=[5, 0]).images
    assert [[cell.size for cell in image] for image in pil] == [[(16, 16)] * 2] * 2


def test_num_images_and_batch_size(pipe):
    assert len(pipe().images) == 1
    assert pipe(num_images=5, images_per_batch=2, output_type="pt").images.shape[0] == 5


# -- what an image depends on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["pipe", "seamless_pipe"])
def test_the_same_seeds_in_the_same_batches_give_the_same_bits(fixture, request):
    pipe = request.getfixturevalue(fixture)
    first, second = (pipe(seeds=[1, 2, 3, 4, 5], images_per_batch=2, output_type="pt").images for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("fixture", ["pipe", "class_pipe", "seamless_pipe"])
def test_an_image_hangs_on_its_own_seed_alone(fixture, request):
    """Not on the size of the batch, its order or what else is in it; within a grey level."""
    pipe = request.getfixturevalue(fixture)
    seeds = [11, 2**62 + 5, 0, 7, 2**63 - 1]

    def made(seeds: list[int], batch_size: int) -> torch.Tensor:
        return pipe(seeds=seeds, images_per_batch=batch_size, output_type="pt").images

    reference = made(seeds, 1)
    for other in (made(seeds, 5), made(seeds, 3), made(seeds[::-1], 5).flip(0)):
        assert (other - reference).abs().max() <= LEVEL
    assert (made([seeds[3], seeds[1]], 2) - reference[[3, 1]]).abs().max() <= LEVEL
    for a in range(5):
        for b in range(a):
            assert (reference[a] - reference[b]).abs().mean() > 0.005


def test_generator_draws_the_seeds_that_reproduce(pipe):
    torch.manual_seed(123)
    by_generator = pipe(num_images=3, generator=torch.Generator().manual_seed(8), output_type="pt")
    torch.manual_seed(456)
    again = pipe(num_images=3, generator=torch.Generator().manual_seed(8), output_type="pt")
    by_seeds = pipe(seeds=by_generator.seeds, output_type="pt")
    as_list = pipe(seeds=by_generator.seeds.tolist(), output_type="pt")
    for other in (again, by_seeds, as_list):
        assert torch.equal(other.images, by_generator.images)
        assert torch.equal(other.latents, by_generator.latents) and torch.equal(other.seeds, by_generator.seeds)


def test_one_draw_an_image_before_anything_else(pipe, class_pipe):
    """`generator` moves by one int64 an image, whatever the pipeline does with it."""
    sources = [torch.Generator().manual_seed(3) for _ in range(3)]
    seeds = pipe(num_images=2, generator=sources[0]).seeds
    assert torch.equal(class_pipe(num_images=2, generator=sources[1], class_labels=1).seeds, seeds)
    assert torch.equal(torch.randint(0, 2**63 - 1, (2,), generator=sources[2]), seeds)
    assert torch.equal(sources[0].get_state(), sources[1].get_state())


def test_torchs_own_generator_is_the_default(pipe):
    torch.manual_seed(5)
    first = pipe(num_images=2).seeds
    torch.manual_seed(5)
    assert torch.equal(pipe(num_images=2).seeds, first) and not torch.equal(pipe(num_images=2).seeds, first)


def test_latents_of_ones_own(pipe):
    made = pipe(seeds=[1, 2], output_type="pt")
    assert torch.equal(pipe(seeds=[1, 2], latents=made.latents, output_type="pt").images, made.images)
    swapped = pipe(seeds=[1, 2], latents=made.latents.flip(0), output_type="pt")
    assert not torch.allclose(swapped.images, made.images, atol=0.01)
    assert torch.equal(swapped.latents, made.latents.flip(0))
    assert len(pipe(latents=made.latents).images) == 2


def test_truncation_draws_images_together(pipe):
    seeds = list(range(8))
    spread = [pipe(seeds=seeds, truncation_psi=psi, output_type="pt").images.std(0).mean() for psi in (1.5, 1.0, 0.5)]
    assert spread[0] > spread[1] > spread[2]
    for psi in (-0.1, 2.5, float("nan")):
        with pytest.raises(ConfigError, match=f"truncation_psi is {psi}: give 0"):
            pipe(seeds=seeds, truncation_psi=psi)


# -- classes -----------------------------------------------------------------------------------------------------


def test_classes_by_name_by_number_and_for_all(class_pipe):
    def made(labels) -> tuple[list, torch.Tensor]:
        output = class_pipe(seeds=[1, 2], class_labels=labels, output_type="pt")
        return output.annotations, output.images

    annotations, images = made(["void", "crack"])
    assert annotations == [{"class_label": 2, "class_name": "void"}, {"class_label": 0, "class_name": "crack"}]
    for same in ([2, 0], ["2", "0"], ["void", 0], (np.int64(2), np.int64(0))):
        assert made(same)[0] == annotations and torch.equal(made(same)[1], images)
    assert [row["class_name"] for row in made("good")[0]] == ["good", "good"]
    assert torch.equal(made("good")[1], made(1)[1])
    assert not torch.allclose(made("good")[1], images, atol=0.01)


def test_classes_follow_the_training_sets_frequencies(class_pipe):
    made = class_pipe(seeds=range(300), regions=[0], images_per_batch=64, output_type="pt")
    counts = np.bincount([row["class_label"] for row in made.annotations], minlength=3) / 300
    assert np.abs(counts - [0.2, 0.7, 0.1]).max() < 0.08
    # The class too depends on the image's own seed.
    some = class_pipe(seeds=[17, 250, 3], regions=[0], output_type="pt").annotations
    assert some == [made.annotations[n] for n in (17, 250, 3)]


def test_no_annotations_without_classes(pipe):
    assert pipe().annotations is None


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"num_images": 0}, ConfigError, "num_images is 0"),
        ({"images_per_batch": 0}, ConfigError, "images_per_batch is 0: it must be at least 1"),
        ({"batch_size": 4}, ConfigError, "batch_size is 4: give num_images for the number of images"),
        ({"output_type": "jpg"}, ConfigError, "output_type is 'jpg': give 'pil', 'np' or 'pt'"),
        ({"seeds": [-1]}, ConfigError, "a seed is out of range"),
        ({"seeds": [2**63]}, ConfigError, "a seed is out of range"),
        ({"seeds": torch.tensor([3, -1])}, ConfigError, "a seed is out of range"),
        ({"seeds": [7.9]}, ConfigError, "a seed is 7.9, which is not a whole number"),
        ({"seeds": np.array([7.0])}, ConfigError, "which is not a whole number"),
        ({"seeds": torch.tensor([7.0])}, ConfigError, "which is not a whole number"),
        ({"seeds": [True]}, ConfigError, "a seed is True, which is not a whole number"),
        ({"seeds": torch.tensor([True])}, ConfigError, "which is not a whole number"),
        ({"seeds": ["7"]}, ConfigError, "a seed is '7', which is not a whole number"),
        ({"seeds": "7"}, ConfigError, "seeds is '7': give a list of whole numbers"),
        ({"seeds": 7}, ConfigError, "seeds is 7: give a list of whole numbers"),
        ({"seeds": [[7]]}, ConfigError, "which is not a whole number"),
        ({"seeds": np.uint64([2**63])}, ConfigError, "a seed is out of range"),
        ({"seeds": []}, ConfigError, "num_images is 0"),
        ({"seeds": [1, 2], "num_images": 3}, ConfigError, "num_images is 3"),
        ({"seeds": [1, 2], "latents": torch.zeros(3, 16)}, ConfigError, "give one of each an image"),
        ({"latents": torch.zeros(2, 8)}, ConfigError, r"give \(2, 16\)"),
        ({"class_labels": "good"}, ConfigError, "has no classes: leave class_labels out"),
        ({"defects": "scratch"}, ConfigError, "leave defects out"),
        ({"regions": [6]}, GridError, "location 6"),
        ({"regions": [-1]}, GridError, "location -1"),
        ({"regions": []}, ConfigError, "regions is empty"),
        ({"regions": [[0], [1]]}, ConfigError, "no plain list"),
    ],
)
def test_arguments_that_cannot_be(pipe, arguments, error, words):
    with pytest.raises(error, match=words):
        pipe(**arguments)


@pytest.mark.parametrize("seeds", [np.array([7], np.uint8), [np.int64(7)], torch.tensor([7]), [torch.tensor(7)], (7,)])
def test_whole_numbers_of_other_libraries_are_seeds(pipe, seeds):
    made = pipe(seeds=seeds)
    assert made.seeds.tolist() == [7] and np.array_equal(made.images[0], pipe(seeds=[7]).images[0])


@pytest.mark.parametrize("label", [3, -1, "scratch", 1.5])
def test_a_class_that_is_not_there(class_pipe, label):
    with pytest.raises(ConfigError, match=f"there is no class {label!r}: give one of crack, good, void"):
        class_pipe(class_labels=[label])
    with pytest.raises(ConfigError, match=r"for \[2, 3\] images: give one of each"):
        class_pipe(class_labels=["good", "good"], seeds=[1, 2, 3])


# -- saving and loading ------------------------------------------------------------------------------------------


def damaged(folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(folder, tmp_path / "damaged"))


def refused(folder: Path, **arguments) -> str:
    with pytest.raises(CheckpointError) as error:
        MagicalPipeline.from_pretrained(folder, **arguments)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    return str(error.value)


def edit_index(folder: Path, **changes) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, **changes}))


@pytest.mark.parametrize("fixture", ["pipe", "class_pipe", "seamless_pipe"])
def test_what_is_saved_is_loaded(fixture, request, tmp_path):
    pipe = request.getfixturevalue(fixture)
    pipe.save_pretrained(tmp_path / "a")
    files = {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    parts = {f"{part}/{name}" for part in ("critic", "generator") for name in ("config.json", WEIGHTS)}
    assert files == {"model_index.json", *parts}
    expected = pipe(seeds=[1, 2], output_type="pt")
    for place in (tmp_path / "a", str(tmp_path / "a")):
        again = MagicalPipeline.from_pretrained(place)(seeds=[1, 2], output_type="pt")
        assert torch.equal(again.images, expected.images) and again.annotations == expected.annotations


def test_saving_over_a_pipeline_replaces_it(pipe, class_pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("my notes")
    class_pipe.save_pretrained(tmp_path)
    assert MagicalPipeline.from_pretrained(tmp_path).generator.config.class_names == ["crack", "good", "void"]
    assert (tmp_path / "README.md").read_text() == "my notes"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_diffusers_own_class_loads_it(pipe, pipe_folder):
    again = diffusers.DiffusionPipeline.from_pretrained(pipe_folder)
    assert type(again) is MagicalPipeline
    assert torch.equal(again(seeds=[3], output_type="pt").images, pipe(seeds=[3], output_type="pt").images)


def test_without_a_critic(pipe, pipe_folder, tmp_path):
    MagicalPipeline(pipe.generator).save_pretrained(tmp_path / "a")
    assert not (tmp_path / "a" / "critic").exists()
    for again in (
        MagicalPipeline.from_pretrained(tmp_path / "a"),
        MagicalPipeline.from_pretrained(pipe_folder, critic=None),
    ):
        assert again.critic is None
        assert torch.equal(again(seeds=[3], output_type="pt").images, pipe(seeds=[3], output_type="pt").images)


@pytest.mark.parametrize("fixture", ["pipe", "seamless_pipe"])
def test_another_precision(fixture, request, tmp_path):
    pipe = request.getfixturevalue(fixture)
    pipe.save_pretrained(tmp_path)
    half = MagicalPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in half.generator.parameters()} == {torch.bfloat16}
    assert (half(seeds=[3], output_type="pt").images - pipe(seeds=[3], output_type="pt").images).abs().mean() < 0.05
    region = [made.region(5, 7, 20, 30, seed=3, output_type="pt") for made in (half, pipe)]
    assert (region[0] - region[1]).abs().mean() < 0.05


@pytest.mark.parametrize(
    "how", [{"dtype": "bfloat16"}, {"torch_dtype": "torch.bfloat16"}, {"dtype": {"default": "bfloat16"}}]
)
def test_a_precision_by_name(pipe_folder, how):
    half = MagicalPipeline.from_pretrained(pipe_folder, **how)
    assert {p.dtype for p in half.generator.parameters()} == {torch.bfloat16}
    if "default" not in str(how):
        alone = MagicalGenerator.from_pretrained(pipe_folder, subfolder="generator", **how)
        assert {p.dtype for p in alone.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", ["float17", "int8", "load", torch.int8, 16, {"generator": "half a float"}])
def test_what_is_no_precision(pipe_folder, dtype):
    for key in ("dtype", "torch_dtype"):
        with pytest.raises(ConfigError, match="give one of float32, float16, bfloat16, float64"):
            MagicalPipeline.from_pretrained(pipe_folder, **{key: dtype})


def test_a_variant_is_saved_beside_the_others(pipe, pipe_folder, tmp_path):
    folder = Path(shutil.copytree(pipe_folder, tmp_path / "a"))
    half = MagicalPipeline.from_pretrained(folder, dtype=torch.float16)
    half.save_pretrained(folder, variant="fp16")
    names = {path.name for path in (folder / "generator").iterdir()}
    assert names == {"config.json", WEIGHTS, "diffusion_pytorch_model.fp16.safetensors"}
    for kind in (MagicalPipeline, diffusers.DiffusionPipeline):
        again = kind.from_pretrained(folder, variant="fp16", dtype=torch.float16)
        assert {p.dtype for p in again.generator.parameters()} == {torch.float16}
    saved = load_file(folder / "generator" / "diffusion_pytorch_model.fp16.safetensors")
    assert all(torch.equal(value, pipe.generator.state_dict()[name].half()) for name, value in saved.items())
    assert torch.equal(
        MagicalPipeline.from_pretrained(folder)(seeds=[3], output_type="pt").images,
        pipe(seeds=[3], output_type="pt").images,
    )


@pytest.mark.parametrize("size", [1000, "2KB"])
def test_weights_larger_than_a_shard(pipe, tmp_path, size):
    for item in (pipe, pipe.generator):
        with pytest.raises(ConfigError, match=r"a Magical\w+ of [\d,]+ bytes is one file, and max_shard_size is"):
            item.save_pretrained(tmp_path / "a", max_shard_size=size)
    assert not list(tmp_path.rglob("*.safetensors"))
    pipe.save_pretrained(tmp_path / "b", max_shard_size="1GB")
    assert (tmp_path / "b" / "generator" / WEIGHTS).is_file()


@pytest.mark.parametrize("size", ["much", "5XB", [], -1])
def test_what_is_no_size_of_a_shard(pipe, tmp_path, size):
    with pytest.raises(ConfigError, match="max_shard_size"):
        pipe.save_pretrained(tmp_path, max_shard_size=size)


def test_a_tilde_is_the_home_folder(pipe, pipe_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(shutil.copytree(pipe_folder, tmp_path / "elsewhere"))
    pipe.save_pretrained("~/mine")
    pipe.generator.save_pretrained("~/alone")
    assert (tmp_path / "mine" / "model_index.json").is_file() and (tmp_path / "alone" / WEIGHTS).is_file()
    assert not Path("~").exists()
    assert torch.equal(MagicalPipeline.from_pretrained("~/mine")(seeds=[3]).latents, pipe(seeds=[3]).latents)
    with pytest.raises(
        ConfigError, match="~nobody-of-that-name/x names a home folder that this machine does not know"
    ):
        pipe.save_pretrained("~nobody-of-that-name/x")


def test_a_missing_folder(tmp_path):
    assert "there is no checkpoint" in refused(tmp_path / "nothing" / "here")
    (tmp_path / "empty").mkdir()
    assert "no model_index.json" in refused(tmp_path / "empty")


@pytest.mark.parametrize("part", ["generator", "critic"])
def test_damaged_weights(pipe_folder, tmp_path, part):
    folder = damaged(pipe_folder, tmp_path)
    file = folder / part / WEIGHTS
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], b"", whole + b"more", b"no weights at all"):
        file.write_bytes(content)
        refused(folder)
    file.unlink()
    refused(folder)


@pytest.mark.parametrize("part", ["generator", "critic"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(pipe_folder, tmp_path, part, wrong):
    folder = damaged(pipe_folder, tmp_path)
    state = load_file(folder / part / WEIGHTS)
    name = next(name for name, value in state.items() if value.dim() == 4)
    state[name][0, 0, 0, 0] = wrong
    save_file(state, folder / part / WEIGHTS)
    message = refused(folder)
    assert f"{part} has weights that are not finite (in {name})" in message


@pytest.mark.parametrize("part", ["generator", "critic"])
def test_weights_that_are_missing(pipe_folder, tmp_path, part):
    folder = damaged(pipe_folder, tmp_path)
    state = load_file(folder / part / WEIGHTS)
    name = next(name for name, value in state.items() if value.dim() == 4)
    del state[name]
    save_file(state, folder / part / WEIGHTS)
    assert name in refused(folder)


class Trap:
    """What a malicious pickle holds: unpickling it runs a command."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_a_pickle_is_never_loaded(pipe_folder, tmp_path):
    folder, sprung = damaged(pipe_folder, tmp_path), tmp_path / "sprung"
    (folder / "generator" / WEIGHTS).unlink()
    torch.save({"weight": Trap(sprung)}, folder / "generator" / "diffusion_pytorch_model.bin")
    assert "safetensors" in refused(folder)
    assert "safetensors" in refused(folder, use_safetensors=False)
    assert not sprung.exists()
    torch.load(folder / "generator" / "diffusion_pytorch_model.bin", weights_only=False)
    assert sprung.exists()  # the trap works


@pytest.mark.parametrize(
    ("file", "index"),
    [
        ("generator/evil.py", {"generator": ["evil", "Evil"]}),
        ("generator/magical_hub.py", {"generator": ["magical_hub", "Evil"]}),
        ("evil.py", {"_class_name": ["evil", "Evil"]}),
        ("pipeline.py", {"_class_name": ["pipeline", "Evil"]}),
    ],
)
def test_code_in_a_folder_is_never_run(pipe_folder, tmp_path, file, index):
    folder, sprung = damaged(pipe_folder, tmp_path), tmp_path / "sprung"
    source = f"import os\nos.mkdir({str(sprung)!r})\nfrom magical_hub import MagicalGenerator as Evil\n"
    (folder / file).write_text(source)
    edit_index(folder, **index)
    refused(folder)
    for option in ({"trust_remote_code": True}, {"custom_pipeline": str(folder)}):
        with pytest.raises(CheckpointError, match="would run a repository's code: leave it out"):
            MagicalPipeline.from_pretrained(folder, **option)
    assert not sprung.exists()


def test_code_beside_a_good_pipeline_is_left_alone(pipe, pipe_folder, tmp_path):
    folder, sprung = damaged(pipe_folder, tmp_path), tmp_path / "sprung"
    for file in ("pipeline.py", "magical_hub.py", "generator/evil.py", "sitecustomize.py"):
        (folder / file).write_text(f"import os\nos.mkdir({str(sprung)!r})\n")
    again = MagicalPipeline.from_pretrained(folder)
    assert not sprung.exists()
    assert torch.equal(again(seeds=[3], output_type="pt").images, pipe(seeds=[3], output_type="pt").images)


def test_configurations_that_do_not_fit(pipe_folder, tmp_path):
    folder = damaged(pipe_folder, tmp_path)
    config = json.loads((folder / "generator" / "config.json").read_text())
    for changes in ({"base_width": 16}, {"rows": 5}, {"channels": 3}, {"latent_dim": 8}, {"image_size": None}):
        (folder / "generator" / "config.json").write_text(json.dumps({**config, **changes}))
        refused(folder)
    for content in ("{", "[]", ""):
        (folder / "generator" / "config.json").write_text(content)
        refused(folder)


def test_indices_that_do_not_fit(pipe_folder, tmp_path):
    folder = damaged(pipe_folder, tmp_path)
    whole = (folder / "model_index.json").read_text()
    for changes in (
        {"generator": ["magical_hub", "MagicalCritic"]},
        {"generator": ["magical_hub", "Nothing"]},
        {"generator": ["no_such_library", "MagicalGenerator"]},
        {"generator": ["os", "system"]},
        {"generator": [None, None]},
        {"_class_name": "NoPipeline", "generator": [None, None]},
    ):
        (folder / "model_index.json").write_text(whole)
        edit_index(folder, **changes)
        refused(folder)
    for content in ("{", "[]", ""):
        (folder / "model_index.json").write_text(content)
        refused(folder)


def test_labels_may_be_arrays(class_pipe):
    for labels in (np.array([1, 0]), torch.tensor([1, 0])):
        assert [row["class_label"] for row in class_pipe(class_labels=labels).annotations] == [1, 0]


def test_saving_does_not_push(pipe, tmp_path):
    with pytest.raises(ConfigError, match="call push_to_hub"):
        pipe.save_pretrained(tmp_path / "x", push_to_hub=True)
    assert not (tmp_path / "x").exists()
