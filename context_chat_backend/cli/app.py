# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line: each command reads the configuration, opens the backend, calls one use case and prints.

Exit codes: 0 done; 1 done, but nothing was found or something is not well; 2 wrong use; 3 the configuration or this
machine must be mended first (the message says how); 4 something needed is down: try again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.progress import Progress

from context_chat_backend.cli import demo as sample
from context_chat_backend.cli import doctor as examination
from context_chat_backend.cli import import_pairs  # noqa: F401 - commands of collections
from context_chat_backend.cli import index as local_files
from context_chat_backend.cli.backup import backup, restore, upgrade_database
from context_chat_backend.cli.collections import collections
from context_chat_backend.cli.conversations import conversations
from context_chat_backend.cli.dashboard import watch
from context_chat_backend.cli.evaluate import evaluate
from context_chat_backend.cli.import_reference import import_reference
from context_chat_backend.cli.kept import kept
from context_chat_backend.cli.keys import keys
from context_chat_backend.cli.models import models
from context_chat_backend.cli.named import collection_named, local_user
from context_chat_backend.cli.planner import planner
from context_chat_backend.cli.register import register
from context_chat_backend.cli.serve import serve as serve_until_stopped
from context_chat_backend.cli.show import complaints, console, place, show_answer
from context_chat_backend.cli.sources import show_sources
from context_chat_backend.cli.start import ROOT, read_configuration, with_backend
from context_chat_backend.cli.status import show_status
from context_chat_backend.domain import Question, Reason
from context_chat_backend.errors import ConfigurationError, ContextChatError, InvalidRequest, StartError
from context_chat_backend.hardware import usable_cores, usable_memory
from context_chat_backend.wiring import Backend

NOT_WELL, WRONG_USE, TO_BE_MENDED, DOWN = 1, 2, 3, 4

app = typer.Typer(
    name="context-chat", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Permission-aware answers from your own documents.",
)  # fmt: skip

indexes = typer.Typer(no_args_is_help=True, help="The indexes of search, around a bulk load.")
app.add_typer(indexes, name="indexes")
app.add_typer(models, name="models")
app.add_typer(keys, name="keys")
app.add_typer(collections, name="collections")
app.add_typer(collections, name="collection", hidden=True)
app.add_typer(conversations, name="conversations")
app.add_typer(planner, name="planner")
app.command()(evaluate)
app.command()(import_reference)
app.command()(backup)
app.command()(restore)
app.command("upgrade-database")(upgrade_database)
app.command()(register)
app.command()(kept)

User = Annotated[str, typer.Option("--user", "-u", help="Who asks: a local user.")]
Source = Annotated[str | None, typer.Argument(help="A source by its id; all where it is missing.")]
Provider = Annotated[str | None, typer.Option("--provider", help="Of this provider alone: app__provider.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def run() -> None:
    """The entry point of the installed command `context-chat`."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    try:
        returned = app(list(arguments), standalone_mode=False)
    except (ConfigurationError, StartError) as error:
        complaints.print(f"[bold red]Cannot start:[/] {_plain(error)}")
        return TO_BE_MENDED
    except InvalidRequest as error:
        complaints.print(f"[bold red]Error:[/] {_plain(error)}")
        return WRONG_USE
    except ContextChatError as error:
        complaints.print(f"[bold red]Not available:[/] {_plain(error)}")
        return DOWN
    except typer.Abort:
        return NOT_WELL
    except Exception as error:  # typer's and click's own errors carry their message and code
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            return int(error.exit_code)
        raise
    return returned if isinstance(returned, int) else 0


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option("--config", help="The configuration, in the place of others.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Where the chat server listens.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="At which port it does.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="So many processes serve programs.")] = 1,
    worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False,
) -> None:
    """Serve Nextcloud, and programs where there are listeners for them, as environment and configuration say."""
    named = {"CC_CONFIG_PATH": config, "CHAT_HOST": host, "CHAT_PORT": port}
    told = {name: str(value) for name, value in named.items() if value is not None}
    options = {"--config": config, "--host": host, "--port": port}
    passed = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    if worker:
        told["APP_ROLE"] = "requestproc"
    settings = read_configuration(told=told)
    uvloop.run(serve_until_stopped(settings, workers=workers, arguments=passed, is_worker=worker))


@app.command()
def demo() -> None:
    """Index the sample documents, print two cited answers, and serve."""
    samples = ROOT / "samples" / "documents"
    uvloop.run(serve_until_stopped(read_configuration(quiet=True), lambda backend: sample.show(backend, samples)))


@app.command()
def index(
    path: Annotated[Path, typer.Argument(exists=True, help="A file or a folder.")],
    user: Annotated[list[str] | None, typer.Option("--user", "-u", help="Who may read it; several times.")] = None,
    reader: Annotated[list[str] | None, typer.Option("--reader", "-r", help="Who may read it, too.")] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Put it into this collection, which these users then read.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Index files of this machine; what is unchanged is left as it is."""
    readers = frozenset(local_user(name) for name in [*(user or []), *(reader or [])])
    if not readers and collection is None:
        raise InvalidRequest("--user: say who may read it, or name a --collection, whose readers do")
    into = None if collection is None else collection_named(collection)

    async def work(backend: Backend) -> int:
        files = list(local_files.files_in(path))
        with Progress(console=complaints, transient=True) as progress:
            read = progress.add_task("reading", total=len(files))
            indexed = progress.add_task("indexing", total=None)
            outcome = await local_files.index(
                backend,
                files,
                readers,
                lambda _file, _said: progress.advance(read),
                base=path.parent,
                collection=into,
                still_waiting=lambda count: progress.update(indexed, total=len(files), completed=len(files) - count),
            )
        if as_json:
            print(json.dumps(vars(outcome)))
        else:
            console.print(
                f"indexed {outcome.admitted}, unchanged {outcome.unchanged}, rejected {outcome.rejected}"
                + (" (see: status)" if outcome.rejected else "")
            )
        return NOT_WELL if outcome.rejected else 0

    return with_backend(work, indexing=True)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")], user: User, as_json: Json = False
) -> int:
    """Answer a question from what the user may read, cited."""

    async def work(backend: Backend) -> int:
        answer = await backend.answer(_question(question, user, 20))
        if as_json:
            cited = [{"source": str(c.passage.source), "place": place(c.passage)} for c in answer.citations]
            print(json.dumps({"answer": answer.text, "citations": cited}, ensure_ascii=False))
        else:
            show_answer(user, question, answer)
        return 0 if answer.citations else NOT_WELL

    return with_backend(work)


@app.command()
def search(
    question: Annotated[str, typer.Argument(help="What you are looking for.")],
    user: User,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many sources at most.")] = 10,
    as_json: Json = False,
) -> int:
    """List the sources that answer best, among those the user may read."""

    async def work(backend: Backend) -> int:
        found = await backend.find_sources(_question(question, user, limit))
        if as_json:
            rows = [{"source": str(s.ref), "title": s.title, "similarity": round(s.similarity, 4)} for s in found]
            print(json.dumps(rows, ensure_ascii=False))
        else:
            for source in found:
                console.print(f"{source.similarity:6.3f}  {source.title}", markup=False)
        return 0 if found else NOT_WELL

    return with_backend(work)


@app.command()
def status(
    source: Annotated[str | None, typer.Argument(help="A source by its id, its title or a part of that.")] = None,
    as_json: Json = False,
    watching: Annotated[bool, typer.Option("--watch", help="Show it until Ctrl-C, refreshed.")] = False,
) -> int:
    """How many sources are in which state, how fast it goes, and why some were rejected; or all about one source."""
    if watching and (source is not None or as_json):
        raise InvalidRequest("--watch: it shows the whole on a terminal, without a source and without --json")

    async def work(backend: Backend) -> int:
        if watching:
            await watch(backend, console)
            return 0
        if source is not None:
            return 0 if await show_sources(backend, source, as_json=as_json) else NOT_WELL
        await show_status(backend, as_json=as_json)
        return 0

    return with_backend(work)


@app.command()
def retry(
    source: Source = None,
    provider: Provider = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Rejected, or failed, for this reason.")] = None,
) -> int:
    """Try rejected sources again, and at once those that wait after a failed attempt.

    Quarantined ones, which killed their parser twice, must be named, or their reason.
    """
    if reason is not None and reason not in set(Reason):
        raise InvalidRequest(f"--reason: there is no such reason; there are: {', '.join(sorted(Reason))}")

    async def work(backend: Backend) -> int:
        retried = await backend.overview.retry(ref=source, provider=provider, reason=reason)
        console.print(f"{retried.due} are tried again; the service does it while it runs.")
        if retried.to_be_delivered:
            console.print(f"{retried.to_be_delivered} are tried when they are delivered again: their bytes are gone.")
        return 0 if retried.due else NOT_WELL

    return with_backend(work)


@app.command()
def reindex(source: Source = None, provider: Provider = None) -> int:
    """Index sources anew at their next delivery, though they have not changed; until then they go on answering."""

    async def work(backend: Backend) -> int:
        count = await backend.overview.reindex(ref=source, provider=provider)
        console.print(f"{count} are indexed anew when they are delivered again.")
        return 0 if count else NOT_WELL

    return with_backend(work)


@app.command()
def doctor(as_json: Json = False) -> int:
    """Check database, model, disk, configuration and Nextcloud; say what to do."""

    async def work(backend: Backend) -> int:
        findings = [finding async for finding in examination.examine(backend)]
        if as_json:
            print(json.dumps([{"what": f.what, "well": f.well, "said": f.said} for f in findings]))
        else:
            for finding in findings:
                mark = "[green]ok[/]  " if finding.well else "[bold red]BAD[/] "
                console.print(f"{mark} {finding.what}: {_plain(finding.said)}")
        return 0 if all(finding.well for finding in findings) else NOT_WELL

    return with_backend(work)


@indexes.command("drop")
def drop_indexes() -> int:
    """Before a bulk load: drop the indexes of search; searches scan until they are built again."""

    async def work(backend: Backend) -> int:
        await backend.search_indexes.drop()
        console.print("Dropped. After loading run: context-chat indexes build")
        return 0

    return with_backend(work)


@indexes.command("build")
def build_indexes(
    anew: Annotated[bool, typer.Option("--anew", help="Also those that are there.")] = False,
) -> int:
    """Build what is missing of the indexes of search with what this machine has, while searches go on."""

    async def work(backend: Backend) -> int:
        names = backend.search_indexes.names if anew else await backend.search_indexes.missing()
        for name in names:
            console.print(f"building {name} …")
            started = time.monotonic()
            await backend.search_indexes.build(name, memory=usable_memory() // 4, workers=usable_cores() - 1)
            console.print(f"  {time.monotonic() - started:.0f} s")
        if not names:
            console.print("Nothing is missing.")
        return 0

    return with_backend(work)


@app.command()
def repair() -> None:
    """Run the repair steps this installation lacks, as every start does, and stop."""
    read_configuration()
    console.print("All repair steps are done.")


def _question(text: str, user: str, limit: int) -> Question:
    text = text.replace("\x00", " ").strip()
    if not text:
        raise InvalidRequest("the question is blank")
    return Question(text, local_user(user), limit=limit)


def _plain(said: Any) -> str:
    """Text that rich prints as it is."""
    return str(said).replace("[", r"\[")
