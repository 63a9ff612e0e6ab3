# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is said when nothing was found, or is left of it: so, in the language of the question, and where was looked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from context_chat_backend.domain import EVERYTHING, FILES, Answer, Collection, Scope
from context_chat_backend.language import detect

_NAMED = 5
"""So many collections, apps or types are named."""
_IDEOGRAPH, _KANA = re.compile(r"[\u4e00-\u9fff]"), re.compile(r"[\u3040-\u30ff]")


@dataclass(frozen=True, slots=True)
class _Words:
    """A language."""

    nothing: str
    searched: str
    files: str
    collection: str
    app: str
    chosen: str
    types: str
    folder: str
    since: str
    until: str
    withdrawn: str


_ENGLISH = _Words(
    "I found nothing about this in the documents you can read.",
    "Searched", "files", "collection", "app", "chosen documents", "types", "folder", "changed since", "changed before",
        "Your access to a source of this answer changed while it was written: please ask again.",
)  # fmt: skip
_LANGUAGES: Mapping[str, _Words] = {
    "german": _Words(
        "In den Dokumenten, die Sie lesen dürfen, habe ich dazu nichts gefunden.",
        "Durchsucht", "Dateien", "Sammlung", "App", "ausgewählte Dokumente", "Arten", "Ordner", "geändert seit",
        "geändert vor",
        "Ihr Zugriff auf eine Quelle dieser Antwort hat sich inzwischen geändert: bitte fragen Sie noch einmal.",
    ),
    "french": _Words(
        "Je n'ai rien trouvé à ce sujet dans les documents que vous pouvez lire.",
        "Recherche dans", "fichiers", "collection", "application", "documents choisis", "types", "dossier",
        "modifiés depuis", "modifiés avant",
        "Votre accès à une source de cette réponse a changé entre-temps : veuillez poser la question à nouveau.",
    ),
    "spanish": _Words(
        "No he encontrado nada sobre esto en los documentos que usted puede leer.",
        "Se ha buscado en", "archivos", "colección", "aplicación", "documentos elegidos", "tipos", "carpeta",
        "modificados desde", "modificados antes de",
        "Su acceso a una fuente de esta respuesta cambió mientras se escribía: pregunte de nuevo, por favor.",
    ),
    "italian": _Words(
        "Non ho trovato nulla al riguardo nei documenti che può leggere.",
        "Cercato in", "file", "raccolta", "app", "documenti scelti", "tipi", "cartella", "modificati dal",
        "modificati prima del",
        "Il suo accesso a una fonte di questa risposta è cambiato mentre veniva scritta: chieda di nuovo, per favore.",
    ),
    "dutch": _Words(
        "In de documenten die u mag lezen heb ik hierover niets gevonden.",
        "Gezocht in", "bestanden", "verzameling", "app", "gekozen documenten", "soorten", "map", "gewijzigd sinds",
        "gewijzigd vóór",
        "Uw toegang tot een bron van dit antwoord veranderde terwijl het werd geschreven: stel de vraag opnieuw.",
    ),
    "portuguese": _Words(
        "Não encontrei nada sobre isto nos documentos que pode ler.",
        "Pesquisado em", "ficheiros", "coleção", "aplicação", "documentos escolhidos", "tipos", "pasta",
        "alterados desde", "alterados antes de",
        "O seu acesso a uma fonte desta resposta mudou enquanto era escrita: pergunte de novo, por favor.",
    ),
    "romanian": _Words(
        "Nu am găsit nimic despre aceasta în documentele pe care le puteți citi.",
        "S-a căutat în", "fișiere", "colecție", "aplicație", "documente alese", "tipuri", "dosar", "modificate din",
        "modificate înainte de",
        "Accesul dumneavoastră la o sursă a acestui răspuns s-a schimbat între timp: vă rugăm să întrebați din nou.",
    ),
    "russian": _Words(
        "В документах, которые вам доступны, я ничего об этом не нашёл.",
        "Поиск", "файлы", "коллекция", "приложение", "выбранные документы", "типы", "папка", "изменены с",
        "изменены до",
        "Ваш доступ к одному из источников этого ответа изменился, пока он писался: пожалуйста, спросите ещё раз.",
    ),
    "chinese": _Words(
        "在您可以阅读的文件中，我没有找到相关内容。",
        "已搜索", "文件", "文集", "应用", "所选文件", "类型", "文件夹", "修改日期不早于", "修改日期早于",
        "在撰写此回答期间，您对其中一个来源的访问权限发生了变化：请重新提问。",
    ),
}  # fmt: skip


def nothing_found(question: str, scope: Scope = EVERYTHING) -> Answer:
    """The honest sentence, in the language of the question where we have it, with what `scope` left to be searched."""
    words = _LANGUAGES.get(_language(question), _ENGLISH)
    searched = "; ".join(_searched(scope, words))
    return Answer(f"{words.nothing} {words.searched}: {searched}." if searched else words.nothing)


def withdrawn(question: str) -> Answer:
    """What is said instead of an answer one of whose sources its asker may not read any more."""
    return Answer(_LANGUAGES.get(_language(question), _ENGLISH).withdrawn, blocked=True)


def _language(question: str) -> str:
    if _IDEOGRAPH.search(question) and not _KANA.search(question):
        return "chinese"
    return detect(question)


def _searched(scope: Scope, words: _Words) -> Iterator[str]:
    if scope.providers is not None:
        yield _listed([_provider(provider, words) for provider in scope.providers])
    if scope.sources is not None:
        yield f"{words.chosen}: {len(scope.sources)}"
    if scope.media_types is not None:
        yield f"{words.types}: {_listed(list(scope.media_types))}"
    if scope.path:
        yield f"{words.folder}: {' '.join(scope.path.split())}"
    if scope.since is not None:
        yield f"{words.since} {scope.since.date().isoformat()}"
    if scope.until is not None:
        yield f"{words.until} {scope.until.date().isoformat()}"


def _provider(provider: str, words: _Words) -> str:
    if provider == FILES:
        return words.files
    if (collection := Collection.of_provider(provider)) is not None:
        return f"{words.collection} {collection.name}"
    return f"{words.app} {provider.partition('__')[0]}"


def _listed(names: list[str]) -> str:
    named = list(dict.fromkeys(names))
    return ", ".join(named[:_NAMED]) + (" …" if len(named) > _NAMED else "")
