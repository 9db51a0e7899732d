"""Files of a repository on the Hub: pulled whole, by one revision, with a back-off where the client has none."""

from __future__ import annotations

import importlib
import logging
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils.sha import git_hash, sha_fileobj
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from magical_hub.errors import CheckpointError, in_one_line
from magical_hub.version import __version__

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# Of whichever httpx the client was built on; its name has changed between releases.
TransportError: type[Exception] = importlib.import_module(
    HfHubHTTPError.__bases__[0].__module__.partition(".")[0]
).TransportError

ATTEMPTS = 5
TRANSIENT = {408, 409, 412, 425, 429, 500, 502, 503, 504}
"""HTTP answers that another attempt may change; 409 and 412: another process was writing at the same time."""
LONGEST_WAIT = 60.0
"""The most seconds to wait, whatever Retry-After says."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
USER_AGENT = {"library_name": "magical_hub", "library_version": __version__}
"""What the client tells the Hub of the program that calls it."""
PULLING = {"revision", "token", "cache_dir", "local_files_only", "force_download"}
"""The arguments that a `from_pretrained` passes on to `pull`."""


def hub_has_address() -> bool:
    """Whether the Hub's address can be found from here: without it every attempt fails, and only the cache is left.

    Behind a proxy, which finds addresses itself, this is taken for granted.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        return False
    return True


def with_retries(call: Callable[[], Answer]) -> Answer:
    """Call again, after a growing while, where the Hub or the way to it fails in passing.

    Five attempts; the client's own errors come through when they are used up.
    """
    retrying = Retrying(
        retry=retry_if_exception(_is_transient),
        wait=_wait,
        stop=stop_after_attempt(ATTEMPTS),
        before_sleep=_log_retry,
        reraise=True,
    )
    return retrying(call)


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, LocalEntryNotFoundError):  # the client's words for "neither on the Hub nor in the cache"
        return error.__cause__ is not None and _is_transient(error.__cause__)
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TRANSIENT
    return isinstance(error, TransportError) and not isinstance(error, OfflineModeIsEnabled)


_backing_off = wait_random_exponential(multiplier=0.5, max=8)


def _wait(state: RetryCallState) -> float:
    """Seconds: of the header Retry-After, or a random share of a doubling time."""
    error = state.outcome.exception() if state.outcome else None
    response = getattr(error, "response", None) or getattr(getattr(error, "__cause__", None), "response", None)
    after = "" if response is None else response.headers.get("Retry-After", "")
    return min(float(after), LONGEST_WAIT) if after.isdigit() else _backing_off(state)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    reason = "" if error is None else in_one_line(error)
    logger.warning("attempt %d of %d on the Hub failed: %s", state.attempt_number, ATTEMPTS, reason)


def pull(
    name: str,
    files: Sequence[str],
    *,
    optional: Sequence[str] = (),
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """Files of a model's repository, or from the cache where they came before; and nothing else.

    Args:
        name: OWNER/NAME, or OWNER/NAME@REVISION.
        files: their paths in the repository.
        optional: those that need not be there.
        revision: a branch, a tag or a commit; comes before that of `name`.
        token, cache_dir, local_files_only, force_download: as the client's.

    Returns:
        The folder of that commit in the cache.

    Raises:
        CheckpointError: where they cannot be fetched, or are not what the Hub says they are.
    """
    repo_id, _, named = name.partition("@")
    cached_only = local_files_only or not hub_has_address()
    where: dict[str, Any] = {"token": token, "cache_dir": cache_dir, "local_files_only": cached_only}

    def get(revision: str | None, force: bool) -> Path:
        wanted = {"allow_patterns": [*files, *optional], "force_download": force}
        return Path(snapshot_download(repo_id, revision=revision, **where, **wanted, **USER_AGENT))

    try:
        folder = with_retries(lambda: get(revision or named or None, force_download))
        damaged = [file for file in (*files, *optional) if not _is_whole(folder / file)]
        if damaged and not cached_only:  # on the way or on the disk: once more
            folder = with_retries(lambda: get(folder.name, True))
            damaged = [file for file in (*files, *optional) if not _is_whole(folder / file)]
    except (HfHubHTTPError, OSError, ValueError, TransportError) as error:
        if cached_only and isinstance(error, LocalEntryNotFoundError):
            why = "only the cache was to be looked in" if local_files_only else "the Hub cannot be reached"
            raise CheckpointError(
                f"{name} is neither a folder here nor in the cache, and {why}: check the name and the network"
            ) from error
        raise CheckpointError(f"{name} cannot be pulled: {in_one_line(error)}") from error
    if damaged:
        raise CheckpointError(f"{damaged[0]} of {name} is not what the Hub says it is (its hash differs): pull again")
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        instead = ": only a part of it is in the cache" if cached_only else ""
        instead = instead or _instead_of(repo_id, folder.name, missing[0], token)
        raise CheckpointError(f"{name} has no {missing[0]}{instead}")
    return folder


def _is_whole(file: Path) -> bool:
    """Whether a file of the cache is what its name there says, which is the hash that the Hub gave; else it goes."""
    if not file.is_file():
        return True  # missing, which is an error of its own
    blob = file.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        with blob.open("rb") as content:
            actual = sha_fileobj(content).hex()
    elif re.fullmatch(r"[0-9a-f]{40}", blob.name):
        actual = git_hash(blob.read_bytes())
    else:
        return True  # where links can't be made, the names in the cache are no hashes
    if actual == blob.name:
        return True
    file.unlink()
    blob.unlink()
    return False


def _instead_of(repo_id: str, revision: str, file: str, token: str | bool | None) -> str:
    """The end of an error on a missing file: what the repository has instead, and what to do."""
    try:
        names = with_retries(lambda: HfApi(token=token, **USER_AGENT).list_repo_files(repo_id, revision=revision))
    except (HfHubHTTPError, OSError, TransportError):
        names = []  # offline
    folder = file.rpartition("/")[0]
    return instead_of_weights([name for name in names if name.rpartition("/")[0] == folder])


def instead_of_weights(names: Sequence[str]) -> str:
    """The end of a sentence on missing weights, by what is there instead."""
    pickles = sorted(Path(name).name for name in names if name.endswith(PICKLES))
    if pickles:
        return (
            f" but {pickles[0]}, a pickle, which can run code when it is loaded: "
            "let its maker save it again with safe_serialization=True"
        )
    return ": take another checkpoint, revision or variant"
