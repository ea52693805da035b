"""Names, numbers and sizes as a person reads them, on one line of a terminal."""

import unicodedata

# Marks that turn the direction of writing, and are not seen themselves.
TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def text_width(text: str) -> int:
    """Columns the text takes on a terminal: two for wide characters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most so many columns, at least one; a longer word is cut."""
    if text_width(text) <= width:
        return [text]
    lines, line, taken = [], "", 0
    for word in text.split(" "):
        space = " " if line else ""
        if line and taken + 1 + text_width(word) > width:
            lines.append(line)
            line, taken, space = "", 0, ""
        for c in space + word:
            columns = text_width(c)
            if line and taken + columns > width:
                lines.append(line)
                line, taken = "", 0
            line, taken = line + c, taken + columns
    return [*lines, line]


def shortened(text: str, width: int = 40) -> str:
    """The text on one line of a table: control characters escaped, long names cut with …"""
    text = escaped(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def shortened_path(path: str, width: int = 60) -> str:
    """A path on one line of a table: cut in its middle, as its file name is what tells most."""
    path = escaped(path)
    if len(path) <= width:
        return path
    end = path[max(path.rfind("/"), path.rfind("\\"), 0) :]
    if len(end) >= width:  # the name alone is too long: its ending stays
        end = path[-(width // 2) :]
    return path[: width - 1 - len(end)] + "…" + end


def escaped(text: str, keep: str = "") -> str:
    """The text with control characters written out (a tab as \\t), so it stays one field.

    Also what ends a line or turns the direction of writing: a name cannot pose as another one.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode() if _is_control(c) and c not in keep else c for c in text
    )


def _is_control(c: str) -> bool:
    # Not all of Cf: the joiners in it make one emoji of several.
    return unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in TURNS


def counted(number: int, noun: str) -> str:
    """ "1 photo", "3 photos" """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def percent(share: float) -> str:
    """0.974 as "97 %"; never "100 %" of something that is not certain."""
    return f"{min(round(100 * share), 99) if share < 1 else 100} %"


def duration(seconds: float) -> str:
    """Seconds as a person says them: "40 ms", "3.2 s", "3 min", "2 h 10 min"."""
    if seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def size(num_bytes: int) -> str:
    """Bytes as a person says them: "412 kB", "3.2 MB"."""
    if num_bytes < 1_000_000:
        return f"{max(1, round(num_bytes / 1000))} kB"
    if num_bytes < 1_000_000_000:
        return f"{num_bytes / 1e6:.1f} MB"
    return f"{num_bytes / 1e9:.1f} GB"
