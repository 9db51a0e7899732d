"""A user's mistake on the page: the same one line that the command prints."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import gradio as gr

from magical_hub.errors import MagicalError

SHOWN: dict[str, Any] = {"title": "error", "duration": 30, "print_exception": False}
"""Long enough to be read twice; the terminal of the page does not show them."""


def show_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show a MagicalError, and what the operating system refuses, as an error of the page."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except MagicalError as error:
            raise gr.Error(str(error), **SHOWN) from error
        except OSError as error:
            if error.errno is None:
                raise
            where = f" ({error.filename})" if error.filename else ""
            raise gr.Error(f"{os.strerror(error.errno)}{where}", **SHOWN) from error

    return wrapped
