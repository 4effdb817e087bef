"""Units of measure: their names, and the exact factors between those of one kind.

Policy: words that name no measure ("18 eggs") do not count, nor does a unit that only one side states. Two stated units
must be the same measure; `1 hour` is `60 minutes` where the scorer's `units` option says "convert".
"""

from __future__ import annotations

import re
from fractions import Fraction

SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
SCALES |= {f"{name}s": size for name, size in SCALES.items() if name != "dozen"}
NO_UNIT = frozenset(
    re.findall(
        r"\w+",
        "times plus minus negative half halves third thirds quarter quarters fourth fourths fifth tenth"
        " factorial over mod modulo choose root not sin cos tan cot sec csc log exp max min gcd lcm det dim div and or"
        " either maybe perhaps possibly probably but wrong incorrect false is are isn was if else except than then so"
        " because since infinity pi base equals equal no zero lor"
        " tens fifths sixths sevenths eighths ninths tenths hundredth hundredths thousandth thousandths",
    )
)
"""Words that may be part of a formula, or that take back what was said: no unit has them."""
_MEASURES = """
mm millimeter millimetre: length 1/1000
cm centimeter centimetre: length 1/100
dm decimeter decimetre: length 1/10
m meter metre: length 1
km kilometer kilometre: length 1000
in inch inches: length 127/5000
ft foot feet: length 381/1250
yd yard: length 1143/1250
mi mile: length 201168/125
mg milligram: mass 1/1000
g gram: mass 1
kg kilogram kilo: mass 1000
t tonne: mass 1000000
lb lbs pound: weight 16
oz ounce: weight 1
ml milliliter millilitre: volume 1/1000
cl centiliter centilitre: volume 1/100
l liter litre: volume 1
gallon gal: liquid 16
quart qt: liquid 4
pint pt: liquid 2
cup: liquid 1
ms millisecond: time 1/1000
s sec second: time 1
minute min mins: time 60
h hr hour: time 3600
day: time 86400
week: time 604800
month: months 1
year yr: months 12
dollar usd: dollars 100
cent ¢: dollars 1
euro € eur: euros 1
£ gbp: pounds 1
¥ yen yuan: yens 1
degree deg \\circ °: angle 1
radian rad: radians 1
hz hertz: frequency 1
watt: power 1
joule: energy 1
newton: force 1
volt: voltage 1
square sq: square 1
cubic cu: cubic 1
per /: per 1
forenoon: forenoon 1
afternoon: afternoon 1
': prime 1
'': primes 1
"""
_FACTORS: dict[str, tuple[str, Fraction]] = {}
_NAMES: dict[str, str] = {}
for _line in _MEASURES.strip().splitlines():
    _names, _, _about = _line.partition(": ")
    _kind, _factor = _about.split()
    for _name in _names.split():
        _NAMES[_name] = _names.split()[0]
    _FACTORS[_names.split()[0]] = (_kind, Fraction(_factor))


def measures(words: list[str]) -> tuple[str, ...]:
    """The measures that the words name, in short; nothing where one of them names none."""
    words = " ".join(words).replace("mph", "mi per h").replace("kmh", "km per h").split()
    names = [_NAMES.get(word) or _NAMES.get(word.removesuffix("s")) for word in words]
    return tuple(name for name in names if name) if all(names) else ()


def is_measure(word: str) -> bool:
    """Whether a word, as it was written, names a measure."""
    return word.lower() in _NAMES or word.lower().removesuffix("s") in _NAMES


def factor(unit: tuple[str, ...], other: tuple[str, ...]) -> Fraction | None:
    """What a number with one unit is multiplied by to have the other; None where they measure different things.

    Units may be powers (`square m`) and quotients (`km per h`).
    """
    one, two = _meaning(unit), _meaning(other)
    if one is None or two is None or one[0] != two[0]:
        return None
    return one[1] / two[1]


def _meaning(unit: tuple[str, ...]) -> tuple[tuple[tuple[str, int], ...], Fraction] | None:
    dimensions: dict[str, int] = {}
    total = Fraction(1)
    power, sign = 1, 1
    for name in unit:
        if name in ("square", "cubic"):
            power = 2 if name == "square" else 3
        elif name == "per":
            sign = -1
        else:
            kind, size = _FACTORS[name]
            dimensions[kind] = dimensions.get(kind, 0) + sign * power
            total *= size ** (sign * power)
            power = 1
    return (tuple(sorted(dimensions.items())), total) if power == 1 else None
