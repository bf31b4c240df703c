"""What template rules can compute: numbers, dates, units, languages; and MediaWiki's own parser functions.

Nothing here asks the clock: an age that depends on today is left out, not guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, NamedTuple

from pipeline.parse.mediawiki_site import language_codes
from pipeline.parse.wikitext_data import read_data
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
    """``{{IPA|/x/}}``, the later ``{{IPA|de|x}}``, and ``{{IPA-de|x}}``, which sets its own brackets."""
    first, second = call.get("1"), call.get("2")
    sounds = second if second and first.lower() in language_codes() else first
    return f"[{sounds}]" if call.star and sounds and sounds[0] not in "[/" else sounds


_IPA_NOTES = frozenset("lang pron us uk local icon ipa also en small links".split())  # noqa: SIM905
_IPA_MARKS = {",_": ", ", ",": "ˌ", "'": "ˈ", "_": " ", "-": "-", " ": " ", "ng": "ŋ"}


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


_FORMULA_NUMBER = re.compile(r"(?<=[A-Za-z)\]])\d{1,4}|\^\d?[+\-−]|[+\-−]$")


@_function
def _formula(call: Call) -> str:
    """``{{chem2|H2SO4}}`` -> H₂SO₄, with charges after "^" or at the end."""
    return _FORMULA_NUMBER.sub(
        lambda match: to_script(match[0].lstrip("^"), "sub" if match[0].isdigit() else "sup"), call.get("1")
    )


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
    """``{{USS|Enterprise|CV-6}}`` -> USS Enterprise (CV-6); the third argument says which parts are shown."""
    name, hull, parts = call.get("1"), call.get("2"), call.get("3")
    if not name or parts == "1":
        return hull
    if parts == "2":
        return name
    return f"{call.word} {name}" + (f" ({hull})" if hull and parts != "6" else "")


@_function
def _sic(call: Call) -> str:
    word = call.get("1") + call.get("2")
    return word if call.get("hide") or call.get("nolink") == "hide" else f"{word} [sic]".strip()


_CELLS = {"n/a": "N/A", "na": "N/A", "tba": "TBA", "tbd": "TBD", "dunno": "?", "nom": "Nominated"}


@_function
def _cell(call: Call) -> str:
    """Cells of tables that are called what they show: ``{{yes}}``, ``{{n/a}}``."""
    return call.get("1") or _CELLS.get(call.name) or call.name.rstrip("2").capitalize()


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


_VERSE = re.compile(r"\d+(?:[:.,]\d.*)?")


@_function
def _verse(call: Call) -> str:
    """``{{bibleverse|1|Corinthians|1:2|KJV}}`` -> 1 Corinthians 1:2; the number of the book may stand apart."""
    first, *rest = [value for value in call.positional() if value] or [""]
    out = [first]
    for value in rest:
        out.append(value)
        if _VERSE.fullmatch(value) or len(out) == 3:
            break
    return " ".join(out)


@_function
def _route(call: Call) -> str:
    """``{{jct|state=CA|US|101|SR|1|city1=Ventura}}`` -> US 101 / SR 1 in Ventura."""
    values = call.positional()
    pairs = zip(values[::2], values[1::2], strict=False)
    routes = [f"{kind}{'-' if kind == 'I' else ' '}{number}" for kind, number in pairs]
    place = call.get("city1", "location1")
    return " / ".join(route.strip() for route in routes) + (f" in {place}" if place else "")


@_function
def _harvard(call: Call) -> str:
    """``{{harvtxt|Smith|Jones|2000|p=5}}`` -> Smith & Jones (2000, p. 5); ``plain``: without brackets."""
    values = [value for value in call.positional() if value]
    if not values:
        return ""
    year = values.pop() if re.match(r"\d{3,4}", values[-1]) else ""
    place = f"p. {call.get('p')}" if call.get("p") else f"pp. {call.get('pp')}" if call.get("pp") else ""
    inside = ", ".join(part for part in (year, place) if part)
    names = " & ".join(values) if len(values) < 3 else f"{values[0]} et al." if len(values) > 3 else ", ".join(values)
    if call.word:
        return f"{names} {inside}".strip()
    return f"{names} ({inside})".strip() if inside else names


@_function
def _biography(call: Call) -> str:
    """The first sentence of Italian biographies, ``{{Bio|Nome=..|Cognome=..|AnnoNascita=..|Attività=..}}``."""
    get, woman = call.get, call.get("Sesso").upper() == "F"
    dates = []
    for event in ("Nascita", "Morte"):
        place, day, year = (get(key + event) for key in ("Luogo", "GiornoMese", "Anno"))
        dates.append(", ".join(part for part in (place, f"{day} {year}".strip()) if part))
    born, died = dates
    inside = get("PreData") + ("; " if get("PreData") and any(dates) else "")
    inside += f"{born} – {died}" if died else born
    name = " ".join(part for part in (get("Titolo"), get("Nome"), get("Cognome")) if part)
    if get("PostCognome"):
        name += {",": "", ";": "", "(": " "}.get(get("PostCognome")[0], ", ") + get("PostCognome")
    out = f"{name} ({inside})" if inside else name
    if get("FineIncipit"):
        return f"{out} {get('FineIncipit')}"
    work = [value for key in ("Attività", "Attività2", "Attività3") if (value := get(key))]
    if not name or not work:
        return ""
    others = get("AttivitàAltre")
    if others:
        listed = ", ".join(work) + ("" if others[0] in ",;" else " ") + others
    else:
        listed = " e ".join(filter(None, (", ".join(work[:-1]), work[-1])))
    article = "una " if woman else "uno " if re.match("(?i)s[^aeiou]|z|gn|ps|x|y", listed) else "un "
    if woman and listed[0].lower() in "aeiou":
        article = "un'"
    nation = " ".join(part for part in (get("Nazionalità"), get("NazionalitàNaturalizzato")) if part)
    after = get("PostNazionalità")
    after = after if not after or after[0] in ",;." else " " + after
    verb = "è stata" if woman else "è stato"
    return f"{out} {verb if died else 'è'} {article}{listed} {nation}".rstrip() + after.rstrip(".") + "."


@_function
def _sortname(call: Call) -> str:
    return f"{call.get('1')} {call.get('2')}".strip()


# ---------------------------------------------------------------------------------------------------------------------
# Numbers


_MEASURES = {
    "mq": "m²", "km2": "km²", "kmq": "km²", "m2": "m²", "mc": "m³", "m3": "m³", "km3": "km³", "°c": "°C", "c": "°C",
    "k": "K", "hz": "Hz", "w": "W", "v": "V", "a": "A", "pa": "Pa",
}  # fmt: skip


@_function
def _measured(call: Call) -> str:
    """A number before its unit, or before the one that names the template: Italian ``{{M|5|ul=km}}``, ``{{mm|5}}``."""
    first, sign, second = [*call.positional(), "", "", ""][:3]
    unit, until = call.get("ul", "u", "um"), ""
    if unit and sign and second:
        until = f"{sign}{formatnum(second, call.language)}"
    elif not unit:  # the older form: number, prefix of the unit, unit
        unit = sign.strip("-") + second if second else _MEASURES.get(call.name, call.name)
    power = "×10" + to_script(call.get("e"), "sup") if call.get("e") else ""
    return f"{formatnum(first, call.language)}{until}{power} {unit}".strip()


_LEVELS = {"DE-NN": "ü. NN", "DE-NHN": "ü. NHN", "DE-HN": "ü. HN", "AT": "ü. A.", "CH": "ü. M.", "IT": "s.l.m."}


@_function
def _elevation(call: Call) -> str:
    """German ``{{Höhe|1234|DE-NHN|link=true}}`` -> 1234 m ü. NHN."""
    level = _LEVELS.get(call.get("2"), "")
    return f"{call.get('1')} m {level}".strip() if call.get("1") else ""


_INDIAN = {"k": "thousand", "l": "lakh", "c": "crore", "lc": "lakh crore", "m": "million", "b": "billion"}


@_function
def _rupees(call: Call) -> str:
    """``{{INRConvert|5|c}}`` -> ₹5 crore; what it is in dollars depends on the day."""
    return f"₹{call.get('1')} {_INDIAN.get(call.get('2'), '')}".strip()


@_function
def _density(call: Call) -> str:
    """``{{pop density|1000|50|km2|sqmi}}`` -> 20/km² (52/sq mi)."""
    people, area = (_decimal(call.get(key).replace(",", "")) for key in "12")
    if people is None or not area:
        return ""
    value = people / area
    number = f"{value:.0f}" if value >= 10 else f"{value:.1f}"
    return convert([number, "/" + (call.get("3") or "km2"), "/" + (call.get("4") or "sqmi")], call.args, call.language)


def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if _PLAIN_NUMBER.fullmatch(text) else None


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
    """``{{convert|10|km|mi}}``; the rule's word ``short`` or a language other than English: symbols, not names."""
    args = call.args if call.language == "en" and not call.word else {**call.args, "abbr": "on"}
    return convert(call.positional(), args, call.language)


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

_MONTH_NUMBERS = frozenset(map(str, range(1, 13)))


@cache
def _names(table: str, language: str) -> Any:
    """What a table from the Unicode CLDR has in a language, or {}; each line is a language, and only that is parsed."""
    begin = f'"{language}": '
    lines = read_data(f"{table}.json").splitlines()
    return next((json.loads(line[len(begin) :].rstrip(",")) for line in lines if line.startswith(begin)), {})


def format_date(parts: list[str], language: str, day_first: bool = False) -> str:
    """Year, month and day, as many as there are, in the wiki's language; what is no number stays as it is."""
    year, month, day = [*parts, "", "", ""][:3]
    if language in ("ja", "zh"):
        return year + "年" + (f"{month.lstrip('0')}月" if month else "") + (f"{day.lstrip('0')}日" if day else "")
    whole, *names = _names("calendar", language) or _names("calendar", "en")
    name = names[int(month) - 1] if month.lstrip("0") in _MONTH_NUMBERS else month
    day = day.lstrip("0") if day.isdigit() else day
    if not day or not name:
        between = " de " if name and language in ("es", "pt", "gl") else " "
        return f"{name}{between}{year}".strip()
    if day_first and language == "en":
        whole = "{d} {m} {y}"
    return whole.format(d=day, m=name, y=year).strip(" ,")


@_function
def _date(call: Call) -> str:
    """Year, month, day in that order; the word ``dmy`` says that the template has the day first."""
    values = call.positional()[:3]
    if call.word == "dmy":
        values = values[::-1] if len(values) == 3 and not re.fullmatch(r"\d{4}", values[0]) else values
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
def _age(call: Call) -> str:
    """Whole years between two dates, ``{{age|1930|5|6|2000|1|2}}`` -> 69; up to today is left out."""
    values = call.positional()[:6]
    if len(values) < 6 or not all(re.fullmatch("[0-9]{1,4}", value) for value in values):
        return ""
    born, month, day, year, last_month, last_day = map(int, values)
    return str(year - born - ((last_month, last_day) < (month, day)))


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
    """French ``{{sp|XVIII|e|et|XIX|e|s}}`` -> XVIIIe et XIXe siècles."""
    values = [value for value in call.positional() if value not in ("", "e", "er", "s")]
    if len(values) < 3:
        return ""
    first, second = (f"{number.upper()}{'er' if number.upper() == 'I' else 'e'}" for number in (values[0], values[2]))
    many = "s" if call.get("6", "4") == "s" else ""
    return f"{first} {values[1]} {second} siècle{many} {call.word}".strip()


_NAMED_CENTURY = re.compile(r"(-?)([ivxlc]+)(er|e)(.*)")


@_function
def _named_century(call: Call) -> str:
    """French templates that are called what they show: ``{{XIXe siècle}}``, ``{{-Ve siècle}}``, ``{{IIe}}``."""
    before, number, ordinal, rest = _NAMED_CENTURY.fullmatch(call.name).groups()  # type: ignore[union-attr]
    rest = rest.replace("av. j.-c.", "av. J.-C.") + (" av. J.-C." if before else "")
    return number.upper() + ordinal + rest


@_function
def _siglo(call: Call) -> str:
    """Spanish ``{{siglo|V|a||s}}`` -> siglo V a. C."""
    era = {"a": " a. C.", "d": " d. C."}.get(call.get("2").lower(), "")
    return f"siglo {call.get('1')}{era}" if call.get("1") else ""


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

# How a wiki writes "in this language: text"; the others write the text alone.
_NAMED = {
    "en": "{name}: {text}", "fr": "en {name} : {text}", "es": "en {name}, {text}", "it": "in {name} {text}",
    "de": "{name} {text}", "zh": "{name}：{text}", "ru": "{name} {text}", "uk": "{name} {text}", "pl": "{name} {text}",
    "ja": "{name}: {text}", "ko": "{name}: {text}", "pt": "em {name}: {text}", "nl": "{name}: {text}",
    "sv": "{name}: {text}", "nb": "{name}: {text}", "da": "{name}: {text}", "tr": "{name}: {text}",
    "vi": "{name}: {text}", "id": "bahasa {name}: {text}", "ar": "ب{name}: {text}", "fa": "به {name}: {text}",
    "ca": "en {name} {text}", "gl": "en {name}: {text}", "hr": "{name}: {text}", "sr": "{name}: {text}",
}  # fmt: skip
_SHORT_NAMES = {
    "ru": """en англ. de нем. fr фр. it итал. es исп. la лат. grc др.-греч. el греч. uk укр. be белор. pl польск. ja яп.
        zh кит. ar араб. he ивр. tr тур. pt порт. nl нидерл. sv швед. cs чеш. ka груз. hy арм. ko кор. tt тат. kk каз.
        sr серб. hr хорв. bg болг. hu венг. ro рум. fi фин. da дат. no норв. nb норв. sk словацк. sl словен. sq алб.
        mk макед. lt лит. lv латыш. et эст. az азерб. uz узб. ky кирг. ba башк. cv чуваш. os осет. ce чечен. fa перс.
        sa санскр. vi вьетн. th тайск. ca кат. eu баск. ga ирл. cy валл. is исл. mn монг. tg тадж. tk туркм. yi идиш
        cu ст.-слав. crh крымскотат. ab абх. ast астур.""",
    "uk": """en англ. de нім. fr фр. it італ. es ісп. la лат. grc дав.-гр. el грец. ru рос. be біл. pl пол. ja яп.
        zh кит. ar араб. he івр. tr тур. pt порт. nl нід. sv швед. cs чес. ka груз. hy вірм. ko кор. hu угор. ro рум.
        bg болг. sr серб. hr хорв. sk словац. sl словен. lt лит. lv латис. et ест. fi фін. da дан. no норв. fa перс.
        tt татар. kk казах. uz узб. az азерб. crh крим. sa санскр. vi в'єт. yi їдиш""",
    "pl": """
        en ang. de niem. fr fr. it wł. es hiszp. la łac. grc gr. el gr. ru ros. uk ukr. be białorus. cs cz. sk słow.
        pt port. nl niderl. sv szw. hu węg. ja jap. zh chiń. ko kor. ar arab. he hebr. tr tur. lt lit. lv łot. ro rum.
        bg bułg. sr serb. hr chorw. da duń. no norw. fi fiń. et est. fa pers. ka gruz. hy orm. vi wiet. ca kat.""",
}
_OTHER_CODES = {"rus": "ru", "ukr": "uk", "bel": "be", "deu": "de", "fra": "fr", "jpn": "ja", "zho": "zh", "ara": "ar"}


@cache
def _short_names(language: str) -> dict[str, str]:
    words = _SHORT_NAMES.get(language, "").split()
    return dict(zip(words[::2], words[1::2], strict=True))


def language_name(code: str, language: str) -> str:
    """The name of a language in another one, or "" where it is not known."""
    names, short = _names("languages", language), _short_names(language)
    code = _OTHER_CODES.get(code.lower(), code.lower())
    base = code.partition("-")[0]
    name = short.get(code) or short.get(base) or names.get(code) or names.get(base, "")
    return name[:1].lower() + name[1:] if language in ("de", "vi") else name


# Codes of sport and diplomacy that differ from ISO 3166.
_SPORT_CODES = """
    ALG DZA ANG AGO BAH BHS BAN BGD BAR BRB BOT BWA BUL BGR BUR BFA CAM KHM CGO COG CHA TCD CHI CHL CRC CRI
    CRO HRV DEN DNK ESA SLV FIJ FJI GAM GMB GER DEU GRE GRC GUA GTM GUI GIN HAI HTI HON HND INA IDN IRI IRN KSA SAU
    KUW KWT LAT LVA LIB LBN LBA LBY MAD MDG MAS MYS MAW MWI MGL MNG MYA MMR NED NLD NEP NPL NGR NGA NIG NER OMA OMN
    PAR PRY PHI PHL POR PRT PUR PRI RSA ZAF SIN SGP SLO SVN SRI LKA SUD SDN SUI CHE TAN TZA TOG TGO TPE TWN UAE ARE
    URU URY VIE VNM ZAM ZMB ZIM ZWE ENG GBR ROU ROU MON MCO VAT VAT"""


@cache
def _sport_codes() -> dict[str, str]:
    words = _SPORT_CODES.split()
    return dict(zip(words[::2], words[1::2], strict=True))


def country_name(code: str, language: str) -> str:
    """The name of a country by its code of three letters (ISO 3166, and those of sport), or "" where it has none."""
    names = _names("countries", language)
    return names.get(code) or names.get(_sport_codes().get(code, ""), "")


@_function
def _country(call: Call) -> str:
    """``{{flag|FRA}}`` and ``{{flag|France}}`` -> France."""
    value = call.get("name", "1")
    return country_name(value, call.language) or value


@_function
def _language(call: Call) -> str:
    """``{{lang-el|text|transliteration|meaning}}`` -> Greek: text, romanized: transliteration, lit. 'meaning'."""
    shift = call.word == "code"  # the code is the first argument and not a part of the name
    text = call.get("2") if shift else call.get("1", "2")
    code = call.get("1") if shift else call.star
    if not text:
        return ""
    name = language_name(code, call.language)
    if call.get("links") == "no" and call.get("label") == "none":
        name = ""
    out = _NAMED.get(call.language, "{text}").format(name=name, text=text) if name else text
    if call.language == "en":
        romanized = call.get("translit", "tr", "r", "3" if shift else "2")
        meaning = call.get("lit", "4" if shift else "3")
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


def _tag(parts: list[str], language: str) -> str:
    """``{{#tag:ref|..}}``: what the extension tag of that name would show."""
    return _strip_all(parts)[1] if parts[0].strip().lower() in ("nowiki", "pre", "poem", "small", "chem", "ce") else ""


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
    "#tag": _tag,
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
