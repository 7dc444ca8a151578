"""The patterns of words.

Published pre-tokenizers that cut in several passes are in part written as one pattern here: a look-ahead that stopped
at the end of a pass's piece names the characters that begin the next piece instead. Every repetition is possessive or
backs off over one run once, so that matching is linear in the text.

Sources: GPT-2's encoder; the tokenizer.json of the models after which patterns are called; Kimi's tokenization_kimi.py;
llama.cpp `src/llama-vocab.cpp` for which pattern goes with which name.
"""

from __future__ import annotations

_CONTRACTION = r"'(?i:[sdmt]|ll|ve|re)"
_NEWLINES = r"\s*[\r\n]+"
_SPACES = r"\s+(?!\S)|\s+"
_END = rf"{_NEWLINES}|{_SPACES}"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]++"

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s+"

LLAMA3 = rf"{_CONTRACTION}|{_LEAD}+\p{{L}}++|\p{{N}}{{1,3}}+|{_SYMBOLS}[\r\n]*+|{_END}"

QWEN2 = LLAMA3.replace(r"\p{N}{1,3}+", r"\p{N}")

# A mark may be what leads a word, or its first character.
QWEN35 = rf"{_CONTRACTION}|{_LEAD}[\p{{L}}\p{{M}}]++|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]++[\r\n]*+|{_END}"

# Pass 1 isolates each digit, pass 2 is GPT-2's.
SMOLLM = r"\p{N}|'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?[^\s\p{L}\p{N}]++|\s+(?![^\s\p{N}])|\s+"

# Pass 1 isolates runs of punctuation, pass 2 is GPT-2's, pass 3 isolates runs of numbers, pass 4 triples of digits 0-9.
DEFAULT = (
    r"[\p{P}$+<=>^~|]++|[0-9]{3}|(?:(?![0-9]{3})\p{N})++| ?\p{L}++"
    r"| ?[^\s\p{L}\p{N}\p{P}$+<=>^~|]++|\s+(?![^\s\p{P}$+<=>^~|])|\s+"
)

BAILING = LLAMA3.replace(r"\p{N}{1,3}+", r"\p{N}").replace(_NEWLINES, r"\s*[\r\n]")

SEED_CODER = rf"{_CONTRACTION}|{_LEAD}+\p{{L}}++|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]++|{_END}"

UFAKZEKA = QWEN2.removeprefix(f"{_CONTRACTION}|")

_SPACED_LETTERS = r"(?:\p{L}\p{M}*+(?: \p{L}\p{M}*+)*+)++"
EXAONE_MOE = rf"{_CONTRACTION}|{_LEAD}{_SPACED_LETTERS}|\p{{N}}|{_SYMBOLS}[\r\n/]?|\s*[\r\n]|{_SPACES}"

# Where white space goes on behind a match, there is no line feed ahead.
JAIS2 = (
    rf"{_CONTRACTION}|{_LEAD}+\p{{L}}++|\p{{N}}{{1,3}}+|{_SYMBOLS}[\r\n]*+|(?<![^\S\r\n]){_NEWLINES}|"
    + "|".join(rf"\s{{{count}}}(?!\S)" for count in (512, 256, 128, 64, 32, 16, 8, 4, "1,2"))
    + r"|\s"
)


def _cased(upper: str, lower: str, lead: str = _LEAD, after: str = rf"(?:{_CONTRACTION})?+") -> str:
    """Words that go from capitals to small letters; letters without case are both. after: what may end them."""
    return f"{lead}{upper}*{lower}++{after}|{lead}{upper}++{lower}*+{after}"


_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"

GPT4O = rf"{_cased(_UPPER, _LOWER)}|\p{{N}}{{1,3}}+|{_SYMBOLS}[\r\n/]*+|{_END}"

TEKKEN = rf"{_cased(_UPPER, _LOWER, after='')}|\p{{N}}|{_SYMBOLS}[\r\n/]*+|{_END}"

# Case counts for letters of ASCII only.
GRANITE_EMBED = (
    _cased(r"(?:(?![a-z])[\p{L}\p{M}])", r"(?:(?![A-Z])[\p{L}\p{M}])") + rf"|\p{{N}}{{1,3}}+|{_SYMBOLS}[\r\n/]*+|{_END}"
)

_HAN_APART = (rf"[{letters[1:-1]}&&[^\p{{Han}}]]" for letters in (_UPPER, _LOWER))
KIMI_K2 = rf"\p{{Han}}++|{_cased(*_HAN_APART)}|\p{{N}}{{1,3}}+|{_SYMBOLS}[\r\n]*+|{_END}"

_ASCII_SYMBOL = r"[!-/:-@\[-`{-~]"
_WORDS = r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]++"

DEEPSEEK3 = rf"{_ASCII_SYMBOL}[A-Za-z]++|{_WORDS}| ?[\p{{P}}\p{{S}}]++[\r\n]*+|{_END}"

SPARK = rf"{_ASCII_SYMBOL}[A-Za-z]++|{_WORDS}| ?[\p{{P}}\p{{S}}]++|[\r\n]|{_SPACES}"

BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]++"

CHAMELEON = (
    "<sentinel:[0-9]++>", "IMGIMG[A-I]{1,4}Z", r"[\t\n]|    |  ", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]",
)  # fmt: skip

# Backwards, so that the first group of a long number is the short one.
TRIPLES_OF_NUMBERS = r"(?r)\p{N}{1,3}"
TRIPLES_OF_DIGITS = r"(?r)\d{3}"

CJK_AND_HANGUL = "[一-龥ࠀ-一가-퟿]++"
CJK_AND_KANA = "[一-龥぀-ゟ゠-ヿ]++"
ASIAN = (
    "[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-"
    "\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]++"
)
YOUTU_SCRIPTS = "[가-힣ㄱ-ㆎ]++|[！…“”‘’—：；，、-〿︰-﹏]++|[ㄅ-ㄯ]++|[一-龥぀-ゟ゠-ヿ]++"

_CASED_SCRIPTS = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-"
    "\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-"
    "\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf"
    "\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-"
    "\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc"
    "\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115"
    "\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e"
    "\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-"
    "\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-"
    "\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)
_ASCII_AND_WIDE_MARKS = r"[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]"
DEEPSEEK_LLM = (
    "[\r\n]", rf"\s?[{_CASED_SCRIPTS}]++", rf"\s?{_ASCII_AND_WIDE_MARKS}++", r"(?<!\s)\s++\Z", CJK_AND_HANGUL,
    r"\p{N}++",
)  # fmt: skip
