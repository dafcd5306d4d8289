"""Markdown as people write it in notes and comments, as HTML that is safe by construction: every piece of text is escaped, and
the only tags are those written here. No raw HTML, no pictures from elsewhere, links to http(s), mailto and this site alone.

Understood (the common part of CommonMark and its GitHub dialect): headings, paragraphs, lists (nested, numbered, with boxes),
quotes, fenced code, tables, rules; bold, italic, struck, code, links, bare addresses. What is not understood stays text.

>>> render("**lr** = `0.1` <script>")
'<p><strong>lr</strong> = <code>0.1</code> &lt;script&gt;</p>'
>>> render("[x](javascript:alert(1))")
'<p>[x](javascript:alert(1))</p>'
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

MOST_CHARACTERS = 100_000
DEEPEST = 8
"""Lists in lists and quotes in quotes; what lies deeper is plain text."""

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"(`{3,}|~{3,})\s*([\w+-]*)\s*$")
_RULE = re.compile(r"([-*_])(?:\s*\1){2,}\s*$")
_ITEM = re.compile(r"(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$")
_BOX = re.compile(r"\[([ xX])\]\s+")
_DIVIDER = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_INLINE = re.compile(
    r"(?P<code>`+)(?P<coded>.+?)(?P=code)"
    r"|\[(?P<label>[^\[\]\n]{1,500})\]\((?P<target>[^\s()]{1,2000}(?:\([^\s()]*\)[^\s()]*)?)\)"
    r"|(?P<bare>https?://[^\s<>\"'`]{3,2000})"
    r"|\*\*(?P<strong>(?=\S).+?(?<=\S))\*\*"
    r"|__(?P<strong2>(?=\S).+?(?<=\S))__"
    r"|~~(?P<struck>(?=\S).+?(?<=\S))~~"
    r"|\*(?P<em>(?=\S)[^*\n]+?(?<=\S))\*"
    r"|(?<![\w])_(?P<em2>(?=\S)[^_\n]+?(?<=\S))_(?![\w])"
    r"|\\(?P<literal>[\\`*_{}\[\]()#+\-.!|~>])"
)
_SAFE = re.compile(r"(?:https?://|mailto:|/(?![/\\])|#)", re.IGNORECASE)


def render(text: str) -> str:
    """Markdown as HTML."""
    lines = text[:MOST_CHARACTERS].replace("\r\n", "\n").replace("\0", "").expandtabs(4).split("\n")
    return "".join(_blocks(lines, 0))


def _blocks(lines: list[str], depth: int) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
            continue
        for block in (_fenced, _headed, _ruled, _quoted, _listed, _tabled):
            made = block(lines, at, depth)
            if made is not None:
                found.append(made[0])
                at = made[1]
                break
        else:
            end = at + 1
            while end < len(lines) and lines[end].strip() and not _begins_block(lines[end]):
                end += 1
            found.append(f"<p>{_lines(lines[at:end])}</p>")
            at = end
    return found


Made = tuple[str, int] | None


def _begins_block(line: str) -> bool:
    stripped = line.lstrip()
    return bool(
        _HEADING.match(stripped)
        or _FENCE.match(stripped)
        or _RULE.match(stripped)
        or stripped.startswith(">")
        or _ITEM.match(line)
    )


def _fenced(lines: list[str], at: int, depth: int) -> Made:
    opened = _FENCE.match(lines[at].lstrip())
    if opened is None:
        return None
    indent = len(lines[at]) - len(lines[at].lstrip())
    end = at + 1
    while end < len(lines) and not lines[end].strip().startswith(opened[1]):
        end += 1
    code = "\n".join(line[min(indent, len(line) - len(line.lstrip())) :] for line in lines[at + 1 : end])
    return f'<pre tabindex="0"><code>{escape(code)}</code></pre>', end + 1


def _headed(lines: list[str], at: int, depth: int) -> Made:
    found = _HEADING.match(lines[at].lstrip())
    if found is None:
        return None
    level = min(6, len(found[1]) + 2)  # the page has headings of its own above these
    return f"<h{level}>{_inline(found[2])}</h{level}>", at + 1


def _ruled(lines: list[str], at: int, depth: int) -> Made:
    return ("<hr>", at + 1) if _RULE.match(lines[at].strip()) else None


def _quoted(lines: list[str], at: int, depth: int) -> Made:
    if not lines[at].lstrip().startswith(">") or depth >= DEEPEST:
        return None
    end = at
    while end < len(lines) and lines[end].lstrip().startswith(">"):
        end += 1
    inner = [line.lstrip()[1:].removeprefix(" ") for line in lines[at:end]]
    return f"<blockquote>{''.join(_blocks(inner, depth + 1))}</blockquote>", end


def _listed(lines: list[str], at: int, depth: int) -> Made:
    first = _ITEM.match(lines[at])
    if first is None or depth >= DEEPEST:
        return None
    numbered = first[2][0].isdigit()
    indent = len(first[1])
    items: list[list[str]] = []
    end = at
    while end < len(lines):
        line = lines[end]
        item = _ITEM.match(line)
        if item is not None and len(item[1]) <= indent + 1:
            if item[2][0].isdigit() != numbered or len(item[1]) < indent:
                break
            items.append([item[3]])
        elif not line.strip():
            following = lines[end + 1] if end + 1 < len(lines) else ""
            if len(following) - len(following.lstrip()) <= indent and not _ITEM.match(following):
                break
            items[-1].append("")
        elif len(line) - len(line.lstrip()) > indent:
            items[-1].append(line[min(indent + 2, len(line) - len(line.lstrip())) :])
        elif _begins_block(line):
            break
        else:
            items[-1].append(line)
        end += 1
    tag = "ol" if numbered else "ul"
    start = f' start="{int(first[2][:-1])}"' if numbered and int(first[2][:-1]) != 1 else ""
    return f"<{tag}{start}>{''.join(_item(item, depth) for item in items)}</{tag}>", end


def _item(lines: list[str], depth: int) -> str:
    box = _BOX.match(lines[0])
    begin = "<li>"
    if box is not None:
        begin = f'<li class="box">{"☑" if box[1] in "xX" else "☐"} '
        lines = [lines[0][box.end() :], *lines[1:]]
    blocks = _blocks(lines, depth + 1)
    if blocks and blocks[0].startswith("<p>"):  # a list of short items has no paragraphs
        blocks[0] = blocks[0][3:-4]
    return f"{begin}{''.join(blocks)}</li>"


def _tabled(lines: list[str], at: int, depth: int) -> Made:
    if "|" not in lines[at] or at + 1 >= len(lines) or not _DIVIDER.match(lines[at + 1].strip()):
        return None
    head, divider = _cells(lines[at]), _cells(lines[at + 1])
    if len(head) != len(divider):
        return None
    right = [each.endswith(":") for each in divider]
    end = at + 2
    while end < len(lines) and "|" in lines[end]:
        end += 1
    rows = [(_cells(line) + [""] * len(head))[: len(head)] for line in lines[at + 2 : end]]

    def row(cells: list[str], tag: str) -> str:
        opened = (f'<{tag} class="num">' if number else f"<{tag}>" for number in right)
        return "".join(f"{begin}{_inline(cell)}</{tag}>" for begin, cell in zip(opened, cells, strict=True))

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return f'<table class="list"><thead><tr>{row(head, "th")}</tr></thead><tbody>{body}</tbody></table>', end


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))]


def _lines(lines: list[str]) -> str:
    """A paragraph: two blanks or a backslash at the end of a line break it."""
    parts = []
    for at, line in enumerate(lines):
        broken = at + 1 < len(lines) and (line.endswith(("  ", "\\")))
        parts.append(_inline(line.strip().removesuffix("\\") if broken else line.strip()))
        if at + 1 < len(lines):
            parts.append("<br>" if broken else "\n")
    return "".join(parts)


def _inline(text: str, depth: int = 0) -> str:
    if depth > 4:
        return escape(text)
    found: list[str] = []
    at = 0
    for match in _INLINE.finditer(text):
        found.append(escape(text[at : match.start()]))
        found.append(_marked(match, lambda inner: _inline(inner, depth + 1)))
        at = match.end()
    return "".join(found) + escape(text[at:])


def _marked(match: re.Match[str], inline: Callable[[str], str]) -> str:
    groups = match.groupdict()
    if groups["coded"] is not None:
        return f"<code>{escape(groups['coded'].strip())}</code>"
    if groups["label"] is not None:
        if not _SAFE.match(groups["target"]):
            return escape(match[0])
        return _link(groups["target"], inline(groups["label"]))
    if groups["bare"] is not None:
        address = groups["bare"].rstrip(".,;:!?)*_~")
        return _link(address, escape(address)) + escape(groups["bare"][len(address) :])
    for name, tag in (
        ("strong", "strong"),
        ("strong2", "strong"),
        ("struck", "s"),
        ("em", "em"),
        ("em2", "em"),
    ):
        if groups[name] is not None:
            return f"<{tag}>{inline(groups[name])}</{tag}>"
    return escape(groups["literal"] or "")


def _link(target: str, label: str) -> str:
    return f'<a href="{escape(target)}" rel="noopener noreferrer nofollow">{label}</a>'
