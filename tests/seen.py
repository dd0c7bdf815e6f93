"""A page as it is seen: without the line breaks that are for who reads a template."""

import re

INLINE = "a|b|button|code|i|img|input|label|small|span|strong|wbr"
BLOCK_TAG = re.compile(rf"[ \n]*(</?(?!(?:{INLINE})\b)[a-z][^>]*>)[ \n]*")


def seen(html: str) -> str:
    """The page on one line: no break inside of a tag, none beside a block, none where an inline
    element begins or ends; a space for each other one."""
    html = re.sub(r"(<[a-z][^>]*>)\n+", r"\1", html)
    html = re.sub(r"\n+(</[a-z])", r"\1", html)
    return re.sub(r"[ \n]+", " ", BLOCK_TAG.sub(r"\1", html))
