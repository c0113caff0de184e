"""A text in each language that the walk-through speaks. Pure."""

from __future__ import annotations

from dataclasses import dataclass

#: as ``--lang`` takes them
LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Text:
    """The same said in English and in Chinese; paragraphs are parted by an empty line."""

    en: str
    zh: str

    def of(self, language: str) -> str:
        """The text in a language. Raises KeyError for one that there is not."""
        return {"en": self.en, "zh": self.zh}[language]
