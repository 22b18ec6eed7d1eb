"""Where a Mixture-of-Recursions decoder spends its passes: by part of the prompt and by class of token.

    python benchmarks/decoder_depths.py MODEL --questions squad-dev-v2.jsonl.xz --tokenizer SmolLM2.gguf

Questions in SQuAD's manner are asked as the bot asks them, with one to four numbered sources of which
one or none has the answer, and the right answer or the refusal follows (`taesr.training.grounded`). The
figures are the mean number of recursions that tokens pass when the model reads them, as the engine routes:
a token's pass makes the scores of the token after it. All tokens pass the first recursion.

Parts: "instructions" are the system message and the marks of turns, "context" the sources, "question" the
question with its label, "answer" and "refusal" what is answered. Classes go by a token's first character that
is no white space, and by the word that it stands in:

    mark                special tokens
    white space         nothing else in it
    number              begins with a digit
    punctuation         begins with neither letter nor digit
    word continuation   begins inside a word
    function word       of the list below, in capitals or not
    capitalised name    begins with a capital letter, and no sentence, line, quotation or list before it
    content word        every other word
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from taesr import Decoder
from taesr.errors import Error, InvalidArgument
from taesr.evaluation.squad import read_squad
from taesr.training.grounded import Example, GroundedExamples, GroundedOptions

PARTS = ("instructions", "context", "question", "answer", "refusal")
CLASSES = (
    "function word", "content word", "capitalised name", "word continuation", "number", "punctuation",
    "white space", "mark",
)  # fmt: skip
_FUNCTION_WORDS = """
a about above across after against all along although am among an and another any are around as at be
because been before behind being below beneath beside between beyond both but by can could did do does
doing done down during each either enough every few for from had has have having he her hers herself him
himself his how i if in inside into is it its itself just like many may me might mine more most much
must my myself near neither no nor not of off on once one only onto or other our ours ourselves out
outside over own per shall she should since so some such than that the their theirs them themselves then
there these they this those though through throughout till to too toward towards under until up upon us
very was we were what when where whether which while who whom whose why will with within without would
yet you your yours yourself yourselves
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
_WORD = re.compile(r"[^\W\d_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\W\d_]+)?")
_OPENS = re.compile(r"(?:^|[.!?:;>\n\]\"\N{LEFT DOUBLE QUOTATION MARK}\N{EM DASH}]|(?:^|\n)\s*[-*#])\s*$")


@dataclass(frozen=True)
class Token:
    """One token of a conversation."""

    part: str
    kind: str
    text: str


def main() -> int:
    options = parse()
    decoder = Decoder.load(options.model)
    shape = decoder.config
    if shape.routing == "none":
        raise InvalidArgument(
            f"{options.model} has no routers: every token passes {shape.recursions} recursions of its layers"
        )
    reader = decoder if options.tokenizer is None else Decoder.load(options.tokenizer)
    depths: dict[tuple[str, str], list[int]] = defaultdict(list)
    count = 0
    for example in examples(reader, options):
        tokens, labels = labelled(reader, example)
        for label, depth in zip(labels, decoder.trace(tokens).recursions, strict=True):
            depths[label.part, label.kind].append(depth)
        count += 1
        if sys.stderr.isatty():
            print(f"\r{count} of {options.examples}", end="", file=sys.stderr, flush=True)
    facts = report(depths, shape.recursions)
    facts |= {"model": Path(options.model).name, "routing": shape.routing, "questions": count}
    print(markdown(facts))
    if options.json:
        Path(options.json).write_text(json.dumps(facts, indent=2) + "\n")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder or GGUF file of a decoder with routers")
    parser.add_argument("--questions", required=True, help="file in SQuAD's manner, plain, .gz or .xz")
    parser.add_argument("--tokenizer", help="GGUF file with the tokenizer, where the model has none")
    parser.add_argument("--examples", type=int, default=200, help="questions to ask (default: 200)")
    parser.add_argument("--max-tokens", type=int, default=980, help="longest prompt (default: 980)")
    parser.add_argument("--unanswerable", type=float, default=0.3, help="share of refusals (default: 0.3)")
    parser.add_argument("--seed", type=int, default=0, help="draws questions and sources (default: 0)")
    parser.add_argument("--json", help="file for the figures")
    return parser.parse_args()


def examples(reader: Decoder, options: argparse.Namespace) -> Iterator[Example]:
    """Conversations of the questions, at most as many as asked for."""
    wanted = GroundedOptions(
        unanswerable=options.unanswerable, max_tokens=options.max_tokens, seed=options.seed
    )
    maker = GroundedExamples(
        read_squad(options.questions), lambda messages: len(reader.encode_chat(messages)), wanted
    )
    made = (example for example in maker.make() if example is not None)
    for _, example in zip(range(options.examples), made, strict=False):
        yield example


def labelled(reader: Decoder, example: Example) -> tuple[list[int], list[Token]]:
    """Token ids of a conversation without its last mark, and what each of them is."""
    *asked, reply = example.messages
    prompt, answer = reader.encode_chat(asked), reader.encode(reply["content"])
    tokens = [*prompt, *answer]
    text = reader.decode(tokens)
    content = asked[-1]["content"]
    begin = text.index(content)
    sources, end = begin + content.rindex("\n\nQuestion: "), begin + len(content)
    last = "answer" if example.kind == "answerable" else "refusal"
    labels: list[Token] = []
    for place, (at, piece) in enumerate(pieces(reader, tokens)):
        if piece == "":
            labels.append(replace(labels[-1], text=""))
            continue
        first = first_character(at, piece or "")
        if place >= len(prompt):
            part = last
        elif piece is not None and begin <= first < end:
            part = "context" if first < sources else "question"
        else:
            part = "instructions"
        labels.append(Token(part, "mark" if piece is None else kind_of(text, at, piece), piece or ""))
    return tokens, labels


def pieces(reader: Decoder, tokens: Sequence[int]) -> Iterator[tuple[int, str | None]]:
    """Where each token begins in the whole text, and its characters; None for special tokens.

    A character of several tokens belongs to the first of them, and the others have none.
    """
    text = reader.decode(tokens)
    before, place = "", 0
    for count in range(1, len(tokens) + 1):
        so_far = reader.decode(tokens[:count])
        end = max(place, len(so_far))
        yield place, None if so_far == before else text[place:end]
        before, place = so_far, end


def first_character(at: int, piece: str) -> int:
    """Place of the first character of `piece` that is no white space; of the first where all are."""
    return at + len(piece) - len(piece.lstrip() or piece)


def kind_of(text: str, at: int, piece: str) -> str:
    """Class of the token `piece` at `text[at:]`."""
    first = first_character(at, piece)
    if text[first].isspace():
        return "white space"
    if text[first].isdigit():
        return "number"
    if not text[first].isalpha():
        return "punctuation"
    if first == at and at > 0 and text[at - 1].isalpha():
        return "word continuation"
    word = _WORD.match(text, first)
    assert word is not None
    if word[0].lower() in FUNCTION_WORDS:
        return "function word"
    if text[first].isupper() and not _OPENS.search(text, max(0, first - 8), first):
        return "capitalised name"
    return "content word"


def report(depths: dict[tuple[str, str], list[int]], recursions: int) -> dict[str, Any]:
    """Figures by part, by class, and by both."""

    def figures(part: str | None, kind: str | None) -> dict[str, Any]:
        found = [
            depth
            for (one, other), values in depths.items()
            if part in (None, one) and kind in (None, other)
            for depth in values
        ]
        passing = [sum(depth > r for depth in found) / max(1, len(found)) for r in range(recursions)]
        return {"tokens": len(found), "mean_recursions": sum(passing), "passing": passing}

    return {
        "recursions": recursions,
        "all": figures(None, None),
        "parts": {part: figures(part, None) for part in PARTS},
        "classes": {kind: figures(None, kind) for kind in CLASSES},
        "classes_by_part": {part: {kind: figures(part, kind) for kind in CLASSES} for part in PARTS},
    }


def markdown(facts: dict[str, Any]) -> str:
    """Mean recursions: classes down, parts across, with the number of tokens."""

    def cell(figures: dict[str, Any]) -> str:
        count = figures["tokens"]
        return f"{figures['mean_recursions']:.2f} ({count})" if count else ""

    lines = [
        f"Mean recursions of {facts['recursions']} that tokens pass ({facts['model']}, {facts['routing']}, "
        f"{facts['questions']} questions), with the number of tokens.",
        "",
        f"| class | {' | '.join(PARTS)} | all |",
        "|" + "---|" * (len(PARTS) + 2),
    ]
    for kind in CLASSES:
        cells = [cell(facts["classes_by_part"][part][kind]) for part in PARTS]
        lines.append(f"| {kind} | {' | '.join(cells)} | {cell(facts['classes'][kind])} |")
    cells = [cell(facts["parts"][part]) for part in PARTS]
    lines.append(f"| all | {' | '.join(cells)} | {cell(facts['all'])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Error as error:
        sys.exit(f"decoder_depths: {error}")
