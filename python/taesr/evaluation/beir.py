"""Reading retrieval sets in BEIR's folder layout (Thakur et al. 2021, arXiv 2104.08663).

A folder holds ``corpus.jsonl`` (``_id``, optional ``title``, ``text``), ``queries.jsonl`` (``_id``,
``text``) and ``qrels/SPLIT.tsv`` (query id, document id, whole-number grade, separated by tabs).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taesr.errors import FormatError, InvalidArgument, IoError

Qrels = dict[str, dict[str, int]]


@dataclass(frozen=True)
class RetrievalDataset:
    """Documents, the queries that have judgements, and the judgements.

    Attributes
    ----------
    name : str
        Name of the folder.
    document_ids, documents : list of str
        In file order; a document is its title and text, joined by a space.
    query_ids, queries : list of str
        In the order of the queries file; queries that nobody judged are left out.
    qrels : dict
        Query id to document id to grade; a grade above zero means relevant.
    unjudged_queries : int
        Queries of the file that were left out.
    missing_documents : int
        Relevant judgements of documents that the corpus lacks. They stay in `qrels`, as in
        trec_eval, so that they count as not found.
    """

    name: str
    document_ids: list[str]
    documents: list[str]
    query_ids: list[str]
    queries: list[str]
    qrels: Qrels
    unjudged_queries: int
    missing_documents: int


def load_beir(folder: str | Path, *, split: str = "test") -> RetrievalDataset:
    """Read one folder in BEIR layout.

    Parameters
    ----------
    folder : str or Path
        The extracted folder.
    split : str
        Which file of ``qrels`` to use, without its ending.

    Returns
    -------
    RetrievalDataset

    Raises
    ------
    IoError
        The folder or one of its files is missing.
    FormatError
        A line does not follow the layout; the message starts with ``file:line``.
    """
    root = Path(folder)
    _check_layout(root, split)
    documents = _read_texts(root / "corpus.jsonl", with_title=True)
    queries = _read_texts(root / "queries.jsonl", with_title=False)
    qrels_path = root / "qrels" / f"{split}.tsv"
    qrels = _read_qrels(qrels_path, queries)
    if not documents:
        raise FormatError(f"{root / 'corpus.jsonl'}: no documents")
    if not any(grade > 0 for judged in qrels.values() for grade in judged.values()):
        raise FormatError(f"{qrels_path}: no judgement above zero, so nothing can be measured")
    judged_queries = {query: text for query, text in queries.items() if query in qrels}
    return RetrievalDataset(
        name=root.resolve().name,
        document_ids=list(documents),
        documents=list(documents.values()),
        query_ids=list(judged_queries),
        queries=list(judged_queries.values()),
        qrels=qrels,
        unjudged_queries=len(queries) - len(judged_queries),
        missing_documents=sum(
            grade > 0 and document not in documents
            for judged in qrels.values()
            for document, grade in judged.items()
        ),
    )


def _check_layout(root: Path, split: str) -> None:
    if not split or Path(split).name != split:
        raise InvalidArgument(f"split {split!r} is not the name of a file in qrels, such as 'test' or 'dev'")
    if root.is_file():
        raise IoError(f"{root}: is a file; extract the archive and give the folder")
    if not root.is_dir():
        raise IoError(f"{root}: no such folder")
    for name in ("corpus.jsonl", "queries.jsonl"):
        if not (root / name).is_file():
            raise IoError(f"{root / name}: missing; a BEIR folder has corpus.jsonl, queries.jsonl and qrels/")
    if not (root / "qrels" / f"{split}.tsv").is_file():
        present = ", ".join(sorted(path.stem for path in (root / "qrels").glob("*.tsv"))) or "none"
        raise IoError(f"{root / 'qrels' / split}.tsv: missing; splits that are there: {present}")


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("file:line", text) of the lines that are not blank."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"{path}:{number}"
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
            except UnicodeDecodeError as error:
                raise FormatError(f"{where}: not valid UTF-8 at byte {error.start} of the line") from None
            if line.strip():
                yield where, line


def _read_texts(path: Path, *, with_title: bool) -> dict[str, str]:
    texts: dict[str, str] = {}
    for where, line in _lines(path):
        record = _parse_object(where, line)
        identifier = _identifier(where, record)
        if identifier in texts:
            raise FormatError(f"{where}: _id {identifier!r} appears a second time")
        text = _string(where, record, "text")
        title = _string(where, record, "title") if with_title and record.get("title") is not None else ""
        texts[identifier] = f"{title} {text}".strip()
    return texts


def _parse_object(where: str, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}: not valid JSON at column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise FormatError(f"{where}: JSON nested too deeply") from None
    if not isinstance(record, dict):
        raise FormatError(f"{where}: must be one JSON object, got {type(record).__name__}")
    return record


def _identifier(where: str, record: dict[str, Any]) -> str:
    identifier = record.get("_id")
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        return str(identifier)  # published sets have both spellings
    if not isinstance(identifier, str) or not identifier:
        raise FormatError(f"{where}: '_id' must be a non-empty string, got {identifier!r}")
    return identifier


def _string(where: str, record: dict[str, Any], field: str) -> str:
    value = record.get(field)
    if not isinstance(value, str):
        raise FormatError(f"{where}: {field!r} must be a string, got {type(value).__name__}")
    return value


def _read_qrels(path: Path, queries: dict[str, str]) -> Qrels:
    qrels: Qrels = {}
    for row, (where, line) in enumerate(_lines(path)):
        columns = line.split("\t")
        if len(columns) != 3:
            raise FormatError(f"{where}: needs query id, document id and grade, separated by tabs")
        query, document, grade_text = (column.strip() for column in columns)
        try:
            grade = int(grade_text)
        except ValueError:
            if row == 0:
                continue  # the header
            raise FormatError(f"{where}: grade must be a whole number, got {grade_text!r}") from None
        if query not in queries:
            raise FormatError(f"{where}: query {query!r} is not in queries.jsonl")
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise FormatError(f"{where}: query {query!r} and document {document!r} have another grade above")
    return qrels
