"""A real HTTP server on loopback that speaks what the official client says to the Hub, with files and revisions.

    with HubServer(tmp_path / "server") as server:          # HF_ENDPOINT=server.url, HF_HUB_DISABLE_XET=1
        server.add("acme/tiny", folder)                      # as one commit, of a model and of a dataset
        server.fail("POST .*/commit/", 503, times=2)         # the next two such requests
        server.cut("GET .*/resolve/.*safetensors", after=1000)
        server.corrupt("acme/tiny", "generator/diffusion_pytorch_model.safetensors")

Covered, for models and datasets: creating repositories (private or not; 409 where they are there), branches, the
state of a revision, listing trees and commits, files by their paths, preupload, LFS (batch, upload, verify), commits
as NDJSON with parents (412 where somebody was faster), additions and deletions, pull requests as refs/pr/N, downloads
with ETag, ranges and linked sizes, checking a card's metadata, tokens that may write, may read, or are unknown (with
401, 403 and 404), and requests that fail, are cut off, or whose answer is lost.

Not covered: Xet, LFS in several parts, tags, spaces, discussions, gated repositories, moving and deleting
repositories, paging, quotas, and anything that needs git.
"""

from hub_server.server import READ_TOKEN, WRITE_TOKEN, HubServer

__all__ = ["READ_TOKEN", "WRITE_TOKEN", "HubServer"]
