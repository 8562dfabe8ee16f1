r"""RE2, the regular expressions of Envoy: what keeps a text from being one.

Python's own are no measure: they know look-around and back references, which RE2 does not, and lack `[[:alpha:]]`
and `\z`. Rules: google/re2 `re2/parse.cc` with Perl's syntax on, which is how Envoy calls it; sizes are estimates
from above, so that no expression passes here which Envoy would find too large.
"""

from __future__ import annotations

import re
from typing import NoReturn

LONGEST = 1024
"""The most characters Istio allows (`validateStringRegexp`)."""

_LARGEST = 32768  # Istio's re2.max_program_size.error_level, which the bootstrap of every proxy sets
_MOST_REPEATS = 1000
_DEEPEST = 100
_ASCII_NAMES = "alnum alpha ascii blank cntrl digit graph lower print punct space upper word xdigit"
_UNICODE_NAMES = """
Any C Cc Cf Co L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs Arabic
Armenian Bengali Common Cyrillic Devanagari Georgian Greek Han Hangul Hebrew Hiragana Inherited Katakana Latin
Tamil Thai
"""
_ASCII_CLASSES = frozenset(_ASCII_NAMES.split())
_UNICODE_CLASSES = frozenset(_UNICODE_NAMES.split())
_REPEAT = re.compile(r"\{(\d+)(?:(,)(\d*))?\}", re.ASCII)
_GROUP = re.compile(r"\?(?:P?<(?P<name>[A-Za-z0-9_]+)>|(?P<flags>[imsU]*(?:-[imsU]+)?)(?P<end>[:)]))")
_ESCAPE = re.compile(
    r"(?P<octal>[1-7][0-7]{1,2}|0[0-7]{0,2})|x(?P<hex>[0-9A-Fa-f]{2}|\{[0-9A-Fa-f]{1,6}\})|(?P<plain>[afnrtv])|"
    r"(?P<sign>[\x00-/:-@\[-`{-\x7f])"
)
_UNICODE_NAME = re.compile(r"[pP](?:\{\^?(\w+)\}|(\w))")
_CONTROLS = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_CHAR, _ANY, _CLASS, _UNICODE = 4, 12, 40, 800  # instructions, at most


class _Broken(ValueError):
    """The text is no expression; the message says why."""


def fault(regex: str) -> str | None:
    """What is wrong with `regex`, as the rest of a sentence about it, or None when Envoy takes it."""
    if not regex:
        return "must not be empty"
    if len(regex) > LONGEST:
        return f"is longer than {LONGEST} characters"
    try:
        size = _Reader(regex).whole()
    except _Broken as broken:
        return f"is no RE2 expression: {broken}"
    if size > _LARGEST:
        return "makes too large a program for Envoy; use smaller repetitions"
    return None


def groups(regex: str) -> int:
    """How many groups of a sound `regex` a substitution can name."""
    reader = _Reader(regex)
    reader.whole()
    return reader.count


class _Reader:
    """Reads an expression from left to right; sizes are numbers of instructions."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._names: set[str] = set()
        self.count = 0

    def whole(self) -> int:
        size, _ = self._alternatives(0)
        if self._at < len(self._text):
            self._refuse("a ) without its (")
        return size

    def _refuse(self, why: str) -> NoReturn:
        raise _Broken(why)

    def _looking_at(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _alternatives(self, depth: int) -> tuple[int, int]:
        """The size of what stands up to a `)` or the end, and its largest product of repetitions."""
        if depth > _DEEPEST:
            self._refuse(f"groups nest deeper than {_DEEPEST}")
        size, most = 1, 1
        bare = True  # whether there is nothing yet that could be repeated
        last = 0, 1
        while self._at < len(self._text) and not self._looking_at(")"):
            if self._looking_at("|"):
                self._at += 1
                size, bare = size + 2, True
            elif repeats := self._repetition():
                if bare:
                    self._refuse("nothing to repeat before *, +, ? or a count")
                size += last[0] * (repeats - 1)
                most = max(most, last[1] * repeats)
                if most > _MOST_REPEATS:
                    self._refuse(f"something is repeated more than {_MOST_REPEATS} times")
                if self._repetition():
                    self._refuse("a repetition is repeated; put it in a group")
            elif (one := self._one(depth)) is not None:
                size, most, last, bare = size + one[0], max(most, one[1]), one, False
        return size, most

    def _repetition(self) -> int:
        """Takes a repetition when one stands here; how many copies of the repeated it takes at most, else 0."""
        copies = 0
        if self._text[self._at : self._at + 1] in ("*", "+", "?"):
            self._at += 1
            copies = 2
        elif found := _REPEAT.match(self._text, self._at):
            least, comma, most = int(found[1]), found[2], found[3]
            if max(least, int(most or 0)) > _MOST_REPEATS or (most and int(most) < least):
                self._refuse(f"{found[0]} is no count (at most {_MOST_REPEATS}, the smaller number first)")
            self._at = found.end()
            copies = max(2, least + 1 if comma and not most else int(most or least))
        if copies and self._looking_at("?"):
            self._at += 1
        return copies

    def _one(self, depth: int) -> tuple[int, int] | None:
        sign = self._text[self._at]
        self._at += 1
        match sign:
            case "(":
                return self._group(depth)
            case "[":
                return self._class(), 1
            case "\\":
                return self._escape(), 1
            case ".":
                return _ANY, 1
        return _CHAR, 1

    def _group(self, depth: int) -> tuple[int, int] | None:
        if self._looking_at("?"):
            found = _GROUP.match(self._text, self._at)
            if found is None:
                self._refuse(f"({self._text[self._at : self._at + 3]} begins nothing that RE2 has")
            self._at = found.end()
            if found["end"] == ")":
                return None
            if (name := found["name"]) is not None:
                if name in self._names:
                    self._refuse(f"two groups have the name {name}")
                self._names.add(name)
                self.count += 1
        else:
            self.count += 1
        size, most = self._alternatives(depth + 1)
        if not self._looking_at(")"):
            self._refuse("a ( without its )")
        self._at += 1
        return size + 2, most

    def _escape(self) -> int:
        """The size of the escape after a backslash outside of a class."""
        sign = self._text[self._at : self._at + 1]
        if sign and sign in "AzbBCdDsSwW":
            self._at += 1
            return _CLASS
        if sign == "Q":
            end = self._text.find("\\E", self._at)
            quoted = self._text[self._at + 1 : end if end >= 0 else len(self._text)]
            self._at = end + 2 if end >= 0 else len(self._text)
            return _CHAR * len(quoted)
        if sign and sign in "pP":
            return self._unicode()
        self._character()
        return _CHAR

    def _unicode(self) -> int:
        found = _UNICODE_NAME.match(self._text, self._at)
        if found is None or (found[1] or found[2]) not in _UNICODE_CLASSES:
            self._refuse(f"\\{self._text[self._at : self._at + 8]} is no class of characters known here")
        self._at = found.end()
        return _UNICODE

    def _character(self) -> int:
        """The code of the character that the escape here stands for."""
        found = _ESCAPE.match(self._text, self._at)
        if found is None:
            self._refuse(f"\\{self._text[self._at : self._at + 1]} is no escape that RE2 has")
        self._at = found.end()
        if found["octal"] is not None:
            return int(found["octal"], 8)
        if found["hex"] is not None:
            code = int(found["hex"].strip("{}"), 16)
            if code > 0x10FFFF:
                self._refuse(f"\\x{found['hex']} is no character")
            return code
        return _CONTROLS[found["plain"]] if found["plain"] else ord(found["sign"])

    def _class(self) -> int:
        """The size of the class after its [."""
        size, first = _CLASS, True
        if self._looking_at("^"):
            self._at += 1
        while not self._looking_at("]") or first:
            first = False
            if self._at >= len(self._text):
                self._refuse("a [ without its ]")
            size += self._class_part()
        self._at += 1
        return size

    def _class_part(self) -> int:
        if self._looking_at("[:") and (end := self._text.find(":]", self._at + 2)) >= 0:
            if self._text[self._at + 2 : end].removeprefix("^") not in _ASCII_CLASSES:
                self._refuse(f"{self._text[self._at : end + 2]} is no class of characters")
            self._at = end + 2
            return _CLASS
        if (
            self._looking_at("\\")
            and (sign := self._text[self._at + 1 : self._at + 2])
            and sign in "dDsSwWpP"
        ):
            self._at += 1
            if sign in "pP":
                return self._unicode()
            self._at += 1
            return _CLASS
        low = self._class_character()
        if self._looking_at("-") and not self._looking_at("-]") and self._at + 1 < len(self._text):
            self._at += 1
            high = self._class_character()
            if high < low:
                self._refuse("a range of characters runs backwards")
            return _CLASS
        return _CHAR

    def _class_character(self) -> int:
        sign = self._text[self._at]
        self._at += 1
        return self._character() if sign == "\\" else ord(sign)
