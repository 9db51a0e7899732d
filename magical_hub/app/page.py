"""The page: its tabs put together, and served to this machine alone by default."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import threading
import webbrowser
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from magical_hub.app.banks import PACKAGES, Banks, data_of
from magical_hub.app.comparing import CompareTab
from magical_hub.app.generating import GenerateTab, WalkBox
from magical_hub.app.guard import LOOPBACK, Guard
from magical_hub.app.jobs import Jobs
from magical_hub.app.making import Pipelines
from magical_hub.app.painting import PaintTab
from magical_hub.app.reporting import ReportTab
from magical_hub.app.training import TrainTab
from magical_hub.errors import ConfigError, MagicalError, check_number
from magical_hub.texts import plain

STYLE = """
.gradio-container { width: 100%; max-width: min(1400px, 100vw) !important; margin: auto; }
.job.alert pre { color: var(--error-text-color); font-weight: 600; }
#plan textarea { font-family: var(--font-mono); font-size: 0.85em; }
#score { font-size: 1.1em; }
.gradio-container .grid-wrap.fixed-height { min-height: 0; }
.gradio-container .grid-container { grid-template-columns: repeat(auto-fill, minmax(96px, 1fr)); }
"""


def build(
    checkpoint: str, pipelines: Pipelines, jobs: Jobs, folder: Path, banks: Banks, data: str, local: bool = True
) -> gr.Blocks:
    """Put the tabs together, in the order of the work.

    Args:
        checkpoint: the initial one.
        pipelines: where they are loaded.
        banks: the same of banks of defects.
        data: the initial ones.
        jobs: what trains and evaluates.
        folder: for files of the page, gone with it.
        local: with all that reads and writes folders of the machine. Without, the one checkpoint's images alone, which
            is what anybody may see.
    """
    with gr.Blocks(analytics_enabled=False, title="magical_hub", delete_cache=(3600, 24 * 3600)) as page:
        gr.Markdown("# magical_hub\nFew, large, aligned images in; many labelled ones out.")
        if not local:
            generate = GenerateTab(pipelines, checkpoint, folder, local)
            walk = WalkBox(pipelines, generate)
        else:
            with gr.Tabs(overflow_behavior="wrap"):
                with gr.Tab("Paint"):
                    PaintTab(banks, data, folder).wire(page)
                with gr.Tab("Generate"):
                    generate = GenerateTab(pipelines, checkpoint, folder, local)
                    walk = WalkBox(pipelines, generate)
                with gr.Tab("Train"):
                    TrainTab(jobs, folder).wire()
                with gr.Tab("Compare"):
                    CompareTab(checkpoint).wire()
                with gr.Tab("Report"):
                    ReportTab(jobs, checkpoint).wire()
        generate.wire(page)
        walk.wire()
    return page


def serve(
    checkpoint: str = "solar-cells-128",
    *,
    data: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    browser: bool = False,
    local: bool = True,
    device: str = "cpu",
) -> None:
    """Serve the page until the process is stopped; trainings that it started are stopped then, with a checkpoint.

    Args:
        checkpoint: RUN, an id on the Hub, or a bundled checkpoint's name.
        data: whose defects are painted, as of `Banks.get`. None: those of RUN, where they have boxes or masks, else
            rendered packages.
        host: the address to listen on.
        port: the port to listen on.
        browser: whether to open the page in a browser.
        local: as for `build`; then requests need the token of the address that is printed (see guard.py).
        device: cpu, cuda, mps ...

    Raises:
        CheckpointError, DataError, ConfigError: where checkpoint or data can't be loaded, or the port is taken.
    """
    check_number("port", port, at_least=1, at_most=65535, whole=True)
    pipelines, jobs, banks = Pipelines(device), Jobs(), Banks()
    pipelines.get(checkpoint)  # a mistake is reported before there is a page
    data = (data if data is not None else _own_data(checkpoint, banks)) if local else PACKAGES
    if local:
        banks.get(data)
    with tempfile.TemporaryDirectory(prefix="magical-hub-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # pictures that were shown go with the page
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        page = build(checkpoint, pipelines, jobs, Path(folder), banks, data, local)
        try:
            _launch(page, host, port, browser, secrets.token_urlsafe(24) if local else None)
            threading.Event().wait()
        finally:
            jobs.stop()
            page.close(verbose=False)


def _own_data(checkpoint: str, banks: Banks) -> str:
    """The data that a RUN was trained on, where their defects can be painted, else rendered packages."""
    data = data_of(checkpoint)
    if data is None:
        return PACKAGES
    try:
        banks.get(data)
    except MagicalError as error:
        print(f"the tab Paint opens with {PACKAGES}: {plain(error)}", file=sys.stderr)
        return PACKAGES
    return data


def _launch(page: gr.Blocks, host: str, port: int, browser: bool, token: str | None) -> None:
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,  # which needs another program
            run_history=False,  # browsers would keep what was made
            footer_links=["settings"],
            theme=_theme(),
            css=STYLE,
            app_kwargs={"middleware": [Middleware(Guard, host=host, port=port, token=token)]},
        )
    except OSError as error:
        raise ConfigError(
            f"the page cannot listen on {host}, port {port} ({error}): give another --port or --host"
        ) from error
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/" + (f"?token={token}" if token else "")
    print(f"the page is at {address} until Ctrl-C", file=sys.stderr)
    if host not in LOOPBACK:
        print("anybody who has that address can use the page", file=sys.stderr)
    if browser:
        webbrowser.open(address)


def _theme() -> gr.themes.Base:
    """A theme with the fonts of the system, and greys with a contrast of 4.5 to 1."""
    theme = gr.themes.Default(
        primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    readable = {"light": "*neutral_600", "dark": "*neutral_300"}
    return theme.set(
        body_text_color_subdued=readable["light"],
        body_text_color_subdued_dark=readable["dark"],
        block_info_text_color=readable["light"],
        block_info_text_color_dark=readable["dark"],
        block_label_text_color=readable["light"],
        block_label_text_color_dark=readable["dark"],
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
    )
