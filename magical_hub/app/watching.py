"""How a job is shown: its last line, and a bar."""

from __future__ import annotations

import html

from magical_hub.app.jobs import Job

EVERY = 2
"""Seconds between two looks at a job."""


def status(job: Job | None) -> str:
    """A job for the page, read out by a screen reader as it changes; an empty place where there is none."""
    if job is None:
        return '<div role="status"></div>'
    line = html.escape(job.line)
    bar = ""
    if job.runs:
        value = "" if job.share is None else f' value="{job.share}"'
        bar = f'<progress{value} max="1" aria-label="Progress" style="width: 100%"></progress>'
    kind = "alert" if job.failed else "status"
    return (
        f'<div role="{kind}" class="job {kind}">{bar}<pre style="white-space: pre-wrap; margin: 0">{line}</pre></div>'
    )
