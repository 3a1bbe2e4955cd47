r"""
Redis' patterns for names: `*`, `?`, `[a-z]`, `[^a]`, `\x`.

A regular expression made of a client's pattern could take for ever (`*a*a*a*a`), so the pattern is
matched by hand: when something does not fit, only the last star can give way, which bounds the time
by the length of the pattern times that of the name.

Source: `stringmatchlen` in Redis' util.c.
"""

from collections.abc import Container

from attrs import define, field

ANY_LETTER = range(256)


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
        return all(token is None for token in tokens[at:])


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
