"""Recognises secrets by their form: private keys, tokens of known providers, passwords that are assigned or in addresses.

Prefixes and lengths are what providers hand out (2026). A token of an unknown provider is found only where it is named: `api_key
= ...`. Patterns run in time linear in the text.
"""

from __future__ import annotations

import re

_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?![0-9A-Za-z])"  # Amazon
    r"|gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{40}|gl(?:pat|ptt|dt|rt|soat)-[\w-]{20}"  # GitHub, GitLab
    r"|hf_[A-Za-z0-9]{30}|r8_[A-Za-z0-9]{30}|gsk_[A-Za-z0-9]{40}|xai-[A-Za-z0-9]{40}|pplx-[A-Za-z0-9]{40}|nvapi-[\w-]{50}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{20}|xapp-\d-[A-Za-z0-9-]{20}"  # Slack
    r"|AIza[\w-]{35}|GOCSPX-[\w-]{20}|ya29\.[\w-]{30}"  # Google
    r"|whsec_[A-Za-z0-9]{24}|SG\.[\w-]{16,32}\.[\w-]{30}|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50}"  # Stripe, SendGrid, registries
    r"|do[opr]_v1_[0-9a-f]{64}|dapi[0-9a-f]{32}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|lin_api_[A-Za-z0-9]{32}"
    r"|hv[sb]\.[\w-]{24}|tskey-[a-z]{3,8}-[A-Za-z0-9-]{16}|dp\.(?:pt|st|sa|ct)\.[\w.]{40}|PMAK-[0-9a-f]{24}-[0-9a-f]{20}"
    r"|sq0(?:atp|csp)-[\w-]{22}|EAACEdEose0cBA[A-Za-z0-9]{20}|AGE-SECRET-KEY-1[0-9A-Z]{50}"
    r"|\d{8,10}:AA[\w-]{33}(?![\w-])"  # Telegram
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10}"  # JSON web tokens
    r")"
)
_MODEL_KEY = re.compile(r"(?<![A-Za-z0-9])[sr]k[-_]([\w-]{20,240})")
"""OpenAI, Anthropic, Stripe and those who followed: sk-..., sk-proj-..., sk-ant-api03-..., sk_live_..., rk_live_..."""
_RUN = re.compile(r"[A-Za-z0-9]{16}")
"""What names in words and hyphens do not have."""
_PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d: ssh")
_WEBHOOK = re.compile(
    r"https://(?:hooks\.slack\.com/services/T\w{8,12}/B\w{8,12}/\w{20}|discord(?:app)?\.com/api/webhooks/\d{17,20}/[\w-]{60})"
)
_ADDRESS = re.compile(r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+]{1,15}://[^\s:/@'\"<>]{0,64}:([^\s:/@'\"<>]{3,128})@[\w\[]")
"""scheme://user:password@host."""
_ASSIGNED = re.compile(
    r"(?i:(?<![A-Za-z])(?:api|access|secret|auth|account|private|encryption|signing|client|refresh|session|bearer)[ _-]?"
    r"(?:access[ _-]?)?(?:key|token|secret)|(?<![A-Za-z])(?:pass(?:word|wd|phrase)|pwd))[\"']?\s{0,3}(?::?=|:|=>)\s{0,3}[\"']?"
    r"([\w/+!@$%^&*~-]{8,200}={0,2})(?![\w(\[{<]|\.\w|::)"
)
_BEARER = re.compile(
    r"(?i:authorization[\"']?\s{0,2}[:=]\s{0,2}[\"']?(?:bearer|basic|token)) ([\w/+.~-]{12,400}={0,2})"
)
_STANDS_FOR = re.compile(
    r"(?i)your|x{4}|example|placeholder|change_?me|dummy|redacted|sample|insert|replace|\*{3}|1234567890|^test|^fake|^my[_-]"
)
"""What stands for a secret in instructions."""


def holds_key(text: str) -> bool:
    """Whether a text holds something of a secret's form."""
    return bool(
        _TOKENS.search(text)
        or _PRIVATE_KEY.search(text)
        or _WEBHOOK.search(text)
        or any(_RUN.search(match[1]) and _is_random(match[1]) for match in _MODEL_KEY.finditer(text))
        or any(_is_secret(match[1]) for match in _ADDRESS.finditer(text))
        or any(_is_random(match[1]) for pattern in (_ASSIGNED, _BEARER) for match in pattern.finditer(text))
    )


def _is_secret(password: str) -> bool:
    """Whether what stands where a password does can be one: no variable, no placeholder."""
    return (
        password[0] not in "$<{[%*"
        and password.lower() not in ("pass", "passwd", "password", "pwd", "secret")
        and not (_STANDS_FOR.search(password))
    )


def _is_random(value: str) -> bool:
    """Whether it has letters and digits and does not say that it stands for something else."""
    return (
        any(character.isdigit() for character in value)
        and any(character.isalpha() for character in value)
        and not _STANDS_FOR.search(value)
    )
