"""Rows made on a Ray cluster: one actor per GPU, or per core, gets the pipeline once and sends back whole shards."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import torch

from magical_hub.augmentation.making import RowMaker, Shard, make_shard
from magical_hub.augmentation.plan import SampleRequest
from magical_hub.errors import AugmentationError, ConfigError, MagicalError, first_line
from magical_hub.extras import extra

PATIENCE = 10.0
"""Seconds that an address has to answer."""


def make_on_cluster(
    maker: RowMaker,
    parts: Sequence[Sequence[SampleRequest]],
    num_actors: int | None = None,
    address: str | None = None,
) -> Iterator[tuple[int, Shard]]:
    """One shard per part, by the part's number, in the order in which they are ready.

    What an actor was at that dies, or whose node is lost, is made again once the others are done. Shards come back to
    this process, which writes them: the nodes need not share a disk.

    Args:
        maker: makes the rows.
        parts: requests whose images are generated together.
        num_actors: at most; None takes all GPUs (of a pipeline on a GPU) or cores of the cluster.
        address: of a running cluster, or "auto"; None starts one on this machine, unless Ray runs here already.

    Raises:
        ConfigError: where the cluster doesn't answer, or has nothing to run on.
        AugmentationError: where the tries of a part run out, or the actors die all the time.
        MissingPackageError: without the extra `ray`.
    """
    with extra("ray"):
        import ray
        import ray.data

    on_gpu = maker.on_gpu
    with _quietly() as context, _connected(address):
        payload = ray.put((maker, parts))  # held here, so that an actor that starts again finds it
        missing = set(range(len(parts)))
        while missing:
            before = len(missing)
            for number, shard in _round(payload, sorted(missing), on_gpu, num_actors):
                missing.remove(number)
                yield number, shard
            # Where nothing came of a round, Ray is to say why.
            context.max_errored_blocks = -1 if len(missing) < before else 0


def _round(payload: Any, numbers: list[int], on_gpu: bool, num_actors: int | None) -> Iterator[tuple[int, Shard]]:
    """The shards of these parts, but for those that actors were at that died."""
    import ray
    import ray.data

    there = int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 0))
    if not there:
        raise ConfigError(f"the Ray cluster has no {'GPU' if on_gpu else 'core'}: add a node that has one")
    blocks = ray.data.from_items([{"number": number} for number in numbers], override_num_blocks=len(numbers))
    made = blocks.map_batches(
        _Actor,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(len(numbers), there, num_actors or there)),
        fn_constructor_args=([payload],),
        num_gpus=1 if on_gpu else None,
        num_cpus=None if on_gpu else 1,
        max_task_retries=0,  # a retry would wait for the actor, and that for a node
    )
    try:
        batches: Any = made.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0)
        for batch in batches:
            (row,) = batch.to_pylist()
            if row["error"]:
                raise AugmentationError(row["error"])
            yield row["number"], Shard(row["arrow"], row["counts"])
    except ray.exceptions.RayActorError as error:
        reason = first_line(error)
        raise AugmentationError(
            f"the actors on the Ray cluster die ({reason}): see to its memory and nodes; the same call continues"
        ) from error


class _Actor:
    """Lives as long as the call, with the pipeline in memory.

    Args:
        payload: a list of the reference to it, which Ray would otherwise fetch into every task.
    """

    def __init__(self, payload: list[Any]) -> None:
        import ray

        torch.set_num_threads(1)  # it has one core
        self.maker, self.parts = ray.get(payload[0])

    def __call__(self, batch: Any) -> Any:
        import pyarrow as pa

        (number,) = batch["number"].to_pylist()
        shard, error = Shard(b"", ""), ""
        try:
            shard = make_shard(self.maker, self.parts[number])
        except MagicalError as mistake:  # Ray would wrap it in pages of its own
            error = str(mistake)
        columns = {"number": [number], "counts": [shard.counts], "error": [error]}
        return pa.table({**columns, "arrow": pa.array([shard.arrow], pa.large_binary())})


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Run Ray within the block: the cluster that this process is connected to, that of the address, or a new one."""
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    # It warns, as of an error, that an actor's arguments may be lost: this process holds them.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of this goes to Ray's makers
        options["include_dashboard"] = False
    try:
        _check_reachable(address)
        ray.init(address, **options)
    except (OSError, RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise ConfigError(
            f"the Ray cluster at {address} does not answer ({reason}): start it there (`ray start`), give its "
            "HOST:PORT, set RAY_AUTH_MODE=token where it wants a token, or leave the address out"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise an OSError where nothing listens at HOST:PORT: Ray itself would wait for minutes."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), timeout=PATIENCE).close()


@contextmanager
def _quietly() -> Iterator[Any]:
    """Ray Data's settings, which are put back: without its own bars and plans, and going on where an actor is lost."""
    from ray.data import DataContext

    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, context.max_errored_blocks, logger.level
    context.enable_progress_bars, context.max_errored_blocks = False, -1
    logger.setLevel(logging.CRITICAL)  # a lost actor is a page of its own there
    try:
        yield context
    finally:
        context.enable_progress_bars, context.max_errored_blocks = before[:2]
        logger.setLevel(before[2])
