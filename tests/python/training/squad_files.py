"""Small files in SQuAD's manner, written for the tests."""

import json
from pathlib import Path
from typing import Any

COLOURS = ["red", "green", "blue", "white", "black", "yellow", "brown", "orange"]
CITIES = ["Alton", "Brackley", "Corby", "Dover", "Epsom", "Fowey", "Garstang", "Helston"]


def paragraph(article: int, n: int) -> dict[str, Any]:
    """A paragraph about lamp `n` of an article, and two questions that only it answers."""
    colour, city = COLOURS[(article + n) % 8], CITIES[(3 * article + n) % 8]
    year = 1900 + 10 * article + n
    return {
        "title": f"Lamp_works_{article}",
        "para": n,
        "context": f"The works in {city} made the {colour} lamp number {article}{n} in {year}. "
        f"Its first engineer was Ada {city}son, who left the works before the war.",
        "qas": [
            {"question": f"In what year did {city} make lamp number {article}{n}?", "answers": [str(year)]},
            {"question": f"Who was the engineer of lamp number {article}{n}?", "answers": [f"Ada {city}son"]},
        ],
    }


def write(path: Path, *, articles: int = 6, paragraphs: int = 5) -> Path:
    """Write a file of articles."""
    lines = [json.dumps(paragraph(a, n)) for a in range(articles) for n in range(paragraphs)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
