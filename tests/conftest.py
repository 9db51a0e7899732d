"""What the tests share: tiny networks, real images (solar cells of ELPV), and the command as a user runs it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, too
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # and no thread of Ray's that looks for figures to send

from hub_server import WRITE_TOKEN, HubServer
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

from magical_hub import cli

if TYPE_CHECKING:  # else the process that hands the tests to its workers would import what it never uses
    from magical_hub import MagicalPipeline, TrainingConfig
    from magical_hub.training import TrainingResult

settings.register_profile("magical_hub", deadline=None)  # the machine may be busy
settings.load_profile("magical_hub")

REPO = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def threads() -> None:
    """As many as given."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def repo() -> Path:
    """The folder that holds hubconf.py and magical_hub/."""
    return REPO


@pytest.fixture(scope="session")
def small_network() -> Any:
    """In place of the feature network that takes a minute."""
    from tiny import SmallNetwork

    return SmallNetwork()


@pytest.fixture(scope="session")
def make_pipeline() -> Callable[..., MagicalPipeline]:
    """Builds a tiny pipeline (2 x 3 sub-regions of 16 px) as if trained: no weight is where it started."""
    from tiny import make_pipeline

    return make_pipeline


@pytest.fixture(scope="session")
def randomise() -> Callable[[Any], None]:
    from tiny import randomise_weights

    return randomise_weights


@pytest.fixture(scope="session")
def pipe(make_pipeline: Callable[..., MagicalPipeline]) -> MagicalPipeline:
    """A tiny grey pipeline without classes. Not to be changed."""
    return make_pipeline()


@pytest.fixture(scope="session")
def class_pipe(make_pipeline: Callable[..., MagicalPipeline]) -> MagicalPipeline:
    """A tiny colour pipeline with three classes. Not to be changed."""
    from tiny import CLASSES

    return make_pipeline(**CLASSES)


@pytest.fixture(scope="session")
def seamless_pipe(make_pipeline: Callable[..., MagicalPipeline]) -> MagicalPipeline:
    """As `class_pipe`, with the seamless generator. Not to be changed."""
    from tiny import CLASSES

    from magical_hub import SeamlessGenerator

    return make_pipeline(SeamlessGenerator, **CLASSES)


@pytest.fixture(scope="session")
def pipe_folder(pipe: MagicalPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pipe`, saved. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("pipeline") / "tiny"
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def elpv_files() -> list[Path]:
    """Twenty-four real images of 300 x 300 px."""
    spec = importlib.util.find_spec("elpv_dataset")
    assert spec is not None and spec.origin is not None
    return sorted((Path(spec.origin).parent / "data" / "images").glob("*.png"))[:24]


@pytest.fixture(scope="session")
def elpv_folder(elpv_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in a folder of their own. Not to be changed."""
    folder = tmp_path_factory.mktemp("elpv")
    for file in elpv_files:
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_config(elpv_folder: Path) -> Callable[..., TrainingConfig]:
    """Settings of a training that takes a second: 2 x 2 sub-regions of 16 px, on the ELPV images."""
    from magical_hub import TrainingConfig

    def make(output_dir: Path, **changes: Any) -> TrainingConfig:
        settings: dict[str, Any] = {
            "data": str(elpv_folder),
            "image_size": 32,
            "rows": 2,
            "cols": 2,
            "base_width": 8,
            "max_width": 16,
            "latent_dim": 16,
            "batch_size": 4,
            "max_steps": 4,
            "log_every": 1,
            "mixed_precision": "no",
        }
        return TrainingConfig(output_dir=str(output_dir), **{**settings, **changes})

    return make


@pytest.fixture(scope="session")
def tiny_run(tiny_config: Callable[..., TrainingConfig], tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """What a training of four steps returned; its RUN is in `output_dir`. Not to be changed: copy it."""
    from magical_hub import train

    return train(tiny_config(tmp_path_factory.mktemp("trained") / "run", checkpoint_every=1, sample_every=2))


@pytest.fixture(scope="session")
def bytes_read() -> Callable[[], int]:
    """Counts what this process has read from files so far, as the system says."""
    counts = Path("/proc/self/io")
    if not counts.exists():
        pytest.skip("only Linux counts the bytes that a process reads: run it there")
    return lambda: int(counts.read_text().split("rchar:")[1].split()[0])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A server that the client of this process takes for the Hub, with a token that may write."""
    disable_progress_bars()
    with HubServer(tmp_path / "server") as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
        yield server


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps one precision per process; each test starts as a new process would, as does what they share."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


Completed = subprocess.CompletedProcess[str]


def _run(arguments: list[str], cwd: Path | None, environment: dict[str, str]) -> Completed:
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**offline, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="session")
def run_command() -> Callable[..., Completed]:
    """Runs `magical-hub ARGUMENTS` in a process of its own, with no network, or with `module` another program."""

    def run(
        *arguments: object, module: str = "magical_hub.cli", cwd: Path | None = None, **environment: str
    ) -> Completed:
        return _run(["-m", module, *map(str, arguments)], cwd, environment)

    return run


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Completed]:
    """Runs `magical-hub ARGUMENTS` in this process, which has imported the libraries already: that takes seconds.

    Pytest takes what is logged (`caplog`), so that it isn't on stderr.
    """

    def run(*arguments: object) -> Completed:
        monkeypatch.setattr(sys, "argv", ["magical-hub", *map(str, arguments)])
        capfd.readouterr()
        code: Any = 0
        handler = signal.getsignal(signal.SIGTERM)
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code
        finally:
            signal.signal(signal.SIGTERM, handler)
        said = capfd.readouterr()
        return Completed(sys.argv, code or 0, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def run_python() -> Callable[..., Completed]:
    """Runs Python source in a process of its own, with no network."""

    def run(source: str, *arguments: object, cwd: Path | None = None, **environment: str) -> Completed:
        return _run(["-c", source, *map(str, arguments)], cwd, environment)

    return run


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--no-sandbox"]
"""No sandbox: tests may run as root, and the pages are our own."""
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A module's own: while one is open, nothing else in the process can have an event loop."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine: install Debian's package chromium, or Google Chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS + QUIET)
        yield browser
        browser.close()
