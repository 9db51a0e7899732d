"""Strangers' text (names of classes and files, records, answers of servers), made fit for where people read it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

LONGEST = 1000
"""Characters of a line: the middle of a longer one is left out, since what to do is at its end."""
CUT = " ... "
MARKS = re.compile(r"[\\`*_\[\]<>|~#&@]|(?<=:)/(?=/)|(?<=www)\.|^[-+=](?![\d.])")
"""Characters with a meaning in Markdown, anywhere or at the start of a line."""
SECRETS = re.compile(r"(?<=://)[^/\s@]+(?=@)|\bhf_[A-Za-z0-9]{20,}|(?<=Bearer )\S+")


def plain(text: object, longest: int = LONGEST) -> str:
    """Text for a terminal, a log or an error: one line, without invisible characters, secrets, or megabytes.

    Line breaks and tabs become spaces; control characters (terminal escapes among them), marks that turn the direction
    of writing, and halves of characters become their Python escapes.
    """
    line = str(text)
    if len(line) > longest:
        end = longest // 3
        line = f"{line[: longest - end - len(CUT)]}{CUT}{line[-end:]}"
    line = without_secrets(re.sub(r"[\r\n\t]+", " ", line))
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in line)


def without_secrets(text: str) -> str:
    """Text without tokens, and without the names and passwords in addresses."""
    return SECRETS.sub("***", text)


def plain_lines(text: str, longest: int = 4 * LONGEST) -> str:
    """Clean the lines of a text that this program put together."""
    return "\n".join(plain(line, longest) for line in text.split("\n"))


def listed(names: Sequence[object], most: int = 30) -> str:
    """Names side by side, the first of many."""
    shown = ", ".join(plain(name, 80) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def markdown(text: object, longest: int = LONGEST) -> str:
    """Text as Markdown that is shown as it is: without headings, lists, links, images, HTML or addresses."""
    line = MARKS.sub(lambda found: f"&#{ord(found[0])};", plain(text, longest).strip())
    return re.sub(r"^(\d+)([.)])(?=\s|$)", lambda found: f"{found[1]}&#{ord(found[2])};", line)


def code(text: object) -> str:
    """Text as a code span of Markdown."""
    line = plain(text, 80)
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence, room = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{room}{line}{room}{fence}"


def for_shell(name: str) -> str | None:
    """A name as a word of a command line to paste; None where it cannot be pasted safely."""
    if plain(name, 200) != name or name.startswith("-"):
        return None
    return shlex.quote(name)


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode() if sign != "\u00a0" else " "
