"""Words that insult, also where their letters are masked: `f*ck`, `b1tch`, `i d i o t`, a Cyrillic letter among Latin ones.

The lists are short and our own: what the models of the default estimate miss, since they know words as they are spelt. A
word is read where it stands, so a quotation or a word that a group uses for itself counts too.
"""

from __future__ import annotations

import re
import unicodedata


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


OBSCENE = _words(
    "fuck fucked fucking fuckin fucks shit shitty shits bullshit piss pissed dick cock pussy ass damn crap cum tits"
)
"""Strong language, harmless by itself. It is unmasked, and left to the models to judge."""
INSULTS = _words(
    "bitch bastard asshole idiot moron imbecile cretin dumbass dumbfuck dipshit shithead asshat arsehole whore slut skank"
    " motherfucker cocksucker fucker fuckface fuckwit wanker twat tosser scumbag scum douche douchebag jackass pervert"
    " pedo subhuman bimbo fatass lardass lowlife halfwit nitwit dimwit dickhead cuck incel buffoon sheeple shitbag turd"
    " fag retard retarded"
)
"""Contempt for a person; said of oneself or of things as well. Words with a harmless sense (loser, pig) are left out."""
SLURS = _words(
    "nigger nigga niglet cunt faggot kike spic gook wetback beaner raghead towelhead sandnigger jigaboo paki tranny"
    " trannie shemale gypo pikey zipperhead feminazi libtard fucktard"
)
"""Contempt for whole groups, and what is hardly ever said in kindness."""
KNOWN = OBSCENE + INSULTS + SLURS
"""Where a masked word can be several, it is the first of these."""

_INSULTS, _SLURS, _KNOWN = frozenset(INSULTS), frozenset(SLURS), frozenset(KNOWN)

SLUR_WEIGHT = 0.6
INSULT_WEIGHT = 0.3

_ALIKE = str.maketrans(
    "аеорсухіѕјԁԛԝһκοραι" + "013457@$!|€£",
    "aeopcyxisjdqwhkopai" + "oieastasiiel",
)
"""Letters of other alphabets, digits and signs that are drawn like Latin letters."""
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_SPELT = re.compile(r"(?<![\w'’.])(?:[A-Za-z]([ .*_-])(?:[A-Za-z]\1){2,14}[A-Za-z])(?![\w'’])")
_TOKEN = re.compile(r"[^\s\"“”().,;:?/\\<>\[\]{}=+~^`]{3,24}")
_REPEATED = re.compile(r"(.)\1{2,}")
_MASKS = frozenset("*#@&%$!|")
_BY_SHAPE: dict[tuple[str, int], list[str]] = {}
for _word in KNOWN:
    if len(_word) >= 4:
        _BY_SHAPE.setdefault((_word[0], len(_word)), []).append(_word)


def unmask(text: str) -> str:
    """The text with the listed words spelt out where their letters were masked; all else as it is."""
    text = _INVISIBLE.sub("", text).replace("🖕", " fuck you ")
    text = _SPELT.sub(_join, text)
    return _TOKEN.sub(_spell_out, text)


def weight(text: str) -> float:
    """How much the listed words in a text count: 0 for none, SLUR_WEIGHT, or INSULT_WEIGHT. `text`: an unmasked one."""
    found = {_plain(token) for token in re.findall(r"[^\W\d_]+", text)}
    if any(_listed(word, _SLURS) for word in found):
        return SLUR_WEIGHT
    return INSULT_WEIGHT if any(_listed(word, _INSULTS) for word in found) else 0.0


def _listed(word: str, words: frozenset[str]) -> bool:
    """Whether a word or its plural is in a list."""
    return word in words or word.removesuffix("s") in words or word.removesuffix("es") in words


def _plain(token: str) -> str:
    """Small Latin letters without accents; a letter that comes three times or more comes once."""
    decomposed = unicodedata.normalize("NFKD", token.lower())
    return _REPEATED.sub(r"\1", "".join(letter for letter in decomposed if not unicodedata.combining(letter)))


def _join(match: re.Match[str]) -> str:
    joined = match[0].replace(match[1], "")
    return joined if _listed(joined.lower(), _KNOWN) else match[0]


def _spell_out(match: re.Match[str]) -> str:
    token = match[0]
    if token.isascii() and token.isalpha() and not _REPEATED.search(token):
        return token
    if match.string.startswith("(", match.end()):  # code: pi**(1 / 2)
        return token
    letters = sum(character.isalpha() for character in token)
    if letters < 1 or sum(character.isdecimal() for character in token) > letters:
        return token
    core = token.strip("'’-!_#@&…")
    plain = _plain(core).translate(_ALIKE)
    if plain != core.lower() and plain.isalpha() and _listed(plain, _KNOWN):
        return token.replace(core, plain)
    return token.replace(core, _by_mask(core.lower()) or core)


def _by_mask(token: str) -> str | None:
    """The first listed word that a token with masked letters can stand for; its first letter must be seen, and another
    one unless all the rest are asterisks."""
    shown = sum(character not in _MASKS for character in token)
    if shown == len(token) or (shown < 2 and set(token[1:]) != {"*"}):
        return None
    for word in _BY_SHAPE.get((token[:1], len(token)), ()):
        if all(mark == letter or mark in _MASKS for mark, letter in zip(token, word, strict=True)):
            return word
    return None
