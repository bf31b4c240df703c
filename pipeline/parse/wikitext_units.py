"""Quantities in two units, as ``{{convert}}`` writes them: ``10 kilometres (6.2 mi)``.

Names, symbols and factors are those of the units' definitions (SI, and the international yard and pound). Rounding
follows Module:Convert: as precise as the number given, and never fewer than two significant digits.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

# As MediaWiki's messages of the language have them.
_POINTS = frozenset("de nl id tr da el ro sr hr bs sl vi ca gl is eu mk".split())  # noqa: SIM905
_SPACES = frozenset("fr ru uk be bg cs sk pl sv nb no nn fi hu et lv lt hy ka kk pt it es eo af".split())  # noqa: SIM905
_FOUR_TOGETHER = frozenset("es it pt pl bg ru uk be".split())  # 1234, but 12 345  # noqa: SIM905


def group(number: Decimal, language: str = "en") -> str:
    """A number with its thousands parted as the language does."""
    thousands, point = (".", ",") if language in _POINTS else (" ", ",") if language in _SPACES else (",", ".")
    whole, _, fraction = f"{abs(number):f}".partition(".")
    if len(whole) > (4 if language in _FOUR_TOGETHER else 3):
        whole = f"{int(whole):,}".replace(",", thousands)
    return ("−" if number < 0 else "") + whole + (point + fraction if fraction else "")


class _Unit(NamedTuple):
    kind: str
    factor: float  # in the base unit of its kind
    symbol: str
    one: str
    many: str
    default: str  # the unit it is converted to where the call names none


_TABLE = """
length m 1 m metre metres ft
length km 1000 km kilometre kilometres mi
length cm 0.01 cm centimetre centimetres in
length mm 0.001 mm millimetre millimetres in
length um 1e-6 μm micrometre micrometres in
length nm 1e-9 nm nanometre nanometres in
length ft 0.3048 ft foot feet m
length in 0.0254 in inch inches mm
length yd 0.9144 yd yard yards m
length mi 1609.344 mi mile miles km
length nmi 1852 nmi nautical_mile nautical_miles km
length fathom 1.8288 fathom fathom fathoms m
length furlong 201.168 furlong furlong furlongs m
length chain 20.1168 chain chain chains m
length league 4828.032 league league leagues km
length hand 0.1016 h hand hands in
length rod 5.0292 rod rod rods m
length ly 9.4607304725808e15 ly light-year light-years pc
length pc 3.0856775814913673e16 pc parsec parsecs ly
length AU 149597870700 AU astronomical_unit astronomical_units km
area m2 1 m² square_metre square_metres sqft
area km2 1e6 km² square_kilometre square_kilometres sqmi
area cm2 1e-4 cm² square_centimetre square_centimetres sqin
area mm2 1e-6 mm² square_millimetre square_millimetres sqin
area ha 1e4 ha hectare hectares acre
area acre 4046.8564224 acre acre acres ha
area sqft 0.09290304 sq_ft square_foot square_feet m2
area sqmi 2589988.110336 sq_mi square_mile square_miles km2
area sqyd 0.83612736 sq_yd square_yard square_yards m2
area sqin 0.00064516 sq_in square_inch square_inches cm2
mass kg 1 kg kilogram kilograms lb
mass g 0.001 g gram grams oz
mass mg 1e-6 mg milligram milligrams gr
mass t 1000 t tonne tonnes LT
mass lb 0.45359237 lb pound pounds kg
mass oz 0.028349523125 oz ounce ounces g
mass gr 6.479891e-5 gr grain grains mg
mass ozt 0.0311034768 ozt troy_ounce troy_ounces g
mass st 6.35029318 st stone stone kg
mass cwt 50.80234544 long_cwt long_hundredweight long_hundredweight kg
mass kt 1e6 kt kilotonne kilotonnes LT
mass Mt 1e9 Mt megatonne megatonnes LT
mass ct 0.0002 carat carat carats g
mass ST 907.18474 short_tons short_ton short_tons t
mass LT 1016.0469088 long_tons long_ton long_tons t
volume m3 1 m³ cubic_metre cubic_metres cuft
volume km3 1e9 km³ cubic_kilometre cubic_kilometres cumi
volume cm3 1e-6 cm³ cubic_centimetre cubic_centimetres cuin
volume L 0.001 L litre litres impgal
volume ml 1e-6 ml millilitre millilitres usfloz
volume cuft 0.028316846592 cu_ft cubic_foot cubic_feet m3
volume cumi 4168181825.440579584 cu_mi cubic_mile cubic_miles km3
volume cuin 1.6387064e-5 cu_in cubic_inch cubic_inches cm3
volume cuyd 0.764554857984 cu_yd cubic_yard cubic_yards m3
volume usgal 0.003785411784 US_gal US_gallon US_gallons L
volume impgal 0.00454609 imp_gal imperial_gallon imperial_gallons L
volume usfloz 2.95735295625e-5 US_fl_oz US_fluid_ounce US_fluid_ounces ml
volume impfloz 2.84130625e-5 imp_fl_oz imperial_fluid_ounce imperial_fluid_ounces ml
volume oilbbl 0.158987294928 bbl barrel barrels m3
volume acre.ft 1233.48183754752 acre⋅ft acre-foot acre-feet m3
speed m/s 1 m/s metre_per_second metres_per_second ft/s
speed km/h 0.2777777777777778 km/h kilometre_per_hour kilometres_per_hour mph
speed km/s 1000 km/s kilometre_per_second kilometres_per_second mi/s
speed mph 0.44704 mph mile_per_hour miles_per_hour km/h
speed mi/s 1609.344 mi/s mile_per_second miles_per_second km/s
speed ft/s 0.3048 ft/s foot_per_second feet_per_second m/s
speed km/min 16.666666666666668 km/min kilometre_per_minute kilometres_per_minute mi/min
speed ft/min 0.00508 ft/min foot_per_minute feet_per_minute m/min
speed m/min 0.016666666666666666 m/min metre_per_minute metres_per_minute ft/min
speed cm/s 0.01 cm/s centimetre_per_second centimetres_per_second in/s
speed in/s 0.0254 in/s inch_per_second inches_per_second cm/s
speed kn 0.5144444444444445 kn knot knots km/h
force N 1 N newton newtons lbf
force kN 1000 kN kilonewton kilonewtons lbf
force lbf 4.4482216152605 lbf pound-force pounds-force N
power W 1 W watt watts hp
power kW 1000 kW kilowatt kilowatts hp
power MW 1e6 MW megawatt megawatts hp
power GW 1e9 GW gigawatt gigawatts hp
power bhp 745.69987158227 bhp brake_horsepower brake_horsepower kW
power shp 745.69987158227 shp shaft_horsepower shaft_horsepower kW
power ihp 745.69987158227 ihp indicated_horsepower indicated_horsepower kW
power hp 745.69987158227 hp horsepower horsepower kW
power PS 735.49875 PS metric_horsepower metric_horsepower kW
pressure ksi 6894757.293168 ksi kilopound_per_square_inch kilopounds_per_square_inch MPa
pressure GPa 1e9 GPa gigapascal gigapascals psi
pressure Pa 1 Pa pascal pascals psi
pressure kPa 1000 kPa kilopascal kilopascals psi
pressure MPa 1e6 MPa megapascal megapascals psi
pressure hPa 100 hPa hectopascal hectopascals inHg
pressure bar 1e5 bar bar bars psi
pressure mbar 100 mbar millibar millibars inHg
pressure psi 6894.757293168 psi pound_per_square_inch pounds_per_square_inch kPa
pressure atm 101325 atm standard_atmosphere standard_atmospheres kPa
pressure mmHg 133.322387415 mmHg millimetre_of_mercury millimetres_of_mercury kPa
pressure inHg 3386.38815789 inHg inch_of_mercury inches_of_mercury kPa
energy J 1 J joule joules cal
energy kJ 1000 kJ kilojoule kilojoules kcal
energy MJ 1e6 MJ megajoule megajoules kWh
energy cal 4.184 cal calorie calories J
energy kcal 4184 kcal kilocalorie kilocalories kJ
energy kWh 3.6e6 kWh kilowatt-hour kilowatt-hours MJ
energy MWh 3.6e9 MWh megawatt-hour megawatt-hours GJ
energy GWh 3.6e12 GWh gigawatt-hour gigawatt-hours TJ
energy TWh 3.6e15 TWh terawatt-hour terawatt-hours PJ
energy GJ 1e9 GJ gigajoule gigajoules kWh
energy TJ 1e12 TJ terajoule terajoules GWh
energy PJ 1e15 PJ petajoule petajoules TWh
energy ftlbf 1.3558179483314004 ft⋅lb foot-pound foot-pounds J
energy BTU 1055.05585262 BTU British_thermal_unit British_thermal_units kJ
force tf 9806.65 tf tonne-force tonnes-force kN
force kgf 9.80665 kgf kilogram-force kilograms-force lbf
torque Nm 1 N⋅m newton_metre newton_metres lbft
torque lbft 1.3558179483314 lb⋅ft pound-foot pound-feet Nm
people /km2 1 /km² inhabitant_per_square_kilometre inhabitants_per_square_kilometre /sqmi
people /sqmi 0.3861021585424458 /sq_mi inhabitant_per_square_mile inhabitants_per_square_mile /km2
flow m3/s 1 m³/s cubic_metre_per_second cubic_metres_per_second cuft/s
flow L/s 0.001 L/s litre_per_second litres_per_second cuft/s
flow m3/h 0.0002777777777777778 m³/h cubic_metre_per_hour cubic_metres_per_hour cuft/h
flow m3/d 1.1574074074074073e-5 m³/d cubic_metre_per_day cubic_metres_per_day cuft/d
flow cuft/h 7.865790720e-6 cu_ft/h cubic_foot_per_hour cubic_feet_per_hour m3/h
flow cuft/d 3.27741280e-7 cu_ft/d cubic_foot_per_day cubic_feet_per_day m3/d
flow USgal/min 6.30901964e-5 US_gal/min US_gallon_per_minute US_gallons_per_minute L/s
flow USgal/d 4.38126363889e-8 US_gal/d US_gallon_per_day US_gallons_per_day L/d
flow L/d 1.1574074074074074e-8 L/d litre_per_day litres_per_day USgal/d
flow bbl/d 1.84013e-6 bbl/d barrel_per_day barrels_per_day m3/d
flow cuft/s 0.028316846592 cu_ft/s cubic_foot_per_second cubic_feet_per_second m3/s
density kg/m3 1 kg/m³ kilogram_per_cubic_metre kilograms_per_cubic_metre lb/cuyd
density g/cm3 1000 g/cm³ gram_per_cubic_centimetre grams_per_cubic_centimetre lb/cuin
density lb/cuin 27679.90471 lb/cu_in pound_per_cubic_inch pounds_per_cubic_inch g/cm3
density lb/cuft 16.018463374 lb/cu_ft pound_per_cubic_foot pounds_per_cubic_foot kg/m3
density lb/cuyd 0.593276421 lb/cu_yd pound_per_cubic_yard pounds_per_cubic_yard kg/m3
yield t/ha 0.1 t/ha tonne_per_hectare tonnes_per_hectare LT/acre
yield kg/ha 1e-4 kg/ha kilogram_per_hectare kilograms_per_hectare lb/acre
yield lb/acre 1.12085116e-4 lb/acre pound_per_acre pounds_per_acre kg/ha
yield LT/acre 0.251070659 long_tons/acre long_ton_per_acre long_tons_per_acre t/ha
temperature C 1 °C degree_Celsius degrees_Celsius F
temperature F 0.5555555555555556 °F degree_Fahrenheit degrees_Fahrenheit C
temperature K 1 K kelvin kelvins C
"""
_UNITS: dict[str, _Unit] = {}
for _line in _TABLE.strip().splitlines():
    _kind, _code, _factor, _symbol, _one, _many, _default = _line.split()
    _UNITS[_code] = _Unit(
        _kind, float(_factor), _symbol.replace("_", " "), _one.replace("_", " "), _many.replace("_", " "), _default
    )
_OTHER_NAMES = {
    "meter": "m", "metre": "m", "meters": "m", "metres": "m", "kilometer": "km", "kilometre": "km",
    "kilometers": "km", "kilometres": "km", "foot": "ft", "feet": "ft", "inch": "in", "inches": "in",
    "mile": "mi", "miles": "mi", "yard": "yd", "yards": "yd", "sqkm": "km2", "sqm": "m2", "ft2": "sqft",
    "mi2": "sqmi", "yd2": "sqyd", "in2": "sqin", "acres": "acre", "hectare": "ha", "hectares": "ha", "MT": "t",
    "tonne": "t", "tonnes": "t", "metric ton": "t", "tons": "ST", "short ton": "ST", "long ton": "LT",
    "pound": "lb", "pounds": "lb", "lbs": "lb", "ft3": "cuft", "mi3": "cumi", "in3": "cuin", "yd3": "cuyd",
    "cc": "cm3", "l": "L", "litre": "L", "liter": "L", "USgal": "usgal", "gal": "usgal", "U.S.gal": "usgal",
    "USfloz": "usfloz", "bbl": "oilbbl", "acre·ft": "acre.ft", "acre-ft": "acre.ft", "kph": "km/h",
    "knot": "kn", "knots": "kn", "N.m": "Nm", "N·m": "Nm",
    "lb.ft": "lbft", "lbf·ft": "lbft", "lb-ft": "lbft", "PD/km2": "/km2", "PD/sqmi": "/sqmi", "°C": "C",
    "°F": "F", "degC": "C", "degF": "F", "cum": "m3", "cu ft/s": "cuft/s", "ton": "ST",
    "oilbbl/d": "bbl/d", "long cwt": "cwt", "ft·lbf": "ftlbf",
    "ft.lbf": "ftlbf", "hands": "hand", "carat": "ct", "cumecs": "m3/s", "cusecs": "cuft/s", "gpm": "USgal/min",
    "micron": "um", "μm": "um", "au": "AU", "NM": "nmi", "troy oz": "ozt", "stone": "st", "mL": "ml",
}  # fmt: skip
_RANGES = {
    "to": " to ", "and": " and ", "or": " or ", "by": " by ", "x": " × ", "×": " × ", "-": "–", "–": "–",
    "+/-": "±", "to about": " to about ", "&": " and ", "to(-)": " to ", "*": " × ", ",": ", ", "xx": " × ",
}  # fmt: skip
_NUMBER = re.compile(r"[-−+]?[0-9][0-9,]{0,40}(?:\.[0-9]{1,40})?|[-−+]?\.[0-9]{1,40}")
_MIXED = re.compile(r"(?:([0-9]{1,9})[+ ])?([0-9]{1,9})[/⁄]([0-9]{1,9})")


_POWERS = {"e3": (1e3, "thousand"), "e6": (1e6, "million"), "e9": (1e9, "billion"), "e12": (1e12, "trillion")}


def _unit(code: str) -> _Unit | None:
    """A unit by its code, which may have a power of ten before it: ``e6acre``, million acres."""
    code = code.strip()
    if found := _UNITS.get(_OTHER_NAMES.get(code, code)):
        return found
    power, rest = ("e3", code[1:]) if code.startswith("koilbbl") else (code[:2], code[2:])
    if power in _POWERS and (found := _UNITS.get(_OTHER_NAMES.get(rest, rest))):
        factor, word = _POWERS[power]
        default = found.default if found.kind == "temperature" else power + found.default
        symbol, one, many = (f"{word} {name}" for name in (found.symbol, found.one, found.many))
        return _Unit(found.kind, found.factor * factor, symbol, one, many, default)
    return None


def _value(text: str) -> Decimal | None:
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return Decimal(text.replace(",", "").replace("−", "-"))
    if (match := _MIXED.fullmatch(text)) and int(match[3]):
        return Decimal(match[1] or 0) + Decimal(match[2]) / Decimal(match[3])
    return None


def convert(parts: list[str], args: dict[str, str], language: str = "en") -> str:
    """The text of ``{{convert|...}}``; where a unit is unknown, the quantity as it was given.

    ``parts`` are the positional arguments: numbers and range words, a unit, units or a precision.
    """
    shown: list[tuple[str, str]] = []  # (range word, number as given)
    parts = [part.strip() for part in parts]
    at = 0
    while at < len(parts) and _value(parts[at]) is not None:
        word = _RANGES.get(parts[at - 1].removesuffix("(-)"), "") if at else ""
        shown.append((word, parts[at]))
        at += 1
        if at + 1 < len(parts) and parts[at].removesuffix("(-)") in _RANGES and _value(parts[at + 1]) is not None:
            at += 1
        else:
            break
    if not shown or at >= len(parts):
        return " ".join(parts)
    unit = _unit(parts[at])
    given = "".join(
        word + (group(value, language) if _NUMBER.fullmatch(number) else number)
        for word, number in shown
        if (value := _value(number)) is not None
    )
    if unit is None:
        return f"{given} {parts[at]}"
    rest = parts[at + 1 :]
    values = [value for _, number in shown if (value := _value(number)) is not None]
    one = len(values) == 1 and abs(values[0]) == 1
    spelled = _spelled(unit, given, one, args)
    # "5 ft 10 in": one quantity in two units
    if (
        len(rest) > 1
        and (low := _value(rest[0])) is not None
        and (second := _unit(rest[1]))
        and second.kind == unit.kind
    ):
        values = [values[0] + low * Decimal(second.factor / unit.factor)]
        spelled += " " + _spelled(second, group(low, language), low == 1, args)
        rest = rest[2:]
    targets = [found for word in rest if (found := _unit(word)) and found.kind == unit.kind]
    if not targets:
        compound = [
            found for word in rest for piece in word.split() if (found := _unit(piece)) and found.kind == unit.kind
        ]
        targets = compound or [found for code in (unit.default,) if (found := _unit(code))]
    precision = next((int(word) for word in rest if re.fullmatch(r"-?[0-9]", word)), None)
    places = max(_places(number) for _, number in shown)
    outputs = [
        "".join(
            word + _converted(value, unit, target, places, precision, args, language)
            for (word, _), value in zip(shown, values, strict=False)
        )
        + (f" {target.many}" if args.get("abbr") == "off" and not args.get("adj") else _glue(target.symbol))
        for target in targets
    ]
    if args.get("adj") == "mid":  # "5-foot-high"
        spelled += next((word for word in rest if word.startswith("-") and not word[1:].isdigit()), "")
    how = args.get("disp", "")
    if how in ("out", "output only", "output number only", "number"):
        return outputs[0]
    if how in ("unit", "unit2"):
        return spelled
    if args.get("order") == "flip" or how in ("flip", "flip5"):
        first = _spelled(targets[0], outputs[0].removesuffix(_glue(targets[0].symbol)), False, args)
        return f"{first} ({given}{_glue(unit.symbol)})"
    if how == "or":
        return f"{spelled} or {' or '.join(outputs)}"
    if how == "comma":
        return ", ".join((spelled, *outputs))
    return f"{spelled} ({'; '.join(outputs)})"


def _glue(symbol: str) -> str:
    return symbol if symbol.startswith("/") else " " + symbol


def _spelled(unit: _Unit, number: str, one: bool, args: dict[str, str]) -> str:
    if args.get("abbr") in ("on", "in", "yes") or unit.kind in ("temperature", "people"):
        return number + _glue(unit.symbol)
    name = unit.one if one or args.get("adj") else unit.many
    if args.get("sp") == "us":
        name = name.replace("metre", "meter").replace("litre", "liter")
    if args.get("adj"):
        return f"{number}-{name.replace(' ', '-')}"
    return f"{number} {name}"


def _places(number: str) -> int:
    """Decimal places of a number as written; negative for the zeros that end a whole number."""
    number = number.replace(",", "").strip()
    if "/" in number or "⁄" in number:
        return 1
    _, point, fraction = number.partition(".")
    if point:
        return len(fraction)
    return len(number.rstrip("0")) - len(number) if number.strip("-−+0") else 0


def _converted(
    value: Decimal,
    unit: _Unit,
    target: _Unit,
    places: int,
    precision: int | None,
    args: dict[str, str],
    language: str,
) -> str:
    if unit.kind == "temperature":
        celsius = {"°C": lambda v: v, "°F": lambda v: (v - 32) / 1.8, "K": lambda v: v - 273.15}[unit.symbol](
            float(value)
        )
        result = {"°C": celsius, "°F": celsius * 1.8 + 32, "K": celsius + 273.15}[target.symbol]
        ratio = 1.0
        places = max(places, 0)
    else:
        ratio = unit.factor / target.factor
        result = float(value) * ratio
    if precision is None:
        if re.fullmatch("[1-9]", args.get("sigfig", "")):
            wanted = int(args["sigfig"]) - 1
            precision = wanted - math.floor(math.log10(abs(result))) if result else 0
        elif re.fullmatch("[0-9]{1,6}", args.get("round", "")):
            step = int(args["round"]) or 1
            return group(Decimal(round(result / step) * step), language)
        else:
            precision = places - math.floor(math.log10(ratio) + 0.52)
            least = 1 - math.floor(math.log10(abs(result))) if result and unit.kind != "temperature" else 0
            precision = max(precision, least)
    precision = max(-30, min(precision, 30))
    rounded = Decimal(repr(result)).quantize(Decimal(1).scaleb(-precision), ROUND_HALF_UP)
    return group(Decimal(int(rounded)) if precision <= 0 else rounded, language)
