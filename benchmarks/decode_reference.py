"""Greedy texts and logits of a GGUF model against transformers on the same weights, in float32.

    python benchmarks/decode_reference.py MODEL.gguf --prompts 50 --tokens 200

Ours decodes token by token; transformers reads prompt and text at once and must find every token the most
probable one. That is the same as comparing texts, many times faster: where all tokens before are equal, the
next one is. Needs transformers.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from taesr import Decoder

SUBJECTS = (
    "the sea",
    "a bridge over a river",
    "how bread is baked",
    "the first snow of winter",
    "prime numbers",
    "a lighthouse keeper",
    "the history of printing",
    "a garden in spring",
    "how engines work",
    "a letter to a friend",
)
FORMS = (
    "Once upon a time, {}",
    "Here are ten facts about {}:",
    "Write a short poem about {}.",
    "Explain {} to a child.",
    "The most surprising thing about {} is",
)


def reference(decoder: Decoder) -> LlamaForCausalLM:
    """The same weights in transformers."""
    config = decoder.config
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_dim,
            max_position_embeddings=config.max_positions,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            tie_word_embeddings=config.tied_embeddings,
        )
    )
    weights = {name: torch.from_numpy(value) for name, value in decoder.weights().items()}
    missing = model.load_state_dict(weights, strict=False)
    if missing.unexpected_keys or set(missing.missing_keys) - {"lm_head.weight"}:
        sys.exit(f"weights do not fit: {missing}")
    return model.eval()


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=200)
    arguments = parser.parse_args()
    decoder = Decoder.load(arguments.model, precision="float32")
    model = reference(decoder)
    prompts = [form.format(subject) for subject in SUBJECTS for form in FORMS][: arguments.prompts]
    same, compared, largest = 0, 0, 0.0
    for prompt in prompts:
        tokens = decoder.encode(prompt)
        made = decoder.generate(prompt, max_tokens=arguments.tokens).tokens
        with torch.no_grad():
            logits = model(torch.tensor([tokens + made[:-1]])).logits[0].numpy()
        ours = decoder.logits(tokens + made[:-1])
        largest = max(largest, float(np.abs(ours - logits).max()))
        best = logits[len(tokens) - 1 :].argmax(1)
        equal = bool((best == np.array(made)).all())
        same += equal
        compared += len(made)
        if not equal:
            at = int(np.argmax(best != np.array(made)))
            row = np.sort(logits[len(tokens) - 1 + at])
            print(f"{prompt!r}: token {at} differs; the two best are {row[-1] - row[-2]:.2e} apart")
    print(f"{same} of {len(prompts)} texts equal ({compared} tokens)")
    print(f"largest difference of logits: {largest:.1e}")
    return 0 if same == len(prompts) else 1


if __name__ == "__main__":
    sys.exit(main())
