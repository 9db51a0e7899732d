"""A Space of the Hub: the images of one checkpoint, for strangers; nothing of the machine's folders."""

from __future__ import annotations

import os

from magical_hub.app import serve

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "7860"))  # what a Space listens on
    serve(os.environ.get("CHECKPOINT", "solar-cells-128"), host="0.0.0.0", port=port, local=False)
