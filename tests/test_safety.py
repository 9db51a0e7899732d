"""Folders that a stranger wrote: each is refused in one line, with no code run and no memory taken for it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from magical_hub import LabelVerifier, MagicalCritic, MagicalGenerator, MagicalPipeline, SeamlessGenerator
from magical_hub.checkpoint import describe
from magical_hub.errors import CheckpointError, ConfigError, MagicalError
from magical_hub.export import write_imagefolder
from magical_hub.pipeline import MOST_PIXELS
from magical_hub.safety import MOST_BYTES

INDEX, CONFIG, WEIGHTS = "model_index.json", "generator/config.json", "generator/diffusion_pytorch_model.safetensors"


class RunsCode:
    """What a hostile pickle does: it leaves a file where `tripped` looks."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (os.environ["MAGICAL_TRIPWIRE"],)


def change(file: str, **changes: Any) -> Callable[[Path], None]:
    """Change values of a JSON file."""

    def act(folder: Path) -> None:
        values = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**values, **changes}))

    return act


def content(file: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(data) and None


def edit(act: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Change the bytes of the weights."""
    return lambda folder: (folder / WEIGHTS).write_bytes(act((folder / WEIGHTS).read_bytes())) and None


def tensors(act: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    """Change the tensors of the weights."""

    def change_them(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        act(state)
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})

    return change_them


def header(act: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    """Change the header of the weights, and leave the numbers."""

    def change_it(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        values = json.loads(data[8 : 8 + length])
        act(values)
        said = json.dumps(values).encode()
        return struct.pack("<Q", len(said)) + said + data[8 + length :]

    return change_it


def link(file: str, target: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        outside = folder.parent / "outside"
        shutil.copytree(folder, outside)
        path = folder / file
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.symlink_to(outside / target if target != "itself" else path)

    return act


def pickled(ending: str, keep: bool = False) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        if not keep:
            (folder / WEIGHTS).unlink()
        (folder / f"generator/diffusion_pytorch_model{ending}").write_bytes(pickle.dumps(RunsCode()))

    return act


def fifo(folder: Path) -> None:
    (folder / CONFIG).unlink()
    os.mkfifo(folder / CONFIG)


def script(folder: Path) -> None:
    (folder / "pipeline.py").write_text("import os\nos.mkdir(os.environ['MAGICAL_TRIPWIRE'])\n")
    change(INDEX, _class_name=["pipeline", "MagicalPipeline"])(folder)


FIRST = "mapping.layers.0.weight"
SHARDS = json.dumps({"metadata": {}, "weight_map": {FIRST: "../../outside.safetensors"}})

HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated weights": (edit(lambda data: data[:-100]), "not a whole safetensors file"),
    "oversized weights": (edit(lambda data: data + b"\0" * 100), "not a whole safetensors file"),
    "empty weights": (edit(lambda data: b""), "not a whole safetensors file"),
    "a header longer than the file": (
        edit(lambda data: b"\xff\xff\xff\x7f\0\0\0\0" + data[8:]),
        "not a whole safetensors",
    ),
    "a header of 2**63": (edit(lambda data: b"\xff" * 7 + b"\x7f" + data[8:]), "not a whole safetensors file"),
    "a header that is not JSON": (edit(lambda data: data[:8] + b"?" * 20 + data[28:]), "not a whole safetensors file"),
    "tensors that overlap": (
        edit(header(lambda values: values[FIRST].update(data_offsets=[0, values[FIRST]["data_offsets"][1]]))),
        "not a whole safetensors file",
    ),
    "weights with NaN": (tensors(lambda state: state[FIRST].fill_(float("nan"))), f"not finite .in {FIRST}"),
    "infinite weights": (tensors(lambda state: state[FIRST][0].fill_(float("inf"))), f"not finite .in {FIRST}"),
    "a missing tensor": (tensors(lambda state: state.pop(FIRST)), f"no weights for {FIRST}"),
    "a tensor too many": (tensors(lambda state: state.update(more=torch.zeros(3))), "weights for 'more'"),
    "a wrong shape": (tensors(lambda state: state.update({FIRST: torch.zeros(3)})), rf"{FIRST} is \[3\]"),
    "a wrong kind": (tensors(lambda state: state.update({FIRST: state[FIRST].int()})), f"{FIRST} holds I32"),
    "a pickle named .safetensors": (edit(lambda data: pickle.dumps(RunsCode())), "not a whole safetensors file"),
    "a pickle alone": (pickled(".bin"), "a pickle, which can run code"),
    "a checkpoint of torch alone": (pickled(".pt"), "a pickle, which can run code"),
    "shards out of the folder": (
        content("generator/diffusion_pytorch_model.safetensors.index.json", SHARDS.encode()),
        "weights in several files",
    ),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "has no diffusion_pytorch_model.safetensors: take"),
    "a folder for weights": (
        lambda folder: [(folder / WEIGHTS).unlink(), (folder / WEIGHTS).mkdir()],
        "has no diffusion_pytorch_model.safetensors",
    ),
    "10**9 channels": (change(CONFIG, max_width=10**9), "max_width is 1000000000"),
    "10**9 of the first width": (change(CONFIG, base_width=10**9), "base_width is 1000000000"),
    "a latent of 10**12": (change(CONFIG, latent_dim=10**12), "latent_dim is 1000000000000"),
    "large sizes together": (change(CONFIG, base_width=2**13, max_width=2**13, style_dim=2**14), "by the config"),
    "an image of 10**9 pixels a side": (change(CONFIG, image_size=[10**9, 10**9]), "image_size is"),
    "10**6 rows": (change(CONFIG, rows=10**6, image_size=[16 * 10**6, 48]), "rows is 1000000"),
    "10**9 classes": (change(CONFIG, num_classes=10**9), "num_classes is 1000000000"),
    "a negative size": (change(CONFIG, latent_dim=-5), "latent_dim is -5"),
    "no rows": (change(CONFIG, rows=0), "rows is 0"),
    "a size of 10**4000": (change(CONFIG, rows=10**4000), "rows is 1000"),
    "a fraction of a row": (change(CONFIG, rows=1.5), "rows is 1.5"),
    "true rows": (change(CONFIG, rows=True), "rows is True"),
    "rows in words": (change(CONFIG, rows="two"), "rows is two"),
    "a size in three parts": (change(CONFIG, image_size=[32, 48, 3]), "image_size is"),
    "a size that is null": (change(CONFIG, image_size=None), "image_size is None"),
    "names without classes": (change(CONFIG, class_names=["a"]), "class_names has 1 names for 0 classes"),
    "names that are none": (change(CONFIG, class_names=[[]], num_classes=1), "class_names is"),
    "frequencies of other classes": (
        change(CONFIG, class_frequencies=[0.5, 0.5]),
        "class_frequencies are not of the shape",
    ),
    "frequencies of other defects": (
        change(CONFIG, num_defects=2, defect_frequencies=[[[0.5]]]),
        r"defect_frequencies are not of the shape \(1, 6, 2\)",
    ),
    "frequencies in words": (
        change(CONFIG, num_classes=1, class_frequencies=["x"]),
        "class_frequencies hold something",
    ),
    "10**9 defects": (change(CONFIG, num_defects=10**9), "num_defects is 1000000000"),
    "a field of a later version": (change(CONFIG, warp=9), "'warp', which this version does not know"),
    "quantised by somebody's library": (
        change(CONFIG, quantization_config={"quant_method": "bitsandbytes"}),
        "'quantization_config', which this version does not know",
    ),
    "another network": (change(CONFIG, _class_name="SeamlessGenerator"), "not of a MagicalGenerator"),
    "a configuration of 20 MB": (
        content(CONFIG, b'{"a": "' + b"x" * 20_000_000 + b'"}'),
        "has more than 16777216 bytes",
    ),
    "deep JSON": (content(CONFIG, b"[" * 100_000), "not JSON that can be read"),
    "invalid UTF-8": (content(CONFIG, b'{"rows": "\xff\xfe"}'), "not JSON that can be read"),
    "NaN in a configuration": (content(CONFIG, b'{"rows": NaN}'), "NaN is not a number"),
    "a list for a configuration": (content(CONFIG, b"[1]"), "holds a list and no object"),
    "no configuration": (lambda folder: (folder / CONFIG).unlink(), "config.json is missing"),
    "a pipe for a configuration": (fifo, "config.json is missing"),
    "a link for a configuration": (link(CONFIG, CONFIG), "leads out of its folder"),
    "a link for weights": (link(WEIGHTS, WEIGHTS), "leads out of its folder"),
    "a link for a folder": (link("generator", "generator"), "leads out of its folder"),
    "a link for the index": (link(INDEX, INDEX), "leads out of its folder"),
    "a link to itself": (link(CONFIG, "itself"), "leads"),
    "a component out of the folder": (
        change(INDEX, **{"../outside": ["magical_hub", "MagicalCritic"]}),
        "'../outside', which this version does not know",
    ),
    "somebody's module": (change(INDEX, generator=["transformers", "CLIPTextModel"]), "only networks of magical_hub"),
    "a module of Python": (change(INDEX, generator=["os", "system"]), "only networks of magical_hub"),
    "no network of ours": (change(INDEX, generator=["magical_hub", "train"]), "only networks of magical_hub"),
    "a component too many": (change(INDEX, filter=["magical_hub", "MagicalCritic"]), "'filter', which this version"),
    "a component that is not a pair": (change(INDEX, generator="MagicalGenerator"), "only networks of magical_hub"),
    "a network in place of another": (
        change(INDEX, generator=["magical_hub", "SeamlessGenerator"]),
        "is of a MagicalG",
    ),
    "a critic as the generator": (
        change(INDEX, generator=["magical_hub", "MagicalCritic"]),
        "only networks of magical_hub",
    ),
    "no generator": (change(INDEX, generator=[None, None]), "has no generator"),
    "another pipeline": (change(INDEX, _class_name="DDPMPipeline"), "is a DDPMPipeline, no MagicalPipeline"),
    "code in the folder": (script, r"is a \['pipeline', 'MagicalPipeline'\], no MagicalPipeline"),
    "deep JSON for an index": (content(INDEX, b'{"a":' * 50_000), "not JSON that can be read"),
}


@pytest.fixture
def tripwire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that only code in a checkpoint would make."""
    monkeypatch.setenv("MAGICAL_TRIPWIRE", str(tmp_path / "tripped"))
    return tmp_path / "tripped"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_folders(pipe_folder: Path, tmp_path: Path, tripwire: Path, name: str) -> None:
    act, words = HOSTILE[name]
    folder = Path(shutil.copytree(pipe_folder, tmp_path / "checkpoint"))
    act(folder)
    with pytest.raises(CheckpointError, match=words) as error:
        MagicalPipeline.from_pretrained(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000
    assert not tripwire.exists()


def test_the_tripwire_works(tripwire: Path) -> None:
    pickle.loads(pickle.dumps(RunsCode()))
    assert tripwire.exists()


@pytest.mark.parametrize("name", ["truncated weights", "10**9 channels", "a link for weights", "weights with NaN"])
def test_a_network_alone_is_checked_alike(pipe_folder: Path, tmp_path: Path, name: str) -> None:
    act, words = HOSTILE[name]
    folder = Path(shutil.copytree(pipe_folder, tmp_path / "checkpoint"))
    act(folder)
    with pytest.raises(CheckpointError, match=words):
        MagicalGenerator.from_pretrained(folder / "generator")
    if name != "a link for weights":
        with pytest.raises(CheckpointError, match=words):
            MagicalGenerator.from_pretrained(folder, subfolder="generator")
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        MagicalGenerator.from_pretrained(folder / "generator", subfolder="..")


def test_a_pickle_beside_good_weights_is_not_looked_at(pipe_folder: Path, tmp_path: Path, tripwire: Path) -> None:
    folder = Path(shutil.copytree(pipe_folder, tmp_path / "checkpoint"))
    pickled(".bin", keep=True)(folder)
    MagicalPipeline.from_pretrained(folder)
    assert not tripwire.exists()


@pytest.mark.parametrize("name", ["custom_pipeline", "trust_remote_code"])
def test_no_code_of_a_repository_is_asked_for(pipe_folder: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name} would run a repository's code"):
        MagicalPipeline.from_pretrained(pipe_folder, **{name: "x"})


def test_memory_stays_bounded(pipe_folder: Path, tmp_path: Path) -> None:
    """With 300 MB more than the process has: sizes that are huge together are an error all the same."""
    resource = pytest.importorskip("resource", reason="Windows has no limits of memory: run it on Linux")
    pages = Path("/proc/self/statm")
    if not pages.exists():
        pytest.skip("only Linux says what a process has: run it there")
    folder = Path(shutil.copytree(pipe_folder, tmp_path / "checkpoint"))
    change(CONFIG, base_width=2**13, max_width=2**13, style_dim=2**14, latent_dim=2**14)(folder)
    MagicalPipeline.from_pretrained(pipe_folder)  # so that all is imported
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(pages.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 300 * 2**20, before[1]))
    try:
        with pytest.raises(CheckpointError, match="by the configuration"):
            MagicalPipeline.from_pretrained(folder)
        with pytest.raises((RuntimeError, MemoryError)):  # what it would have taken, were it built
            MagicalGenerator.from_config(json.loads((folder / CONFIG).read_text()))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=4), values, max_size=3),
    max_leaves=6,
)
SIZES = st.integers(-2, 70) | st.sampled_from([2**k + d for k in (8, 13, 14, 20, 31, 63) for d in (-1, 0, 1)])
GRIDS = st.tuples(SIZES, SIZES) | st.lists(SIZES, max_size=4) | JSON


@pytest.mark.parametrize("kind", [MagicalGenerator, SeamlessGenerator, MagicalCritic, LabelVerifier])
@settings(max_examples=40)
@given(data=st.data())
def test_any_configuration_is_loaded_or_refused_in_one_line(
    kind: type, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    known: dict[str, Any] = {"rows": 2, "cols": 3, "image_size": [32, 48]}
    known |= {"num_defects": 2, "width": 8} if kind is LabelVerifier else {"base_width": 8, "max_width": 16}
    config = {"_class_name": kind.__name__, **known}
    names = [
        *(
            "rows",
            "cols",
            "image_size",
            "width",
            "base_width",
            "max_width",
            "num_defects",
            "defect_names",
            "defect_frequencies",
        ),
        "channels",
        "latent_dim",
        "style_dim",
        "num_levels",
        "num_classes",
        "class_names",
        "class_frequencies",
    ]
    for name in data.draw(st.lists(st.sampled_from(names) | st.text(max_size=6), max_size=3)):
        config[name] = data.draw(GRIDS if name == "image_size" else SIZES | JSON)
    (folder / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        small = kind(**{**known, "image_size": (32, 48)}).state_dict()
    save_file(
        {name: torch.zeros(value.shape) for name, value in small.items()},
        folder / "diffusion_pytorch_model.safetensors",
    )
    try:
        network = kind.from_pretrained(folder)
    except MagicalError as error:
        assert "\n" not in str(error) and str(folder) in str(error)
    else:
        assert network.config.rows == config["rows"] and next(network.parameters()).device.type == "cpu"


@settings(max_examples=100)
@given(data=st.data())
def test_any_bytes_for_any_file_are_loaded_or_refused_in_one_line(
    pipe_folder: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = Path(shutil.copytree(pipe_folder, tmp_path_factory.mktemp("fuzz") / "a"))
    file = folder / data.draw(st.sampled_from([INDEX, CONFIG, WEIGHTS]))
    old = file.read_bytes()
    at = data.draw(st.integers(0, min(len(old), 600)))
    file.write_bytes(old[:at] + data.draw(st.binary(max_size=12)) + old[at + data.draw(st.integers(0, 12)) :])
    for use in (MagicalPipeline.from_pretrained, describe):
        try:
            use(folder)
        except MagicalError as error:
            assert "\n" not in str(error)


def test_what_was_saved_is_what_a_stranger_may_read(pipe_folder: Path) -> None:
    """The files of this library pass its own checks, and hold tensors and nothing else."""
    for file in pipe_folder.rglob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            assert weights.metadata() == {"format": "pt"}


def test_the_bound_that_the_documentation_names(repo: Path) -> None:
    assert f"up to {MOST_BYTES // 2**20} MiB" in (repo / "docs" / "security.md").read_text()


@pytest.mark.parametrize("size", [(2**20, 2**20), (2**13 + 16, 2**13), (2**20, 64)])
def test_a_canvas_of_a_few_kilobytes_is_not_made_whole(tmp_path: Path, size: tuple[int, int]) -> None:
    shape: dict[str, Any] = {"rows": 1, "cols": 1, "image_size": size, "channels": 1}
    MagicalPipeline(SeamlessGenerator(**shape, base_width=8, max_width=8, latent_dim=8, style_dim=8)).save_pretrained(
        tmp_path / "checkpoint"
    )
    assert sum(file.stat().st_size for file in (tmp_path / "checkpoint").rglob("*.safetensors")) < 2**20
    pipe = MagicalPipeline.from_pretrained(tmp_path / "checkpoint")
    pipe.set_progress_bar_config(disable=True)
    if size[0] * size[1] > MOST_PIXELS:
        for use in (lambda: pipe(num_images=1), lambda: write_imagefolder(pipe, tmp_path / "images", 1)):
            with pytest.raises(ConfigError, match=r"write them tile by tile, by .* --format tiff"):
                use()
    part = pipe.region(size[0] - 64, size[1] - 64, 64, 64, seed=1, output_type="pt")
    assert tuple(part.shape) == (1, 64, 64)
