"""From a folder, a bundled name or an id on the Hub to checked files.

Read in this order: `fetching` (from a name to a checked folder), `pulling` (files from the Hub), `weights` (what a
file of weights must be), `saving` (a folder replaced whole), `describing` (what a checkpoint is, in words).
"""

from magical_hub.checkpoint.describing import describe, explain
from magical_hub.checkpoint.fetching import BUNDLED, COMPONENTS, bundled_names, fetch, fetch_network, locate
from magical_hub.checkpoint.pulling import PULLING, hub_has_address
from magical_hub.checkpoint.saving import saved_whole
from magical_hub.checkpoint.weights import (
    as_os_error,
    check_weights,
    check_weights_file,
    component_files,
    not_finite,
    weights_sha256,
)

__all__ = [
    "BUNDLED",
    "COMPONENTS",
    "PULLING",
    "as_os_error",
    "bundled_names",
    "check_weights",
    "check_weights_file",
    "component_files",
    "describe",
    "explain",
    "fetch",
    "fetch_network",
    "hub_has_address",
    "locate",
    "not_finite",
    "saved_whole",
    "weights_sha256",
]
