"""Show text that somebody else wrote, such as labels, names of files and messages, so that it cannot act on anything.

A control character can move the cursor of a terminal or colour it, an override of the writing direction can make a name
look like another one, and XML does not allow most of these characters at all. They are shown as escapes, as Python
writes them in a string.
"""

from __future__ import annotations

import re

# Control characters but for tab and newline, line and paragraph separators, invisible controls of the writing
# direction, the byte order mark, halves of surrogate pairs, and the two code points of each plane that are none.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


def shown(text: str) -> str:
    """Return text of any origin for the terminal or for XML; newlines and tabs stay as they are."""
    return _ACTING.sub(_escaped, text)


def one_line(text: str) -> str:
    """Return text of any origin for one line or one cell of a table; newlines and tabs are shown as escapes, too."""
    return shown(text).replace("\n", "\\n").replace("\t", "\\t")


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; names of files that are no UTF-8 have halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
