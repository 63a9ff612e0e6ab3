# SPDX-License-Identifier: AGPL-3.0-or-later
# ruff: noqa: E501 - a pattern is read by its groups, not by its lines
"""A judge that needs no model: patterns in five languages for what a public assistant shall not answer.

It is coarse: it knows what is often tried, and a model knows more (docs/surfaces.md).
"""

from __future__ import annotations

import re
import unicodedata

from context_chat_backend.answering.guardrails import visible

_LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})
_SPELT = re.compile(r"(?<!\w)\w(?:[ .\-_*]{1,3}\w){3,}(?!\w)")
"""Letters that stand alone, one after the other."""
_MASKED = re.compile(r"(?<=\w)[*#_](?=\w)")
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_SECRET = re.compile(
    r"\b(?:sk|pk|ghp|api|xox[bp])[-_][A-Za-z0-9_-]{16,}|\bAKIA[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY|"
    r"\b(?:password|passwort|mot de passe|contrase.a)\s*(?:is|ist|est|es|[:=])\s*\S{4,}",
    re.IGNORECASE,
)

_INJECTION = (
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:instruction|prompt|rule|guideline|direction|polic)",
    r"\b(?:print|show|reveal|repeat|output|tell me|display|leak)\b.{0,40}\b(?:system|hidden|initial|secret|your) "
    r"(?:prompt|instruction|message|rules)",
    r"\byou are now\b|\bact as\b.{0,30}\b(?:unrestricted|jailbreak|dan\b|evil)|\bdeveloper mode\b|\bjailbreak",
    r"\b(?:ignorier|vergiss|missachte|umgeh)\w*\b.{0,40}\b(?:anweisung|regel|vorgabe|instruktion)",
    r"\b(?:zeig|verrate|nenn|gib)\w*\b.{0,40}\b(?:systemprompt|system-prompt|geheime\w* anweisung|deine anweisung)",
    r"\b(?:ignore[zr]?|oublie[zr]?)\b.{0,40}\b(?:instruction|consigne|regle)",
    r"\b(?:ignora|olvida|dimentica)\w*\b.{0,40}\b(?:instruccion|regla|istruzion|regol)",
    r"\b(?:montre|revele|muestra|mostra|rivela)\w*\b.{0,40}\b(?:prompt|instructions? (?:du )?systeme|instrucciones del"
    r" sistema)",
    r"\bsafe\s*[:=]\s*true\b|</?(?:text|system|instructions?)>|\[/?inst\]|<\|im_(?:start|end)\|>",
)
_INSULTS = (
    r"\b(?:you|u|you ?are|youre|ur)\s+(?:are\s+)?(?:so\s+|such\s+)?(?:an?\s+)?(?:complete\s+|fucking\s+|stupid\s+)?"
    r"(?:useless|stupid|idiot|moron|dumb|worthless|trash|garbage|pathetic|retard\w*|piece of shit|asshole|bitch)\b",
    r"\bfuck(?:ing)? (?:you|off|idiot)|\bfuckyou\b|\bshut up\b|\bgo to hell\b|\bkill yourself\b|\bson of a bitch\b|\basshole\b",
    r"\b(?:du|sie sind|ihr seid)\b.{0,20}\b(?:idiot|dumm|nutzlos|wertlos|arschloch|trottel|scheisse|vollidiot)",
    r"\bhalt(?:s| das| die)? (?:maul|fresse|klappe)\b|\barschloch\b|\bfick dich\b|\bverpiss dich\b",
    r"\b(?:tu es|vous etes)\b.{0,20}\b(?:idiot|stupide|inutile|nul|con\b|conne|debile)|\bta gueule\b|\bconnard\b|\bva te faire\b",
    r"\b(?:eres|es usted|sei|siete)\b.{0,20}\b(?:idiota|inutil\w*|estupid\w*|imbecil\w*|stupid\w*|tont\w)\b|\bvaffanculo\b|"
    r"\bhijo de puta\b|\bcallate\b|\bstronzo\b|\bvete a la mierda\b",
    r"youareuseless|youarestupid|youareanidiot|youidiot|dubistdumm|tuesstupide|eresestupid",
)
_MAKING = (
    r"(?:how (?:to|do (?:i|you|we)|can (?:i|you|we)|would)|teach me|show me how|instructions? (?:for|to)|recipe for|steps to|"
    r"help me|explain how|wie (?:baue|mache|stelle|kann|koche|hacke|bastle|knacke|fertige)|anleitung (?:zum|fur|zur)|"
    r"comment (?:fabriquer|faire|pirater|cuisiner|preparer|construire|synthetiser)|"
    r"como (?:puedo |se )?(?:hacer|fabricar|hackear|cocinar|construir|preparar|hago|fabrico)|"
    r"come (?:posso |si )?(?:costruire|fare|hackerare|cucinare|preparare|fabbricare|costruisco|faccio|preparo))"
)
_HARM = (
    r"(?:bomb(?:e|en|es|a|as|s|ing)?\b|explosiv\w*|sprengstoff|sprengsatz|molotov|grenade\w*|granat\w*|pipe bomb|nerve agent|ricin|"
    r"meth(?:amphetamin\w*|amfetamin\w*)?\b|crack cocaine|kokain|cocain\w*|heroin\w*|lsd\b|drogen?\b|drogue\w*|drogas?\b|droghe|"
    r"hack(?:en|er)?\b|pirater|hackear|hackerare|ransomware|keylogger|malware|phishing|ddos|passw(?:or|oe)rt\w* knack\w*|"
    r"steal|stehlen|voler\b|robar|rubare|gun\b|guns\b|firearm\w*|silencer|schusswaffe\w*|waffe\w*|arme a feu|armas? de fuego|pistol\w*|"
    r"poison (?:someone|my|a person|him|her)|vergift\w*|empoisonner|envenenar|avvelenare|counterfeit|falschgeld)"
)
_HOWTO = (
    r"\b(?:comment|como|come|wie kann|wie|how (?:do|can|to))\b.{0,30}\b(?:pirater|hackear|hackerare|robar|rubare|voler|stehlen|steal)\b",
    rf"{_MAKING}\b.{{0,80}}{_HARM}",
    r"\b(?:build|make|assemble|cook|synthesi[sz]e|buy)\b.{0,30}\b(?:bombs?|explosives?|meth\w*|heroin|ricin|ghost gun|ransomware)\b",
    r"\bhack (?:into|my|his|her|their|the)\b|\bcrack (?:a|the|his|her) password|\bbypass (?:the )?(?:alarm|lock|login|firewall)",
)
_MEDICAL = (
    r"\b(?:how much|how many|what dose|which dose|what dosage)\b.{0,50}\b(?:ibuprofen|paracetamol|insulin|aspirin|antibiotic\w*|"
    r"pills?|tablets?|medication|morphine|xanax|warfarin)\b.{0,40}\b(?:i|my|me|we)\b",
    r"\bshould i (?:take|stop taking|increase|double)\b.{0,50}\b(?:medic|pill|dose|tablet|insulin|antibiotic|antidepressant|drug)",
    r"\b(?:do i have (?:an? |the )?(?:cancer|diabetes|flu|infection|disease|depression|stroke|heart attack)|diagnose me|what disease do i|is my (?:lump|rash|mole|chest pain)|am i having a)\b",
    r"\b(?:soll ich|darf ich|wie viel\w*)\b.{0,60}\b(?:medikament|tablette|insulin|ibuprofen|antibiotik|dosis)\w*.{0,30}\b(?:nehmen|absetzen|"
    r"einnehmen|spritzen)",
    r"\b(?:dois-je|devrais-je|dois je|combien de)\b.{0,60}\b(?:medicament|comprime|insuline|ibuprofene|antibiotique|dose)",
    r"\b(?:debo|cuant[oa]s?)\b.{0,60}\b(?:medicamento|pastilla|insulina|ibuprofeno|antibiotico|dosis)\w*.{0,30}\b(?:tomar|dejar)",
    r"\b(?:devo|quant[aeio]|posso)\b.{0,60}\b(?:medicin|pastiglia|insulina|ibuprofene|antibiotic|dose)\w*.{0,30}\b(?:prendere|smettere)|"
    r"\bdevo (?:prendere|smettere)\b.{0,40}\b(?:medicin|pastigli|insulin|antibiotic)",
    r"\b(?:debo|puedo)\b.{0,30}\b(?:tomar|dejar)\b.{0,40}\b(?:medicament|pastilla|insulina|antibiotico)",
)
_PATTERNS = [re.compile(pattern) for pattern in (*_INJECTION, *_INSULTS, *_HOWTO, *_MEDICAL)]


class SafetyRules:
    """Finds attacks on instructions, secrets and card numbers, insults, how to do harm, and personal medical advice."""

    async def allows(self, text: str) -> bool:
        """See ports.Moderator."""
        seen = visible(text)
        if _SECRET.search(seen) or any(_is_card(found[0]) for found in _CARD.finditer(seen)):
            return False
        return not any(pattern.search(form) for form in _forms(seen) for pattern in _PATTERNS)

    async def close(self) -> None:
        """Nothing is held."""


def _forms(text: str) -> list[str]:
    """What a text says: as it is written, with digits for letters, with what is spelt joined, and backwards."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = " ".join("".join(one for one in decomposed if not unicodedata.combining(one)).replace("ß", "ss").split())
    leet = plain.translate(_LEET)
    unmasked = _MASKED.sub("", leet)
    joined = _SPELT.sub(lambda found: re.sub(r"[\W_]", "", found[0]), leet)
    return list(dict.fromkeys([plain, leet, unmasked, joined, leet[::-1]]))


def _is_card(text: str) -> bool:
    """Whether digits are the number of a card (Luhn)."""
    digits = [int(one) for one in text if one.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 else digit for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0 and len(set(digits)) > 1
