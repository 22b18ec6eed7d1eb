"""The bundled knowledge base: articles about the library itself, and questions that they answer."""

from pathlib import Path

KNOWLEDGE_BASE = Path(__file__).parent / "knowledge_base"

# Each with the document that answers it.
QUESTIONS = (
    ("How do I read a folder of documents into a collection?", "documents/ingest-a-folder.md"),
    ("Which file formats can I ingest?", "documents/supported-file-formats.md"),
    ("How do I move a collection to another computer?", "collections/move-or-back-up.md"),
    ("Why does the bot say that it is not sure?", "answers/confidence-and-not-sure.md"),
)
UNANSWERABLE = "What is the best pizza in Naples?"
