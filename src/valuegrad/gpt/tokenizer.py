"""Text to numbers and back: every character is a token.

Token i is the i-th character of the data's alphabet in order of code points; one more token, ``bos``
(*beginning of sequence*), stands at the beginning and at the end of every document.

Where to start reading: ``Tokenizer``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from valuegrad.arguments import shown
from valuegrad.errors import ValueArgumentError

__all__ = ["Tokenizer"]


class Tokenizer:
    """The characters that a model knows.

    Args:
        characters: the alphabet; each character once, in order.

    Raises:
        ValueArgumentError: no characters, or one of them twice.

    Example:
        >>> tokenizer = Tokenizer.of(["emma", "mia"])
        >>> tokenizer.characters, tokenizer.bos
        ('aeim', 4)
        >>> tokenizer.document("emma")
        [4, 1, 3, 3, 0, 4]
        >>> tokenizer.decode([3, 2, 0])
        'mia'
    """

    def __init__(self, characters: str) -> None:
        if not characters or len(set(characters)) != len(characters):
            raise ValueArgumentError(
                f"Tokenizer() got characters {shown(characters)}; expected at least one, and each of them once"
            )
        self.characters = characters
        self.bos = len(characters)
        self._token = {character: token for token, character in enumerate(characters)}

    @classmethod
    def of(cls, documents: Iterable[str]) -> Tokenizer:
        """The tokenizer of a data set: all the characters in it."""
        return cls("".join(sorted(set().union(*documents))))

    @property
    def vocabulary(self) -> int:
        """How many tokens there are: the characters and ``bos``."""
        return len(self.characters) + 1

    def encode(self, text: str) -> list[int]:
        """The tokens of a text.

        Raises:
            ValueArgumentError: it has characters that the alphabet lacks.
        """
        try:
            return [self._token[character] for character in text]
        except KeyError:
            unknown = "".join(dict.fromkeys(c for c in text if c not in self._token))
            raise ValueArgumentError(
                f"the text {_short(text)} has characters that the model has never seen: {_short(unknown)}; "
                f"it knows {_short(self.characters)}"
            ) from None

    def document(self, text: str, length: int | None = None) -> list[int]:
        """The tokens of a document with ``bos`` at its beginning and end.

        Args:
            text: the document.
            length: if given, no more than this many tokens are wanted after the first one; the rest of a
                long document is not looked at.
        """
        if length is not None and len(text) >= length:
            return [self.bos, *self.encode(text[:length])]
        return [self.bos, *self.encode(text), self.bos]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; ``bos`` gives nothing."""
        return "".join([self.characters[token] for token in tokens if token != self.bos])


def _short(text: str) -> str:
    return repr(text) if len(text) <= 60 else repr(text[:57]) + "..."
