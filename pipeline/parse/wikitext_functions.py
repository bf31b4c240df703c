"""What template rules can compute: numbers, dates, units, languages; and MediaWiki's own parser functions.

Nothing here asks the clock: an age that depends on today is left out, not guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pipeline.parse.mediawiki_site import language_codes
from pipeline.parse.wikitext_units import convert, group

Args = dict[str, str]


class Call(NamedTuple):
    """A call of a template function."""

    args: Args
    word: str  # that the rule has after the function's name
    language: str  # of the wiki
    name: str  # of the template, lower case
    star: str  # what the "*" of the rule's name stood for

    def get(self, *keys: str) -> str:
        """The first of several arguments that is not empty, or ""."""
        return next((self.args[key] for key in keys if self.args.get(key)), "")

    def positional(self, first: int = 1) -> list[str]:
        """The positional arguments from ``first`` on, up to the first that is missing."""
        values: list[str] = []
        while (key := str(first + len(values))) in self.args:
            values.append(self.args[key])
        return values


FUNCTIONS: dict[str, Callable[[Call], str]] = {}


def _function(function: Callable[[Call], str]) -> Callable[[Call], str]:
    FUNCTIONS[function.__name__.strip("_")] = function
    return function


# ---------------------------------------------------------------------------------------------------------------------
# Text


@_function
def _join(call: Call) -> str:
    """All positional arguments; the rule's word says with what between them ("_" is a space)."""
    return call.word.replace("_", " ").replace("\\n", "\n").join(value for value in call.positional() if value)


@_function
def _ipa(call: Call) -> str:
    """``{{IPA|/x/}}``, and the later ``{{IPA|de|x}}``."""
    first, second = call.get("1"), call.get("2")
    return second if second and first.lower() in language_codes() else first


_IPA_NOTES = frozenset("lang pron us uk local icon ipa also en small links".split())  # noqa: SIM905
_IPA_MARKS = {",": "ˌ", "'": "ˈ", "_": " ", "-": "-", " ": " ", "ng": "ŋ"}


@_function
def _ipac(call: Call) -> str:
    """``{{IPAc-en|ˈ|æ|r|ɪ}}``: sounds one by one, with notes among them."""
    sounds = [value for value in call.positional() if value.lower() not in _IPA_NOTES and not value.endswith(".ogg")]
    return "/" + "".join(_IPA_MARKS.get(value, value) for value in sounds) + "/" if sounds else ""


@_function
def _interlanguage(call: Call) -> str:
    """``{{ill|Title|de|Titel}}``, and the form that has the language first."""
    shown = call.get("lt", "label", "text", "texte", "5" if call.word == "5" else "lt")
    if shown:
        return shown
    first, second = call.get("1"), call.get("2")
    return second if first.lower() in language_codes() and len(first) < 4 and second else first


@_function
def _chemistry(call: Call) -> str:
    """``{{chem|H|2|O}}`` -> H₂O."""
    return "".join(to_script(value, "sub") if value.isdigit() else value for value in call.positional())


_SCRIPTS = {
    "sub": str.maketrans("0123456789+-−–()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₋₍₎"),
    "sup": str.maketrans("0123456789+-−–()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻⁽⁾ⁿⁱ"),
}
_SCRIPT = re.compile(r"[0-9+\-−–()ni]{1,12}")


def to_script(text: str, script: str) -> str:
    """Digits and signs as subscript or superscript; other text as it is: 10⁶, H₂O, but 1st and XXe."""
    return text.translate(_SCRIPTS[script]) if _SCRIPT.fullmatch(text) and text not in ("in",) else text


@_function
def _raised(call: Call) -> str:
    return to_script(call.get("1"), "sup")


@_function
def _lowered(call: Call) -> str:
    return to_script(call.get("1"), "sub")


_ACCIDENTALS = {
    "flat": "♭",
    "b": "♭",
    "sharp": "♯",
    "#": "♯",
    "natural": "♮",
    "n": "♮",
    "doubleflat": "𝄫",
    "doublesharp": "𝄪",
}


@_function
def _music(call: Call) -> str:
    if call.get("1") == "time":
        return "/".join(call.positional(2))
    return _ACCIDENTALS.get(call.get("1").lower(), call.get("1"))


@_function
def _plural(call: Call) -> str:
    """``{{plural|3|page|pages}}``."""
    one, many = call.get("2"), call.get("3") or call.get("2") + "s"
    return (call.get("1") + " " if call.word == "count" else "") + (
        one if call.get("1").strip() in ("1", "-1") else many
    )


@_function
def _ordinal(call: Call) -> str:
    """``{{ordinal|21}}`` -> 21st."""
    number = call.get("1")
    if not number.isdigit():
        return number
    suffix = "th" if number[-2:-1] == "1" else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")
    return number + suffix


@_function
def _ship(call: Call) -> str:
    """``{{USS|Enterprise|CV-6}}`` -> USS Enterprise (CV-6)."""
    name, hull = call.get("1"), call.get("2")
    return f"{call.word} {name}" + (f" ({hull})" if hull and call.get("3") != "2" else "") if name else ""


@_function
def _sic(call: Call) -> str:
    word = call.get("1") + call.get("2")
    return word if call.get("hide") or call.get("nolink") == "hide" else f"{word} [sic]".strip()


@_function
def _space(call: Call) -> str:
    return " "


_GAUGES = {
    "sg": "standard gauge",
    "bg": "broad gauge",
    "mg": "metre gauge",
    "1435mm": "1,435 mm",
    "ussg": "standard gauge",
}


@_function
def _gauge(call: Call) -> str:
    """Railway gauges by their codes: ``{{track gauge|1000mm}}`` -> 1000 mm."""
    code = call.get("1").lower()
    return _GAUGES.get(code) or re.sub(r"(?<=\d)(mm|ft|in|m)\b", r" \1", code)


@_function
def _service(call: Call) -> str:
    """``{{navy|France}}`` -> France Navy would be wrong for most countries: the country alone."""
    return call.get("2", "1")


@_function
def _harvard(call: Call) -> str:
    """``{{harvtxt|Smith|Jones|2000|p=5}}`` -> Smith & Jones (2000, p. 5)."""
    values = [value for value in call.positional() if value]
    if not values:
        return ""
    year = values.pop() if re.match(r"\d{3,4}", values[-1]) else ""
    place = f"p. {call.get('p')}" if call.get("p") else f"pp. {call.get('pp')}" if call.get("pp") else ""
    inside = ", ".join(part for part in (year, place) if part)
    names = " & ".join(values) if len(values) < 3 else f"{values[0]} et al." if len(values) > 3 else ", ".join(values)
    return f"{names} ({inside})".strip() if inside else names


@_function
def _sortname(call: Call) -> str:
    return f"{call.get('1')} {call.get('2')}".strip()


# ---------------------------------------------------------------------------------------------------------------------
# Numbers


@_function
def _measured(call: Call) -> str:
    """A number before the unit that names the template: Italian ``{{m|5}}`` -> 5 m."""
    unit = {
        "mq": "m²",
        "km2": "km²",
        "kmq": "km²",
        "m2": "m²",
        "mc": "m³",
        "m3": "m³",
        "km3": "km³",
        "°c": "°C",
        "c": "°C",
    }
    name = {"k": "K", "hz": "Hz", "w": "W", "v": "V", "a": "A", "pa": "Pa"}.get(call.name, call.name)
    number = call.get("1")
    return f"{formatnum(number, call.language)} {unit.get(call.name, name)}".strip()


@_function
def _scientific(call: Call) -> str:
    """The power of ten after a number: ``5{{e|6}}`` -> 5×10⁶."""
    return "×10" + to_script(call.get("1"), "sup") if call.get("1") else ""


@_function
def _height(call: Call) -> str:
    """``{{height|ft=6|in=2}}`` -> 6 ft 2 in."""
    units = (("ft", "ft"), ("in", "in"), ("m", "m"), ("cm", "cm"))
    return " ".join(f"{call.args[key]} {unit}" for key, unit in units if call.args.get(key))


@_function
def _number(call: Call) -> str:
    return formatnum(call.get("1"), call.language)


_PLAIN_NUMBER = re.compile(r"[+\-−]?[0-9]{1,40}(?:\.[0-9]{1,40})?")


def formatnum(text: str, language: str) -> str:
    """A number with the language's separators; what is no number as it is."""
    text = text.strip()
    try:
        return group(Decimal(text), language) if _PLAIN_NUMBER.fullmatch(text) else text
    except InvalidOperation:
        return text


@_function
def _quantity(call: Call) -> str:
    """A number and its unit, the unit's exponent in the third place: French ``{{unité|25|km|2}}``."""
    words = call.positional(2)
    number = call.get("1").replace(" ", "").replace(",", ".")
    out = formatnum(number, call.language) if _PLAIN_NUMBER.fullmatch(number) else call.get("1")
    for word in words:
        out += to_script(word, "sup") if re.fullmatch(r"[-−]?\d", word) else f" {word}" if word else ""
    return out


@_function
def _value(call: Call) -> str:
    """``{{val|1.23|0.05|e=5|u=km}}`` -> 1.23±0.05×10⁵ km."""
    out = call.get("p") + formatnum(call.get("1"), call.language)
    if call.get("3"):
        out += f"+{call.get('2').lstrip('+')}−{call.get('3').lstrip('-−')}"
    elif call.get("2"):
        out += f"±{call.get('2')}"
    if call.get("e"):
        out += "×10" + to_script(call.get("e"), "sup")
    unit = call.get("u", "ul", "up", "upl")
    per = "/" + call.get("up", "upl") if call.get("up", "upl") and call.get("u", "ul") != call.get("up", "upl") else ""
    return out + call.get("s") + (f" {unit}{per}" if unit else "")


@_function
def _fraction(call: Call) -> str:
    """``{{frac|3|1|2}}`` -> 3 1/2."""
    values = call.positional()
    if len(values) < 2:
        return f"1/{values[0]}" if values and values[0] else ""
    return f"{values[0]} {values[1]}/{values[2]}" if len(values) > 2 else f"{values[0]}/{values[1]}"


@_function
def _convert(call: Call) -> str:
    return convert(call.positional(), call.args)


@_function
def _coordinates(call: Call) -> str:
    """``{{coord|57|18|N|4|27|W|display=inline}}`` -> 57°18′N 4°27′W; nothing where they stand above the page only."""
    if call.get("display") in ("title", "t"):
        return ""
    out, marks = "", iter("°′″")
    plain: list[str] = []
    for value in call.positional():
        if value in ("N", "S", "E", "W", "O"):
            out += value + " "
            marks = iter("°′″")
        elif re.fullmatch(r"[-−]?\d+(?:\.\d+)?", value):
            out += value + next(marks, "")
            plain.append(value)
        else:
            break
    if len(plain) == 2 and "N" not in out and "S" not in out:
        return f"{plain[0]}, {plain[1]}"
    return out.strip()


# ---------------------------------------------------------------------------------------------------------------------
# Dates

_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "ru": "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
}
_MONTH_NUMBERS = frozenset(map(str, range(1, 13)))
_DAY_FORMS = {"de": "{d}. {m} {y}", "es": "{d} de {m} de {y}", "ja": "{y}年{m}月{d}日", "zh": "{y}年{m}月{d}日"}


def format_date(parts: list[str], language: str, day_first: bool = False) -> str:
    """Year, month and day, as many as there are, in the wiki's language; what is no number stays as it is."""
    year, month, day = [*parts, "", "", ""][:3]
    if language in ("ja", "zh"):
        return year + "年" + (f"{month.lstrip('0')}月" if month else "") + (f"{day.lstrip('0')}日" if day else "")
    names = _MONTHS.get(language, _MONTHS["en"]).split()
    name = names[int(month) - 1] if month.lstrip("0") in _MONTH_NUMBERS else month
    day = day.lstrip("0") if day.isdigit() else day
    if not day:
        return f"{name} de {year}".strip() if language == "es" and name else f"{name} {year}".strip()
    if language == "en":
        return f"{day} {name} {year}".strip() if day_first else f"{name} {day}, {year}".rstrip(", ")
    return _DAY_FORMS.get(language, "{d} {m} {y}").format(d=day, m=name, y=year).strip()


@_function
def _date(call: Call) -> str:
    """Year, month, day in that order; the word ``dmy`` says that the template has the day first."""
    values = call.positional()[:3]
    if call.word == "dmy":
        values = values[::-1] if len(values) == 3 else values
    if not values or not any(values):
        return ""
    if not values[0][:1].isdigit():
        return " ".join(value for value in values if value)
    return format_date(values, call.language, call.get("df") not in ("", "no", "n") and not call.get("mf"))


@_function
def _died(call: Call) -> str:
    """Date of death, and the age when the date of birth is given too."""
    values = call.positional()
    died = format_date(values[:3], call.language, bool(call.get("df")))
    numbers = values[:6]
    if len(numbers) == 6 and all(re.fullmatch("[0-9]{1,4}", value) for value in numbers):
        year, month, day, born, born_month, born_day = map(int, numbers)
        age = year - born - ((month, day) < (born_month, born_day))
        if call.language == "en" and 0 <= age < 130:
            return f"{died} (aged {age})"
    return died


@_function
def _died_last(call: Call) -> str:
    """Date of death where the date of birth comes first (Japanese)."""
    return format_date(call.positional()[3:6], call.language)


@_function
def _century(call: Call) -> str:
    """French ``{{s|XIX}}`` -> XIXe siècle; the rule's word comes after, or says that "siècle" does not."""
    number, word = call.get("1").upper(), call.word
    if not number:
        return ""
    ordinal = number + ("er" if number in ("I", "1") else "e")
    return ordinal if word == "short" else f"{ordinal} siècle {word}".strip()


@_function
def _centuries(call: Call) -> str:
    """French ``{{sp|XVIII|et|XIX}}`` -> XVIIIe et XIXe siècles."""
    first, between, second = (call.get(key) for key in "123")
    return f"{first.upper()}e {between} {second.upper()}e siècle {call.word}".strip() if first and second else ""


@_function
def _as_of(call: Call) -> str:
    """``{{as of|2012|5|lc=y}}`` -> as of May 2012."""
    if call.get("alt"):
        return call.get("alt")
    date = format_date([call.get("1"), call.get("2"), call.get("3")], "en", call.get("df") != "us")
    lead = "since" if call.get("since") else "as of"
    return f"{lead if call.get('lc') else lead.capitalize()} {date}{call.get('post')}"


@_function
def _years(call: Call) -> str:
    """Years after a mark: ``{{circa|1500|1550}}`` -> c. 1500 – c. 1550, ``{{reign|1500|1550}}`` -> r. 1500 – 1550."""
    first, second = call.get("1"), call.get("2")
    mark, _, again = call.word.partition(" ")
    return f"{mark} {first}" + (f" – {again + ' ' if again else ''}{second}" if second else "") if first else mark


# ---------------------------------------------------------------------------------------------------------------------
# Languages

_NAMED = {
    "fr": "en {name} : {text}", "es": "en {name}, {text}", "it": "in {name} {text}", "de": "{name} {text}",
    "zh": "{name}：{text}", "ru": "{name} {text}",
}  # fmt: skip
_RUSSIAN = {
    "en": "англ.", "de": "нем.", "fr": "фр.", "it": "итал.", "es": "исп.", "la": "лат.", "grc": "др.-греч.",
    "el": "греч.", "uk": "укр.", "be": "белор.", "pl": "польск.", "ja": "яп.", "zh": "кит.", "ar": "араб.",
    "he": "ивр.",
    "tr": "тур.", "pt": "порт.", "nl": "нидерл.", "sv": "швед.", "cs": "чеш.", "ka": "груз.", "hy": "арм.",
    "ko": "кор.",
}  # fmt: skip


@cache
def _languages() -> dict[str, dict[str, str]]:
    """Names of languages (CLDR) by the language they are written in."""
    return json.loads((Path(__file__).parent / "data" / "languages.json").read_text("utf-8"))


def language_name(code: str, language: str) -> str:
    """The name of a language in another one, or "" where it is not known."""
    names = _languages().get(language, {})
    code = code.lower()
    name = names.get(code) or names.get(code.partition("-")[0], "")
    if language == "ru":
        return _RUSSIAN.get(code, name)
    return name.lower() if language == "de" else name


@_function
def _language(call: Call) -> str:
    """``{{lang-el|text|transliteration|meaning}}`` -> Greek: text, romanized: transliteration, lit. 'meaning'."""
    text = call.get("1", "2") if call.word != "code" else call.get("2")
    code = call.star if call.word != "code" else call.get("1")
    if not text:
        return ""
    name = language_name(code, call.language)
    if call.get("links") == "no" and call.get("label") == "none":
        name = ""
    out = _NAMED.get(call.language, "{name}: {text}").format(name=name, text=text) if name else text
    if call.language == "en":
        romanized, meaning = call.get("translit", "2"), call.get("lit", "3")
        out += (f", romanized: {romanized}" if romanized else "") + (f", lit. '{meaning}'" if meaning else "")
    return out


@_function
def _language_of(call: Call) -> str:
    """Wiktionary's ``{{der|en|la|aqua||water}}`` -> Latin aqua ("water"); the rule's word is the place of the code."""
    at = int(call.word)
    word = call.get(str(at + 2), str(at + 1)) if at > 1 or call.name != "etyl" else ""
    meaning = call.get("t", "gloss", str(at + 3))
    name = language_name(call.get(str(at)), call.language)
    romanized = call.get("tr")
    out = f"{name} {word}".strip() + (f" ({romanized})" if romanized and word else "")
    return out + (f" (“{meaning}”)" if meaning and word else "")


@_function
def _form_of(call: Call) -> str:
    """Wiktionary's ``{{plural of|en|page}}`` -> plural of page: the template's name says it."""
    first, second = call.get("1"), call.get("2")
    target = second if first in language_codes() and second else first
    return f"{call.name} {target}" if target else ""


@_function
def _affixes(call: Call) -> str:
    """Wiktionary's ``{{suffix|en|page|ing}}`` -> page + -ing."""
    parts = call.positional()
    parts = parts[1:] if parts and parts[0] in language_codes() else parts
    if call.name in ("suffix", "suf"):
        parts = [*parts[:1], *("-" + part.lstrip("-") for part in parts[1:] if part)]
    elif call.name in ("prefix", "pre"):
        parts = [*(part.rstrip("-") + "-" for part in parts[:-1] if part), *parts[-1:]]
    return " + ".join(part for part in parts if part)


@_function
def _ipa_list(call: Call) -> str:
    values = call.positional()
    return ", ".join(value for value in values if value and value not in language_codes())


_CHINESE = (
    ("c", "Chinese"), ("s", "simplified Chinese"), ("t", "traditional Chinese"), ("p", "pinyin"), ("hp", "pinyin"),
    ("w", "Wade–Giles"), ("j", "Jyutping"), ("cy", "Cantonese Yale"), ("poj", "Pe̍h-ōe-jī"), ("l", "lit."),
)  # fmt: skip
_KOREAN = (("hangul", "Korean"), ("hanja", "Hanja"), ("rr", "RR"), ("mr", "MR"), ("lit", "lit."))


@_function
def _readings(call: Call) -> str:
    """``{{zh|t=..|p=..}}`` -> traditional Chinese: ..; pinyin: .."""
    table = _KOREAN if call.word == "ko" else _CHINESE
    out = [f"{label}: {call.args[key]}" for key, label in table if call.args.get(key)]
    return "; ".join(out) or call.get("1")


# ---------------------------------------------------------------------------------------------------------------------
# MediaWiki's own


def _strip_all(parts: list[str]) -> list[str]:
    return [part.strip() for part in parts] + ["", "", "", ""]


def _if(parts: list[str], language: str) -> str:
    condition, then, otherwise, *_ = _strip_all(parts)
    return then if condition else otherwise


def _ifeq(parts: list[str], language: str) -> str:
    left, right, then, otherwise, *_ = _strip_all(parts)
    return then if left == right else otherwise


def _switch(parts: list[str], language: str) -> str:
    subject, *cases = (part.strip() for part in parts)
    fallback, falls_through = "", False
    for at, case in enumerate(cases):
        key, equals, value = (piece.strip() for piece in case.partition("="))
        if equals and (falls_through or key == subject):
            return value
        if equals and key == "#default":
            fallback = value
        if not equals:
            falls_through = falls_through or key == subject
            if at == len(cases) - 1:
                fallback = key
    return fallback


PARSER_FUNCTIONS: dict[str, Callable[[list[str], str], str]] = {
    "formatnum": lambda parts, language: formatnum(parts[0], language),
    "lc": lambda parts, language: parts[0].lower(),
    "uc": lambda parts, language: parts[0].upper(),
    "lcfirst": lambda parts, language: parts[0][:1].lower() + parts[0][1:],
    "ucfirst": lambda parts, language: parts[0][:1].upper() + parts[0][1:],
    "padleft": lambda parts, language: (
        parts[0].rjust(int(parts[1]), (_strip_all(parts)[2] or "0")[0])
        if len(parts) > 1 and re.fullmatch("[0-9]{1,2}", parts[1])
        else parts[0]
    ),
    "plural": lambda parts, language: _strip_all(parts)[1 if parts[0] == "1" else 2] or _strip_all(parts)[1],
    "#if": _if,
    "#ifeq": _ifeq,
    "#switch": _switch,
    "#iferror": lambda parts, language: _strip_all(parts)[2],
    "#ifexist": lambda parts, language: _strip_all(parts)[1],
    "nowiki": lambda parts, language: parts[0],
}

VARIABLES: dict[str, Callable[[str], str]] = {
    "!": lambda title: "|",
    "=": lambda title: "=",
    "(": lambda title: "{",
    ")": lambda title: "}",
    "PAGENAME": lambda title: title,
    "FULLPAGENAME": lambda title: title,
    "BASEPAGENAME": lambda title: title.rpartition("/")[0] or title,
    "SUBPAGENAME": lambda title: title.rpartition("/")[2],
}
