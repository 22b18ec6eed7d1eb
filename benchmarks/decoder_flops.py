"""What a decoder costs, from its shape and the share of the tokens that pass each recursion.

A multiplication and an addition count as two; matrix products only: norms, activations, softmax and routers
are below one percent. A layer takes for n tokens that attend to m keys, with hidden size h, inner size f,
a = heads x head_dim and k = kv_heads x head_dim:

    2 n (2 h a + 3 h f)   queries, output and feed-forward network
    2 n (2 h k)           keys and values; nothing where those of the first recursion are read
    4 n m a               attention, as the whole square n x m, without regard to who comes before whom

and the scores of the next token 2 n h V. A recursion that a share c of a text's T tokens pass has n = c T and
m = c T (m = T where the keys of the first recursion are read). Training takes three times as much: the
backward pass makes two products of each. A teacher's forward pass comes on top.
"""

from collections.abc import Sequence

from taesr.nn import DecoderConfig
from taesr.training.decoder import DecoderTrainConfig
from taesr.training.decoder.step import capacity_now

KV_NUMBER_BYTES = 4  # the engine keeps keys and values in float32
_MOMENTS = 400  # of the training at which capacities are taken


def layer_flops(shape: DecoderConfig, tokens: float, keys: float, *, own_keys: bool = True) -> float:
    """Of one layer for `tokens` of one text that attend to `keys`."""
    queries = shape.heads * shape.head_dim
    weights = shape.hidden_size * (2 * queries + 3 * shape.intermediate_size)
    if own_keys:
        weights += 2 * shape.hidden_size * shape.kv_heads * shape.head_dim
    return 2.0 * tokens * weights + 4.0 * tokens * keys * queries


def forward_flops(
    shape: DecoderConfig, length: int, passing: Sequence[float] = (), *, shared_keys: bool = False
) -> float:
    """Of a text of `length` tokens, scores of all next tokens included.

    `passing` has the share of the tokens that go through each recursion; all of them by default.
    """
    shares = list(passing) or [1.0] * shape.recursions
    total = 2 * shape.end_layers * layer_flops(shape, length, length)
    for recursion, share in enumerate(shares):
        tokens = share * length
        reads = shared_keys and recursion > 0
        keys = length if reads else tokens
        total += shape.block_layers * layer_flops(shape, tokens, keys, own_keys=not reads)
    return total + 2.0 * length * shape.hidden_size * shape.vocab_size


def training_flops_per_token(
    config: DecoderTrainConfig, shape: DecoderConfig, teacher: DecoderConfig | None = None
) -> float:
    """Of a token of a training, in the mean over its course: capacities fall during the warm-up.

    Token choice is counted with all tokens in all recursions: training computes those that stop, too, and
    leaves their states as they are.
    """
    length, keys = config.data.sequence_length, config.model.shared_keys
    if shape.routing == "expert_choice":
        moments = ((i + 0.5) / _MOMENTS - config.losses.layers_until for i in range(_MOMENTS))
        each = []
        for done in moments:
            shares = capacity_now(config.routing, shape.recursions, length, done)
            whole = [int(share * length) / length for share in shares]
            each.append(forward_flops(shape, length, whole, shared_keys=keys))
        forward = sum(each) / len(each)
    else:
        forward = forward_flops(shape, length, shared_keys=keys)
    taught = 0.0 if teacher is None else forward_flops(teacher, length)
    return (3 * forward + taught) / length


def layer_parameters(shape: DecoderConfig) -> int:
    """Weights that are stored, without the token table and a separate table of scores."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    hidden = shape.hidden_size
    layer = hidden * (2 * queries + 2 * keys + 3 * shape.intermediate_size) + 2 * hidden
    routers = shape.recursions * hidden if shape.routing != "none" else 0
    return shape.unique_layers * layer + hidden + routers


def kv_bytes_per_token(
    shape: DecoderConfig, passing: Sequence[float] = (), *, shared_keys: bool = False
) -> float:
    """Memory of a token's keys and values in the mean.

    Recursion-wise: they exist in the recursions that the token passes; with `shared_keys` in the first.
    """
    recursions = 1.0 if shared_keys else sum(passing) or float(shape.recursions)
    layers = 2 * shape.end_layers + shape.block_layers * recursions
    return layers * 2 * shape.kv_heads * shape.head_dim * KV_NUMBER_BYTES
