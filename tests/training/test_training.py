"""Real trainings of a few steps on real images: what RUN holds, what stops a run, what is refused."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from magical_hub import MagicalPipeline, TrainingConfig, train
from magical_hub.data import open_store
from magical_hub.errors import CheckpointError, ConfigError, DataError, GridError, TrainingError
from magical_hub.training import Split
from magical_hub.training.config import PAPER
from magical_hub.training.processes import make_accelerator


@pytest.fixture(scope="module")
def run(tiny_run):
    """A training of four steps, and what it returned. Not to be changed."""
    return Path(tiny_run.output_dir), tiny_run


def test_what_a_run_leaves(run, elpv_files):
    folder, result = run
    assert result.steps == 4 and result.output_dir == str(folder) and result.seconds > 0
    assert all(np.isfinite(value) for value in result.figures.values()) and "critic/adversarial" in result.figures

    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "MagicalPipeline"
    assert index["generator"] == ["magical_hub", "SeamlessGenerator"]
    assert index["critic"] == ["magical_hub", "MagicalCritic"]
    assert sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.safetensors")) == [
        "critic/diffusion_pytorch_model.safetensors",
        "generator/diffusion_pytorch_model.safetensors",
    ]
    split = Split.load(folder / "split.json")
    assert sorted(split.train + split.validation + split.holdout) == list(range(len(elpv_files)))
    assert (len(split.validation), len(split.holdout)) == (2, 2)
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history] == [1, 2, 3, 4]
    for name in ("critic/adversarial", "critic/classification", "generator/adversarial", "generator/boundary"):
        assert all(np.isfinite(line[name]) for line in history), name
    assert np.isfinite(history[0]["critic/penalty"]) and "critic/penalty" not in history[1]  # R1 is lazy
    assert sorted(path.name for path in (folder / "samples").iterdir()) == ["step-00000002.png", "step-00000004.png"]
    assert Image.open(folder / "samples" / "step-00000004.png").size == (8 * 32, 4 * 32)
    assert [line["step"] for line in history if "seams/rows" in line and "seams/cols" in line] == [2, 4]
    checkpoints = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert checkpoints == ["step-00000003", "step-00000004"]  # the last two
    kinds = {path.suffix for path in (folder / "checkpoints").rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json"}
    left = [path for path in folder.rglob("*") if "incomplete" in path.name or path.suffix in (".bin", ".pkl", ".pt")]
    assert left == []


def test_a_run_is_a_pipeline(run):
    folder, _ = run
    pipe = MagicalPipeline.from_pretrained(folder)
    image = pipe(seeds=[1]).images[0]
    assert image.size == (32, 32) and image.mode == "L"
    assert pipe.critic is not None and pipe.generator.grid.num_locations == 4


SMALL = {"image_size": 48, "rows": 3, "cols": 3, "base_width": 8, "max_width": 16, "max_steps": 4}


def test_the_preset_of_the_paper_trains(elpv_folder, tmp_path):
    """With its losses at every step, its generator, and the last weights in the pipeline."""
    run = tmp_path / "run"
    settings = {**SMALL, "batch_size": 2, "log_every": 1, "checkpoint_every": 1, "mixed_precision": "no"}
    train(TrainingConfig.paper(str(elpv_folder), output_dir=str(run), **settings))
    index = json.loads((run / "model_index.json").read_text())
    assert index["generator"] == ["magical_hub", "MagicalGenerator"]
    assert MagicalPipeline.from_pretrained(run)(seeds=[1]).images[0].size == (48, 48)
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    terms = {name for name in lines[-1] if name.startswith(("critic/", "generator/")) and "score" not in name}
    assert terms - {"critic/location_accuracy"} == {
        *("critic/adversarial", "critic/penalty", "critic/classification", "critic/classification_fake"),
        *("generator/adversarial", "generator/classification", "generator/boundary"),
    }
    assert len(lines) == 4 and all(np.isfinite(line[name]) for name in terms for line in lines)
    assert all(line["critic/penalty"] > 0 and line["generator/boundary"] > 0 for line in lines)
    assert weights_that_stay(run, "generator") == []
    made = load_file(run / "generator" / "diffusion_pytorch_model.safetensors")
    last = load_file(run / "checkpoints" / "step-00000004" / "generator.safetensors")
    for name in last:
        assert name.endswith("mean_style") or torch.allclose(made[name], last[name], rtol=1e-5, atol=1e-6), name


@pytest.mark.slow
def test_the_preset_of_the_command_leaves_other_options_to_the_user(run_command, elpv_folder, tmp_path):
    options = [part for name, value in SMALL.items() for part in (f"--{name.replace('_', '-')}", value)]
    common = ["train", "--data", elpv_folder, *options, "--max-steps", 1]
    ran = run_command(*common, "--output-dir", tmp_path / "a", "--lambda-b", 7, "--batch-size=2", "--preset", "paper")
    assert ran.returncode == 0, ran.stderr
    settings = json.loads((tmp_path / "a" / "training_config.json").read_text())
    assert {**PAPER, "lambda_b": 7.0, "batch_size": 2}.items() <= settings.items()
    ran = run_command(*common, "--output-dir", tmp_path / "b", "--preset", "papers")
    assert ran.returncode == 2 and "paper" in ran.stderr and not (tmp_path / "b").exists()


def test_the_averaged_weights_generate(run):
    """The pipeline holds the EMA weights, not the last ones."""
    folder, _ = run
    made = load_file(folder / "generator" / "diffusion_pytorch_model.safetensors")
    checkpoint = folder / "checkpoints" / "step-00000004"
    averages, last = load_file(checkpoint / "ema.safetensors"), load_file(checkpoint / "generator.safetensors")
    assert all(torch.equal(made[name], value) for name, value in averages.items())
    assert any(not torch.equal(made[name], last[name]) for name in averages)


def test_every_weight_moves(run):
    folder, _ = run
    for name in ("generator", "critic"):
        assert weights_that_stay(folder, name) == []


def weights_that_stay(run: Path, network: str) -> list[str]:
    """From step 3 to step 4."""
    checkpoints = [run / "checkpoints" / f"step-0000000{step}" for step in (3, 4)]
    before, after = (load_file(checkpoint / f"{network}.safetensors") for checkpoint in checkpoints)
    return [key for key in before if key.endswith("weight") and torch.equal(before[key], after[key])]


@pytest.mark.parametrize("generator", ["seamless", "magical"])
def test_both_networks_learn(tiny_config, tmp_path, generator):
    rates = {"generator_lr": 5e-3, "critic_lr": 5e-3}
    train(tiny_config(tmp_path / "run", generator=generator, **rates, max_steps=150, log_every=15))
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    for name in ("critic/classification", "generator/classification"):
        assert history[-1][name] < history[0][name] / 2
    assert history[-1]["critic/location_accuracy"] > 0.8
    if generator == "magical":  # the seamless one's sub-regions meet from the first step on
        assert history[-1]["generator/boundary"] < history[0]["generator/boundary"] / 2


def test_a_folder_that_holds_a_run_is_refused(run, tiny_config):
    folder, _ = run
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    with pytest.raises(ConfigError, match="holds a run already: give --resume"):
        train(tiny_config(folder))
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_dim", 32),
        ("rows", 1),
        ("image_size", 64),
        ("seed", 1),
        ("lambda_b", 0.0),
        ("batch_size", 8),
        ("n_critic", 2),
        ("init_from", "package-512"),
    ],
)
def test_a_contradiction_on_resume_is_refused(run, tiny_config, name, value):
    folder, _ = run
    with pytest.raises(ConfigError, match=rf"{name} is .*{value}.*, and the run began with"):
        train(tiny_config(folder, resume=True, **{name: value}))


def test_resume_of_a_run_that_is_done_changes_nothing(run, tiny_config, tmp_path):
    folder, _ = run
    shutil.copytree(folder, tmp_path / "run")
    saved = tmp_path / "run" / "training_config.json"
    assert '"critic_input": "windows"' in saved.read_text()
    saved.write_text(saved.read_text().replace("critic_input", "critic_sees"))  # the name in earlier runs
    with pytest.raises(ConfigError, match="critic_input is 'sub_regions', and the run began with 'windows'"):
        train(tiny_config(tmp_path / "run", resume=True, critic_input="sub_regions"))
    result = train(tiny_config(tmp_path / "run", resume=True))
    assert result.steps == 4
    for name in ("generator", "critic"):
        file = f"{name}/diffusion_pytorch_model.safetensors"
        assert (tmp_path / "run" / file).read_bytes() == (folder / file).read_bytes()


def test_resume_with_nothing_to_resume_starts_at_zero_and_says_so(tiny_config, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        result = train(tiny_config(tmp_path / "run", max_steps=1, resume=True))
    assert result.steps == 1
    assert "has no checkpoint to resume from: starting from zero" in caplog.text


def test_the_same_seed_gives_the_same_run_and_another_another(run, tiny_config, tmp_path):
    folder, _ = run
    weights = "generator/diffusion_pytorch_model.safetensors"
    torch.manual_seed(99)  # whatever happened before
    train(tiny_config(tmp_path / "same"))
    train(tiny_config(tmp_path / "other", seed=1))
    assert (tmp_path / "same" / weights).read_bytes() == (folder / weights).read_bytes()
    assert (tmp_path / "other" / weights).read_bytes() != (folder / weights).read_bytes()


def test_a_loss_that_is_no_number_stops_the_run(tiny_config, tmp_path):
    """With the term that broke; the checkpoint before it stays good."""
    words = r"(critic|generator)/\w+ is not finite at step \d+ \(.*\): start again with lower generator_lr"
    with pytest.raises(TrainingError, match=words) as error:
        train(tiny_config(tmp_path / "run", generator_lr=1e30, max_steps=10))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "model_index.json").exists()
    assert list((tmp_path / "run").glob("checkpoints/*")) == []


def test_max_minutes_stops_the_run_as_if_done(tiny_config, tmp_path):
    """After one step at least: else a session whose time goes into reading the data would get nowhere."""
    assert train(tiny_config(tmp_path / "run", max_minutes=1e-9, max_steps=10**6)).steps == 1
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001"]
    assert MagicalPipeline.from_pretrained(tmp_path / "run").critic is not None
    again = train(tiny_config(tmp_path / "run", resume=True, max_minutes=1e-9, max_steps=10**6))
    assert again.steps == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: set CUDA_VISIBLE_DEVICES= to run it")
def test_fp16_on_a_cpu_is_refused(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        train(tiny_config(tmp_path / "run", mixed_precision="fp16"))
    assert not (tmp_path / "run").exists()


def test_another_precision_in_one_process_is_refused_in_words(tiny_config, tmp_path):
    make_accelerator(tiny_config(tmp_path / "a"))
    with pytest.raises(ConfigError, match="mixed_precision"):
        train(tiny_config(tmp_path / "b", max_steps=1, mixed_precision="bf16"))


def test_class_folders_give_a_generator_with_classes(tiny_config, elpv_files, tmp_path):
    for number, file in enumerate(elpv_files):
        folder = tmp_path / "data" / ("good" if number % 4 else "cracked")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
    settings = {"data": str(tmp_path / "data"), "label_column": "label", "max_steps": 2}
    train(tiny_config(tmp_path / "run", **settings, classify_fakes=True, n_critic=2))
    pipe = MagicalPipeline.from_pretrained(tmp_path / "run")
    config = pipe.generator.config
    assert config.class_names == ["cracked", "good"] and config.num_classes == 2
    store = datasets.Dataset.from_file(str(tmp_path / "run" / "data" / "canvas.arrow"))
    labels = np.array(store["label"][:])[Split.load(tmp_path / "run" / "split.json").train]
    assert config.class_frequencies == pytest.approx([(labels == 0).mean(), (labels == 1).mean()])
    made = pipe(class_labels=["good", "cracked"], seeds=[1, 2])
    assert [row["class_name"] for row in made.annotations] == ["good", "cracked"]


def test_classes_can_be_learnt_from_equally_often(tiny_config, elpv_files, tmp_path):
    for number, file in enumerate(elpv_files):
        folder = tmp_path / "data" / ("good" if number % 6 else "cracked")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
    settings = {"data": str(tmp_path / "data"), "label_column": "label"}
    weights = []
    for balance in (False, True):
        train(tiny_config(tmp_path / str(balance), **settings, class_balance=balance))
        weights.append(load_file(tmp_path / str(balance) / "generator" / "diffusion_pytorch_model.safetensors"))
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    with pytest.raises(ConfigError, match="class_balance needs classes: give label_column"):
        tiny_config(tmp_path / "run", class_balance=True)


def test_a_run_starts_with_the_weights_of_a_checkpoint(run, tiny_config, tmp_path):
    folder, _ = run
    start = load_file(folder / "generator" / "diffusion_pytorch_model.safetensors")
    # A warm-up's first step has a rate of 0.
    train(tiny_config(tmp_path / "run", init_from=str(folder), seed=1, max_steps=1, warmup_steps=1))
    begun = tmp_path / "run" / "checkpoints" / "step-00000001"
    for name in ("generator", "ema"):
        weights = load_file(begun / f"{name}.safetensors")
        assert [key for key in weights if key != "mean_style" and not torch.equal(weights[key], start[key])] == []
    critic = load_file(folder / "critic" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(value, critic[key]) for key, value in load_file(begun / "critic.safetensors").items())
    assert json.loads((tmp_path / "run" / "training_config.json").read_text())["init_from"] == str(folder)


@pytest.mark.slow
def test_a_resume_does_not_start_with_them_again(run, tiny_config, tmp_path):
    folder, _ = run
    first = shutil.copytree(folder, tmp_path / "first")
    train(tiny_config(tmp_path / "once", init_from=str(first)))
    train(tiny_config(tmp_path / "twice", init_from=str(first), max_steps=2))
    shutil.rmtree(first)
    train(tiny_config(tmp_path / "twice", resume=True))
    weights = "generator/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "once" / weights).read_bytes() == (tmp_path / "twice" / weights).read_bytes()


def test_what_cannot_be_started_from_is_refused(run, tiny_config, tmp_path):
    folder, _ = run
    words = r"another shape \(.* 1 x 2 sub-regions .* base_width 4, .* here, .* 2 x 2 .* base_width 8, .* there\)"
    with pytest.raises(ConfigError, match=words):
        train(tiny_config(tmp_path / "shape", init_from=str(folder), rows=1, window_rows=1, base_width=4))
    with pytest.raises(CheckpointError, match="there is no checkpoint nowhere"):
        train(tiny_config(tmp_path / "name", init_from="nowhere"))
    MagicalPipeline(MagicalPipeline.from_pretrained(folder).generator).save_pretrained(tmp_path / "alone")
    with pytest.raises(CheckpointError, match="has no critic to train against"):
        train(tiny_config(tmp_path / "critic", init_from=str(tmp_path / "alone")))


def test_a_dataset_and_colour_and_sizes_chosen_from_the_data(tmp_path):
    """Nothing but the data is given: canvas, grid and channels follow from it."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 70, 130, 3), dtype=np.uint8)
    data = datasets.Dataset.from_dict({"image": [Image.fromarray(n) for n in noise]})
    sizes = {"base_width": 8, "max_width": 8, "batch_size": 2, "max_steps": 1}
    train(TrainingConfig(data=data, output_dir=str(tmp_path / "run"), mixed_precision="no", **sizes))
    chosen = json.loads((tmp_path / "run" / "training_config.json").read_text())
    assert (chosen["image_size"], chosen["rows"], chosen["cols"], chosen["channels"]) == ([64, 128], 2, 4, 3)
    image = MagicalPipeline.from_pretrained(tmp_path / "run")(seeds=[0]).images[0]
    assert image.size == (128, 64) and image.mode == "RGB"


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"rows": 3}, GridError, "height 32 cannot be cut into 3 rows: the nearest sizes are 30 or 33"),
        ({"rows": 4}, ConfigError, "too small"),
        ({"window_rows": 3}, GridError, "a window of 3 x 2 does not fit a grid of 2 x 2"),
        ({"data": "/no/such/folder"}, DataError, "there is no folder /no/such/folder"),
        ({"validation_fraction": 0.5, "holdout_fraction": 0.49}, DataError, "too few to split"),
        ({"boundary_thickness": 17}, GridError, "thickness 17 does not fit"),
    ],
)
def test_what_cannot_be_trained_is_refused(tiny_config, tmp_path, changes, error, words):
    with pytest.raises(error, match=words):
        train(tiny_config(tmp_path / "run", **changes))
    assert not (tmp_path / "run" / "model_index.json").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, 0) for name in ("batch_size", "window_rows", "n_critic", "max_steps", "log_every", "sample_every")],
        *[(name, -1.0) for name in ("lambda_gp", "lambda_c", "lambda_b", "generator_lr", "max_minutes")],
        ("critic_lr", 0.0),
        ("ema_decay", 1.0),
        ("validation_fraction", 1.0),
        ("holdout_fraction", -0.1),
        ("seed", -1),
        ("channels", 2),
        ("rows", 0),
        ("cols", -2),
        ("image_size", 0),
        ("image_size", (64, -64)),
        ("generator_lr", float("nan")),
        ("adam_betas", (1.0, 0.9)),
    ],
)
def test_a_setting_out_of_range_is_refused(name, value):
    with pytest.raises(ConfigError, match=rf"^{name} is .*: it must be "):
        TrainingConfig(data="x", output_dir="y", **{name: value})


def test_fractions_that_leave_nothing_are_refused():
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        TrainingConfig(data="x", output_dir="y", validation_fraction=0.5, holdout_fraction=0.5)


def test_a_damaged_checkpoint_is_named(run, tiny_config, tmp_path):
    folder, _ = run
    shutil.copytree(folder, tmp_path / "run")
    for name in ("about.json", "ema.safetensors", "critic_optimizer.safetensors"):
        file: Path = tmp_path / "run" / "checkpoints" / "step-00000004" / name
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CheckpointError, match=r"step-00000004 is damaged.*delete it"):
            train(tiny_config(tmp_path / "run", resume=True))
        file.write_bytes(whole)
    file = tmp_path / "run" / "checkpoints" / "step-00000004" / "ema.safetensors"
    averages = load_file(file)
    next(iter(averages.values())).fill_(float("nan"))  # which no loss would show: they generate, and learn nothing
    save_file(averages, file)
    with pytest.raises(CheckpointError, match=r"step-00000004 is damaged .*of ema has weights that are not finite"):
        train(tiny_config(tmp_path / "run", resume=True))
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000004")  # as the message says
    assert train(tiny_config(tmp_path / "run", resume=True)).steps == 4


def test_nothing_that_was_made_elsewhere_is_overwritten(run, tiny_config, pipe_folder, elpv_folder, tmp_path):
    """A checkpoint without a run, which a training from it would replace; and the images, which its pictures join."""
    checkpoint = shutil.copytree(pipe_folder, tmp_path / "checkpoint")
    before = {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()}
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"holds model_index\.json, which training would overwrite"):
            train(tiny_config(checkpoint, init_from=str(checkpoint), resume=resume))
    assert {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()} == before
    images = shutil.copytree(elpv_folder, tmp_path / "images")
    for inside in (images, images / "runs" / "first"):
        with pytest.raises(ConfigError, match="is in the folder of the images"):
            train(tiny_config(inside, data=str(images)))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="exists, and is not a folder"):
        train(tiny_config(tmp_path / "file"))
    assert len([*images.rglob("*")]) == 24 and (tmp_path / "file").read_text() == "mine"


def test_a_run_that_could_not_begin_leaves_nothing_to_the_next(tiny_config, elpv_files, tmp_path):
    """Neither its settings nor its images, which had another size."""
    (tmp_path / "two").mkdir()
    for file in elpv_files[:2]:
        shutil.copy(file, tmp_path / "two")
    with pytest.raises(DataError, match="too few to split"):
        train(tiny_config(tmp_path / "run", data=str(tmp_path / "two")))
    whole = {"data": str(tmp_path / "two"), "validation_fraction": 0.0, "holdout_fraction": 0.0, "augment": "off"}
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        train(tiny_config(tmp_path / "run", **whole, init_from=str(tmp_path / "nowhere"), max_steps=1))
    train(tiny_config(tmp_path / "run", **whole, image_size=64, channels=3, max_steps=1))
    store = open_store(tmp_path / "run" / "data")
    assert (store.height, store.width, store.channels) == (64, 64, 3)
    assert store.images(np.array([0, 1])).shape == (2, 3, 64, 64)


def test_lines_of_a_killed_session_are_dropped(run, tiny_config, tmp_path):
    """History beyond the checkpoint, and half a line at its end, do not stay when the steps are done again."""
    folder, _ = run
    shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000004")
    with (tmp_path / "run" / "history.jsonl").open("a") as file:
        file.write('{"step": 5, "sec')
    train(tiny_config(tmp_path / "run", resume=True))
    history = [json.loads(line)["step"] for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert history == [1, 2, 3, 4]


def test_rates_rise_and_fall(run, tiny_config, tmp_path):
    def movement(run: Path) -> float:
        """How far the generator's weights go in the last step."""
        before, after = (load_file(run / "checkpoints" / f"step-0000000{n}" / "generator.safetensors") for n in (3, 4))
        return sum(float((after[key] - before[key]).norm()) for key in after)

    constant = movement(run[0])
    for name, settings, most in (("warmup", {"warmup_steps": 100}, 0.1), ("decay", {"decay_steps": 4}, 0.5)):
        train(tiny_config(tmp_path / name, checkpoint_every=1, **settings))
        assert 0 < movement(tmp_path / name) < most * constant


def test_rates_fall_at_the_end_of_a_run_that_is_resumed(tiny_config, tmp_path):
    def rates(step: int) -> set[float]:
        about = json.loads((tmp_path / "run" / "checkpoints" / f"step-0000000{step}" / "about.json").read_text())
        return {rate for scheduler in about["schedulers"] for rate in scheduler["_last_lr"]}

    train(tiny_config(tmp_path / "run", max_steps=2))
    assert rates(2) == {2e-3}
    train(tiny_config(tmp_path / "run", max_steps=6, decay_steps=4, max_minutes=1e-9, resume=True))  # one step
    assert rates(3) == {1.5e-3}
    train(tiny_config(tmp_path / "run", max_steps=None, resume=True))  # with the end that was given last
    assert rates(6) == {0.0}
    with pytest.raises(ConfigError, match="decay_steps is 9, and max_steps 8: it must be at most as many"):
        tiny_config(tmp_path / "run", max_steps=8, decay_steps=9)


def test_figures_go_to_a_tracker_too(tiny_config, tmp_path):
    train(tiny_config(tmp_path / "run", report_to="tensorboard", max_steps=1))
    assert list((tmp_path / "run" / "logs").rglob("events.out.tfevents.*"))


def test_a_tracker_that_is_not_installed_is_named(tiny_config, tmp_path):
    assert importlib.util.find_spec("wandb") is None
    with pytest.raises(ConfigError, match="report_to wandb needs its package: pip install wandb"):
        train(tiny_config(tmp_path / "run", report_to="wandb"))


def test_changed_data_is_noticed_on_resuming_and_lost_canvases_are_made_again(tiny_config, elpv_folder, tmp_path):
    data = shutil.copytree(elpv_folder, tmp_path / "data")
    train(tiny_config(tmp_path / "run", data=str(data), max_steps=1))
    (tmp_path / "run" / "data" / "canvas.arrow").unlink()
    assert train(tiny_config(tmp_path / "run", data=str(data), max_steps=2, resume=True)).steps == 2
    sorted(data.iterdir())[0].unlink()
    with pytest.raises(DataError, match=r"the data is not what .* began with"):
        train(tiny_config(tmp_path / "run", data=str(data), max_steps=3, resume=True))


def test_a_checkpoint_that_does_not_fit_is_named(run, tiny_config, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    about = tmp_path / "run" / "checkpoints" / "step-00000004" / "about.json"
    about.write_text(
        json.dumps({key: value for key, value in json.loads(about.read_text()).items() if key != "ema_step"})
    )
    with pytest.raises(CheckpointError, match="step-00000004 does not fit this run"):
        train(tiny_config(tmp_path / "run", resume=True))


def test_the_best_checkpoint_on_the_validation_part_is_kept(tiny_config, tmp_path):
    settings = {"validate": True, "validation_fraction": 0.4, "checkpoint_every": 1, "keep_checkpoints": 1}
    train(tiny_config(tmp_path / "run", generator_lr=1e-2, **settings))
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    kids = {line["step"]: line["validation/kid"] for line in lines}
    assert sorted(kids) == [1, 2, 3, 4]
    best = min(kids, key=lambda step: kids[step])
    left = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert left == {f"step-{best:08d}", "step-00000004"}
