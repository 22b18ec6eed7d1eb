"""taesr collection: what is done with collections as wholes. No model is loaded."""

import argparse
import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taesr.cli import options
from taesr.cli.output import note, print_json
from taesr.cli.progress import Progress
from taesr.errors import InvalidArgument

if TYPE_CHECKING:
    from taesr._core import Snapshot


@dataclasses.dataclass(frozen=True)
class _Told:
    """What a command did: for programs, and for people."""

    facts: Any
    text: str
    code: int = 0


Work = Callable[[argparse.Namespace], _Told]


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "collection",
        help="list, copy, export, import, snapshot, restore, compact, check collections",
        description="What is done with collections as wholes. Reading may go on beside; what changes a "
        "collection fails at once while it is open for writing elsewhere.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _add(actions, "list", _list, "describe the collections in a folder")
    listing.add_argument("root", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: here")
    copying = _add(actions, "copy", _copy, "copy a collection, beside a writer or not")
    _add_directory(copying)
    _add_target(copying)
    exporting = _add(actions, "export", _export, "write a collection as JSON lines and .npy files")
    _add_directory(exporting)
    _add_target(exporting)
    importing = _add(actions, "import", _import, "make a collection of what export wrote")
    importing.add_argument("folder", type=Path, metavar="FOLDER", help="what export wrote")
    _add_target(importing)
    removing = _add(actions, "remove", _remove, "remove documents by id or by metadata")
    _add_directory(removing)
    removing.add_argument("ids", nargs="*", metavar="ID", help="document; unknown ones are ignored")
    removing.add_argument(
        "--filter",
        type=options.key_value,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="remove all documents with this metadata; may be given several times",
    )
    _register_upkeep(actions)


def _register_upkeep(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    snapshot = _add(actions, "snapshot", _snapshot, "keep a copy of what a collection holds now")
    _add_directory(snapshot)
    snapshot.add_argument(
        "--keep", type=options.positive, default=0, metavar="N", help="drop older ones (default: none)"
    )
    snapshot.add_argument("--list", action="store_true", help="make none, list those there are")
    restore = _add(actions, "restore", _restore, "go back to a snapshot; what is there is kept as one")
    _add_directory(restore)
    which = restore.add_mutually_exclusive_group()
    which.add_argument("name", nargs="?", metavar="NAME", help="its name or the beginning (default: latest)")
    which.add_argument(
        "--at", type=_time, metavar="TIME", help='the last one made until then, such as "2026-11-22 08:30"'
    )
    _add_directory(_add(actions, "compact", _compact, "give back the space of what was deleted"))
    _add_directory(_add(actions, "check", _check, "read everything and look for damage"))


def _add(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, work: Work, text: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
    )
    options.add_json(parser)

    def run(arguments: argparse.Namespace) -> int:
        told = work(arguments)
        if arguments.json:
            print_json(told.facts)
        elif told.text:
            print(told.text)
        return told.code

    parser.set_defaults(run=run)
    return parser


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder of the collection")


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="TARGET", help="folder to make; absent or empty")


def _time(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-11-22 08:30") from None


def _list(arguments: argparse.Namespace) -> _Told:
    from taesr.maintenance import list_collections

    found = list_collections(arguments.root)
    names = ("fingerprint", "dimension", "documents", "chunks", "generation", "bytes", "problem")
    facts = [
        {"directory": str(info.directory), **{name: getattr(info, name) for name in names}} for info in found
    ]
    lines = [
        f"{info.directory}: {info.problem}"
        if info.problem
        else f"{info.directory}: {info.documents:,} documents, {info.chunks:,} chunks, {_size(info.bytes)}, "
        f"{info.dimension} dimensions of model {info.fingerprint[:8]}"
        for info in found
    ]
    return _Told({"collections": facts}, "\n".join(lines) or f"no collection in {arguments.root}")


def _copy(arguments: argparse.Namespace) -> _Told:
    from taesr.maintenance import copy_collection

    copy_collection(arguments.directory, arguments.target)
    return _Told({"target": str(arguments.target)}, f"{arguments.target} is a copy of {arguments.directory}")


def _export(arguments: argparse.Namespace) -> _Told:
    from taesr.maintenance import export_collection

    with Progress() as progress:
        report = export_collection(
            arguments.directory,
            arguments.target,
            progress=lambda done, total: progress.update("export", done, total),
        )
    return _transferred(report.documents, report.chunks, "written to", arguments.target)


def _import(arguments: argparse.Namespace) -> _Told:
    from taesr.maintenance import import_collection

    with Progress() as progress:
        report = import_collection(
            arguments.folder,
            arguments.target,
            progress=lambda done, total: progress.update("import", done, total),
        )
    return _transferred(report.documents, report.chunks, "in", arguments.target)


def _transferred(documents: int, chunks: int, where: str, target: Path) -> _Told:
    facts = {"documents": documents, "chunks": chunks, "target": str(target)}
    return _Told(facts, f"{documents:,} documents in {chunks:,} chunks {where} {target}")


def _remove(arguments: argparse.Namespace) -> _Told:
    from taesr.maintenance import remove_documents

    if bool(arguments.ids) == bool(arguments.filter):
        raise InvalidArgument("name documents by their ids or by --filter, one of the two")
    filters: dict[str, str] = {}
    for key, value in arguments.filter:
        if filters.setdefault(key, value) != value:
            raise InvalidArgument(f"--filter {key} has two values, which no document has at once")
    removed = remove_documents(arguments.directory, arguments.ids, filter=filters or None)
    return _Told({"removed": removed}, f"{removed:,} documents removed")


def _snapshot(arguments: argparse.Namespace) -> _Told:
    from taesr.maintenance import create_snapshot, list_snapshots

    if arguments.list:
        found = list_snapshots(arguments.directory)
        lines = [f"{snapshot.name}   {_size(snapshot.bytes)}" for snapshot in found]
        facts = [_snapshot_facts(snapshot) for snapshot in found]
        return _Told({"snapshots": facts}, "\n".join(lines) or f"no snapshot in {arguments.directory}")
    made = create_snapshot(arguments.directory, keep=arguments.keep)
    return _Told(_snapshot_facts(made), f"{made.name}   {_size(made.bytes)}")


def _restore(arguments: argparse.Namespace) -> _Told:
    from taesr.maintenance import restore_snapshot

    restored = restore_snapshot(arguments.directory, arguments.name, at=arguments.at)
    return _Told(_snapshot_facts(restored), f"{arguments.directory} is as it was at {restored.name}")


def _compact(arguments: argparse.Namespace) -> _Told:
    from taesr.maintenance import compact_collection

    report = compact_collection(arguments.directory)
    facts = {"bytes_before": report.bytes_before, "bytes_after": report.bytes_after}
    return _Told(facts, f"{_size(report.bytes_before)} before, {_size(report.bytes_after)} now")


def _check(arguments: argparse.Namespace) -> _Told:
    from taesr.maintenance import check_collection

    report = check_collection(arguments.directory)
    names = ("documents", "chunks", "problems", "notes")
    if not arguments.json:
        for line in (*report.problems, *report.notes):
            note(line)
    verdict = f"{len(report.problems)} problems" if report.problems else "sound"
    text = f"{arguments.directory}: {report.documents:,} documents in {report.chunks:,} chunks, {verdict}"
    return _Told({name: getattr(report, name) for name in names}, text, 1 if report.problems else 0)


def _snapshot_facts(snapshot: "Snapshot") -> dict[str, Any]:
    made = datetime.datetime.fromtimestamp(snapshot.milliseconds / 1000, datetime.UTC)
    return {
        "name": snapshot.name,
        "time": made.isoformat(timespec="milliseconds"),
        "generation": snapshot.generation,
        "bytes": snapshot.bytes,
    }


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
