r"""
Redis' patterns for names: `*`, `?`, `[a-z]`, `[^a]`, `\x`.

A regular expression made of a client's pattern could take for ever (`*a*a*a*a`), so the pattern is
matched by hand: when something does not fit, only the last star can give way, and stars in a row are
one. So a name of n letters is compared with at most n letters and n + 1 stars of the pattern from each
place: the time goes by the name, whatever the length of the pattern.

Source: `stringmatchlen` in Redis' util.c.
"""

from collections.abc import Container

from attrs import define, field

ANY_LETTER = range(256)
LONGEST_SET = len("[^]") + 2 * len(ANY_LETTER)
"""Bytes of a set that names every letter once, each behind a backslash."""


def longest_useful_pattern(longest_name: int) -> int:
    """
    Bytes within which everything can be said that fits a name of this length.

    That is a set for each letter, and a star before, between and behind them; more fits nothing, or says
    the same twice.
    """
    return longest_name * (LONGEST_SET + 1) + 1


@define(eq=False)
class Glob:
    """A pattern, ready to be compared with names."""

    pattern: bytes
    _tokens: list[Container[int] | None] = field(init=False)
    """The letters that fit at each place; None for a star."""

    def __attrs_post_init__(self) -> None:
        self._tokens = []
        index = 0
        while index < len(self.pattern):
            letter = self.pattern[index]
            index += 1
            match letter:
                case 0x2A:  # *
                    if self._tokens[-1:] != [None]:
                        self._tokens.append(None)
                case 0x3F:  # ?
                    self._tokens.append(ANY_LETTER)
                case 0x5B:  # [
                    letters, index = _letters(self.pattern, index)
                    self._tokens.append(letters)
                case 0x5C if index < len(self.pattern):  # \
                    self._tokens.append((self.pattern[index],))
                    index += 1
                case _:
                    self._tokens.append((letter,))

    def matches(self, name: bytes) -> bool:
        """Whether the whole name fits the pattern."""
        tokens = self._tokens
        at = place = 0
        star, star_place = -1, 0
        while place < len(name):
            token = tokens[at] if at < len(tokens) else ()
            if token is None:
                star, star_place = at, place
                at += 1
            elif name[place] in token:
                at += 1
                place += 1
            elif star >= 0:
                star_place += 1
                at, place = star + 1, star_place
            else:
                return False
        left = len(tokens) - at
        return left == 0 or (left == 1 and tokens[at] is None)


def _letters(pattern: bytes, index: int) -> tuple[Container[int], int]:
    """The letters of a set whose `[` stands before `index`, and where the pattern goes on."""
    negated = pattern[index : index + 1] == b"^"
    index += negated
    letters: set[int] = set()
    while index < len(pattern) and pattern[index] != 0x5D:
        if pattern[index] == 0x5C and index + 1 < len(pattern):
            index += 1
            letters.add(pattern[index])
        elif pattern[index + 1 : index + 2] == b"-" and index + 2 < len(pattern):
            low, high = sorted((pattern[index], pattern[index + 2]))
            letters.update(range(low, high + 1))
            index += 2
        else:
            letters.add(pattern[index])
        index += 1
    return (set(ANY_LETTER) - letters if negated else letters), index + 1
