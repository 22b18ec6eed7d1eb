"""How well a small chat model answers SQuAD questions by prompting alone, with several prompts.

    python benchmarks/prompted_answers.py MODEL.gguf squad-dev-v2.jsonl.xz --count 300

This is what a fine-tuned model has to beat. `taesr eval-answers` asks with the bot's own prompt; the prompts
here ask for less, a few words instead of words with a source number, and one of them shows three examples.
F1 is of the first line of the text; a line that says that there is no answer counts as a refusal, and 0.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import taesr
from taesr.answer.draft import refuses
from taesr.answer.prompt import Message
from taesr.evaluation.answers import draw_questions
from taesr.evaluation.squad import exact_match, f1, read_squad

EXAMPLES = (
    ("The lighthouse on Gull Rock was built in 1874 by Ann Marsh.", "Who built the lighthouse?", "Ann Marsh"),
    ("Rye is grown in the valley, and sold at two markets in Ost.", "How much does the rye cost?", "unknown"),
    ("The bridge is 61 metres long and carries a tramway.", "How long is the bridge?", "61 metres"),
)


def plain(context: str, question: str) -> list[Message]:
    """The task in a sentence."""
    task = 'Answer the question with a few words from the text. If the text has no answer, say "unknown".'
    return [{"role": "user", "content": f"{task}\n\nText: {context}\n\nQuestion: {question}"}]


def system(context: str, question: str) -> list[Message]:
    """The task as the system's message."""
    task = 'You copy the shortest answer to a question from a text. Without an answer you say "unknown".'
    user = f"{context}\n\n{question}"
    return [{"role": "system", "content": task}, {"role": "user", "content": user}]


def examples(context: str, question: str) -> list[Message]:
    """The task with three examples as earlier turns."""
    messages: list[Message] = []
    for text, asked, answer in (*EXAMPLES, (context, question, "")):
        messages += plain(text, asked)
        messages.append({"role": "assistant", "content": answer})
    return messages[:-1]


PROMPTS: tuple[Callable[[str, str], list[Message]], ...] = (plain, system, examples)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--count", type=int, default=300, help="questions of each kind (default: 300)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    decoder = taesr.Decoder.load(options.model)
    chosen = draw_questions(read_squad(options.questions), options.count, options.count, seed=options.seed)
    for prompt in PROMPTS:
        begin = time.perf_counter()
        f1s, exact, refused = [], [], {True: [], False: []}
        for paragraph, question in chosen:
            made = decoder.generate(prompt(paragraph.text, question.text), max_tokens=48, stop=["\n"])
            text = made.text.strip()
            gave_up = not text or "unknown" in text.lower() or refuses(text)
            refused[bool(question.answers)].append(gave_up)
            if question.answers:
                f1s.append(0.0 if gave_up else f1(text, question.answers))
                exact.append(0.0 if gave_up else exact_match(text, question.answers))
        figures = {
            "prompt": prompt.__name__,
            "f1": sum(f1s) / len(f1s),
            "exact_match": sum(exact) / len(exact),
            "refused_answerable": sum(refused[True]) / len(refused[True]),
            "refused_unanswerable": sum(refused[False]) / max(1, len(refused[False])),
            "seconds": (time.perf_counter() - begin) / len(chosen),
        }
        print(
            json.dumps({name: v if isinstance(v, str) else round(v, 4) for name, v in figures.items()}),
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
