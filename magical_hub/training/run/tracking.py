"""The tracker of a session: the figures as they come, and in MLflow the trained model too."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator

from magical_hub.errors import ConfigError, first_line
from magical_hub.pipeline import MagicalPipeline
from magical_hub.training.config import TrainingConfig
from magical_hub.version import __version__


@contextmanager
def tracker(config: TrainingConfig, accelerator: Accelerator) -> Iterator[None]:
    """Send figures that are logged within the block to the tracker of the configuration.

    Raises:
        ConfigError: where the tracker can't be started.
    """
    if config.report_to != "nothing":
        settings = {key: str(value) for key, value in vars(config).items()}
        names = {"mlflow": {"run_name": Path(config.output_dir).name}}  # others have no such setting
        try:
            accelerator.init_trackers("magical_hub", config=settings, init_kwargs=names)
        except Exception as error:  # each tracker has its own kinds
            reason = first_line(error)
            raise ConfigError(
                f"report_to {config.report_to} cannot be started ({reason}): look at its address and settings, or "
                "leave report_to out"
            ) from error
    try:
        yield
    finally:
        accelerator.end_training()


def log_pipeline(config: TrainingConfig, pipe: MagicalPipeline) -> None:
    """Put a trained pipeline into MLflow's run, where that is the tracker; the critic stays in RUN.

    Nothing is pickled: the model is the folder that `save_pretrained` writes, and serving.py reads it.
    """
    if config.report_to != "mlflow":
        return
    import mlflow

    from magical_hub.serving import signature

    with tempfile.TemporaryDirectory() as folder:
        kept = MagicalPipeline(pipe.generator, verifier=pipe.verifier)
        kept.origin = pipe.origin
        kept.save_pretrained(folder)
        mlflow.pyfunc.log_model(
            name="generator",
            loader_module="magical_hub.serving",
            data_path=folder,
            signature=signature(pipe.generator.config),
            pip_requirements=[f"magical-hub=={__version__}"],
        )
