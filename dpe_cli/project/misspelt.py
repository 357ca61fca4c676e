"""Keys in a project's configuration that are meant to be others."""

from __future__ import annotations

from collections.abc import Iterable

# What dpe reads of a relation's `meta`.
META = ("masked", "readers", "rls")
# Other words for some keys.
_SYNONYMS = {"mask": "masked", "masking": "masked", "policy": "rls", "policies": "rls", "row_level_security": "rls"}


def meant(key: str, words: Iterable[str]) -> str | None:
    """Return the word of which a key is a misspelling: another case, a hyphen, or one letter more, less, changed or exchanged."""
    plain = key.casefold().replace("-", "_").replace(" ", "_")
    if key in words:
        return None
    return next((word for word in words if plain == word or _is_one_letter_off(plain, word)), None)


def _is_one_letter_off(key: str, word: str) -> bool:
    """Return whether one letter tells them apart; in a word of three letters only the order may."""
    shorter, longer = sorted((key, word), key=len)
    if len(longer) - len(shorter) == 1:
        return len(word) > 3 and any(longer[:place] + longer[place + 1 :] == shorter for place in range(len(longer)))
    differing = [place for place, pair in enumerate(zip(key, word, strict=False)) if len(set(pair)) > 1]
    if len(key) != len(word) or len(differing) > 2:
        return False
    return len(word) > 3 if len(differing) == 1 else sorted(key) == sorted(word)


def word_of(key: str) -> str | None:
    """Return the word of dpe that a key is, or is meant to be."""
    return key if key in META else _SYNONYMS.get(key.casefold()) or meant(key, META)
