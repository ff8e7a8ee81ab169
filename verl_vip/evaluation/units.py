"""Recognises units and counted things after a number, such as `cm^2` or `apples`, but not `thousand` or `max`."""

import re
import unicodedata

TEXT, TEXT_END = "\ue000", "\ue001"  # delimiters of upright text, which contains units
WORD = r"[^\W\d_]+"

_UNIT_TEXT = re.compile(rf"(?:[\s/.'’()·°%-]|{WORD}(?:\^[+-]?\d+)?|\\cdot(?![A-Za-z]))*")
_UNIT = re.compile(
    r"\s+|\.\s*\Z"
    r"|(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degrees?|°)(?![A-Za-z])(?:\s*[CF](?![A-Za-z]))?"
    r"|\\?%"
    rf"|(?:(?:/|\\cdot|·)\s*)?(?:{TEXT}(?P<text>[^{TEXT_END}]*){TEXT_END}|(?P<bare>{WORD}))(?:\s*\^\s*[+-]?\d+)?"
)
_BARE_UNITS = re.compile("[mck]m|kg|lb|ft|min|sec|hr|mph")
_KNOWN_UNITS = re.compile(
    r"[msghlLANJWVCFT]|[mcdknµμ]m|[mk]?g|[mk]s|[mkM]?[LlNJWV]|[kMG]?(?:Hz|Pa|eV)|lbs?|oz|ft|in|yd|mi|min|sec|hr|mph|kph|rad|deg"
    r"|sq|USD|EUR|GBP|CNY|RMB|JPY|pts?|px"
    r"|(?:(?i:unit|degree|percent|point|dollar|cent|euro|pound|yen|yuan|rupee|inch|foot|feet|yard|mile|acre|hectare"
    r"|(?:milli|centi|deci|kilo)?(?:meter|metre|gram|liter|litre)|ton|second|minute|hour|day|week|month|year"
    r"|hertz|celsius|fahrenheit|kelvin|radian|people|persons?|men|women|children|mice|sheep|fish|dice|data"
    r"|integers?|solution|way))"
)
#: Plurals of nouns. Words of this form that are not counted things are in `_NO_UNIT`.
_PLURAL = re.compile(r"[^\W\d_]{2,}[^\W\d_suiSUI][sS]")
#: Words after a number that change the number, or make it one of several, a bound, or a conditional answer.
_NO_UNIT = re.compile(
    r"and|n?or|not?|none|if|when(?:ever)?|unless|except|otherwise|where(?:as)?|for|since|because|but|either|both"
    r"|respectively|else|instead|versus|vs|always|sometimes|perhaps|maybe|possibly|probably|likely|besides|is|are|was"
    r"|were|has|does|this|as|only"
    r"|to|through|between|about|approx(?:imate(?:ly)?)?|around|roughly|nearly|almost|than|least|most|more|less|fewer"
    r"|(?:great|larg|small)er|below|under|above|over|within|beyond|exceeds?|max(?:ima|imum|imal)?|min(?:ima|imum|imal)"
    r"|bounds?|before|after|ago|past|negative|minus|plus|divided|mod(?:ulo)?|base|remainder"
    r"|true|false|right|wrong|(?:in)?(?:correct|valid)|yes|un(?:known|defined)|impossible|guess(?:es)?|estimate[ds]?"
    r"|squared|cubed|factorials?|roots?|twice|double|triple|pi|ln|log|sin|cos|tan|sqrt|frac|d[xy]"
    r"|alpha|beta|gamma|delta|epsilon|theta|lambda|sigma|omega|infinit[ey]|powers?"
    r"|(?:hundred|thousand|million|billion|trillion|dozen|lakh|lac|crore|myriad|gross|score|googol)s?|tens|half|halves"
    r"|(?:third|fourth|quarter|fifth|sixth|eighth|tenth|hundredth|thousandth)s"
    r"|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty",
    re.IGNORECASE,
)
_NO_UNIT_CJK = re.compile("[或和与及且至到约万千百十亿兆半倍以不非无错假真]")


def is_unit(text: str, one: bool = False) -> bool:
    """Return whether the text after a number is a unit or a counted thing, or is empty.

    At least one word must be a known unit, a plural, or in a script such as Chinese, and no word may change the number.
    Other words around it are accepted, because the names of things cannot be listed.

    Args:
        text: The normalised text, with `TEXT` and `TEXT_END` around upright text.
        one: Whether the number is 1, after which there is no plural.
    """
    words: list[str] = []
    place = 0
    while place < len(text):
        match = _UNIT.match(text, place)
        if match is None:
            return False
        if match["text"] is not None:
            if not _UNIT_TEXT.fullmatch(match["text"]):
                return False
            words += re.findall(WORD, match["text"])
        if match["bare"] is not None:
            if not _is_bare(match["bare"], text[place - 1 : place]):
                return False
            words.append(match["bare"])
        place = match.end()
    bare = [word.rstrip("²³") for word in words]
    return all(map(_is_harmless, bare)) and (not bare or any(one or _is_counted(word) for word in bare))


def _is_harmless(word: str) -> bool:
    if not word.isalpha() or _NO_UNIT.fullmatch(word) or _NO_UNIT_CJK.search(word):
        return False
    return len(word) > 1 or bool(_KNOWN_UNITS.fullmatch(word)) or _is_uncased(word)


def _is_counted(word: str) -> bool:
    return bool(_KNOWN_UNITS.fullmatch(word) or _PLURAL.fullmatch(word)) or _is_uncased(word)


def _is_bare(word: str, before: str) -> bool:
    """Return whether letters in a formula are a unit and not variables: a common symbol, or a word after a space."""
    letters = word.rstrip("²³")
    return bool(_BARE_UNITS.fullmatch(letters)) or _is_uncased(letters) or (len(letters) > 3 and before.isspace())


def _is_uncased(word: str) -> bool:
    """Return whether a word is in a script such as Chinese, whose letters are not used as variables."""
    return bool(word) and all(unicodedata.category(letter) == "Lo" for letter in word)
