"""What a step minimises: the parts of the loss, put together over depths, slices and heads."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from taesr.errors import InvalidArgument
from taesr.nn import DepthOutput, TAESRModel, late_embedding, sparse_embedding
from taesr.training.batch import Batch, Part, sample_texts, take_part
from taesr.training.capacity import capacity_now, target_now
from taesr.training.losses.contrastive import contrastive_loss, contrastive_mask
from taesr.training.losses.cosine import cosine_loss
from taesr.training.losses.kl import SimilarityRows, score_kl
from taesr.training.losses.late import maxsim_scores
from taesr.training.losses.routing import balancing_loss, z_loss
from taesr.training.losses.self_distillation import self_distillation_loss
from taesr.training.losses.sparse import bag_of_pieces, flops_loss, margin_mse, ramp
from taesr.training.objective_options import ObjectiveOptions
from taesr.training.routing import RoutedTokens

Dims = dict[int, float]


class Objectives(nn.Module):
    """The loss of a batch, in weighted parts that add up to it; it has no parameters.

    Parameters
    ----------
    options : ObjectiveOptions
    matryoshka_weights : dict of int to float
        Weight by slice of the output, for the parts that do not name their own.
    depth_weights : dict of int to float
        Weight by depth; those of the depths of a step are divided by their sum.
    dtype : torch.dtype, optional
        Of the encoder's arithmetic; None for that of the parameters.
    checkpoint_layers : bool
        Recompute each layer in the backward pass instead of keeping what it needs.

    Attributes
    ----------
    routed : RoutedTokens
        Tokens that each recursion of a model with token routing has worked on.
    """

    def __init__(
        self,
        options: ObjectiveOptions,
        *,
        matryoshka_weights: Dims,
        depth_weights: dict[int, float],
        dtype: torch.dtype | None = None,
        checkpoint_layers: bool = False,
    ) -> None:
        super().__init__()
        self._options, self._default_dims, self._depth_weights = options, matryoshka_weights, depth_weights
        self._dtype, self._checkpoint_layers = dtype, checkpoint_layers
        self.routed = RoutedTokens()

    def forward(
        self, model: TAESRModel, batch: Batch, depths: Sequence[int], progress: float = 1.0
    ) -> dict[str, Tensor]:
        """Run the encoder once over all depths and compare what it gives with the teachers.

        Parameters
        ----------
        model : TAESRModel
        batch : Batch
        depths : sequence of int
            Recursions of this step.
        progress : float
            Share of the training that is done, 0 to 1.

        Returns
        -------
        dict of str to Tensor
            Weighted parts by name, scalars on the device; their sum is the loss.

        Raises
        ------
        InvalidArgument
            A depth without a weight, a slice larger than the output, a head that the model lacks.
        """
        weights = self._checked_weights(model, depths)
        late, sparse = self._options.late, self._options.sparse
        outputs = model.packed(
            batch.packed,
            list(depths),
            dtype=self._dtype,
            checkpoint_layers=self._checkpoint_layers,
            token_capacity=capacity_now(self._options.token_routing, model.config, progress),
        )
        parts = self._dense_parts({depth: outputs[depth].dense for depth in depths}, weights, batch)
        hidden = {depth: outputs[depth].hidden for depth in depths}
        if late.weight and progress >= late.begin:
            states, shares = _head_depths(hidden, weights, late.every_depth)
            parts |= self._late_parts(model, batch, states, shares)
        elif late.weight:
            parts["late"] = _nothing(model, "late.")
        if sparse.weight and progress >= sparse.begin:
            states, shares = _head_depths(hidden, weights, sparse.every_depth)
            parts |= self._sparse_parts(model, batch, states, shares, progress - sparse.begin)
        elif sparse.weight:
            parts |= {name: _nothing(model, "sparse.") for name in ("sparse", "sparse_idf", "flops")}
        if model.config.token_routing != "none":
            parts |= self._routing_parts(model, outputs[max(depths)], progress)
            self.routed.add(outputs[max(depths)].active_share, batch.tokens)
        return parts

    def _checked_weights(self, model: TAESRModel, depths: Sequence[int]) -> dict[int, float]:
        options, config = self._options, model.config
        unknown = [depth for depth in depths if depth not in self._depth_weights]
        total = sum(self._depth_weights.get(depth, 0.0) for depth in depths)
        if unknown or total <= 0:
            raise InvalidArgument(
                f"depth_weights gives depths {list(depths)} no weight: {self._depth_weights}"
            )
        dense = (options.cosine, options.kl, options.contrastive, options.self_distillation)
        sizes = [size for part in dense if part.weight for size in self._dims(part.dims)]
        if sizes and max(sizes) > config.embedding_size:
            raise InvalidArgument(
                f"a loss names a slice of {max(sizes)}; allowed: 1 to embedding_size {config.embedding_size}"
            )
        if options.late.weight and not config.late_size:
            raise InvalidArgument("objectives.late has a weight, and the model no such head; set late_size")
        if options.sparse.weight and not config.sparse_head:
            raise InvalidArgument(
                "objectives.sparse has a weight, and the model no such head; set sparse_head"
            )
        return {depth: self._depth_weights[depth] / total for depth in depths}

    def _dims(self, own: Dims | None) -> Dims:
        return self._default_dims if own is None else own

    def _dense_parts(
        self, dense: dict[int, Tensor], weights: Mapping[int, float], batch: Batch
    ) -> dict[str, Tensor]:
        options, parts = self._options, {}
        if options.cosine.weight:
            dims = self._dims(options.cosine.dims)
            by_depth = (w * cosine_loss(dense[d], batch.target, dims) for d, w in weights.items())
            parts["cosine"] = options.cosine.weight * _total(by_depth)
        if options.kl.weight:
            dims, shares = self._dims(options.kl.dims), (options.kl.passage_share, options.kl.query_share)
            rows = SimilarityRows(batch.teacher, batch.passages, options.kl.temperature, shares)
            parts["kl"] = options.kl.weight * _total(w * rows.kl(dense[d], dims) for d, w in weights.items())
        if options.contrastive.weight:
            parts["contrastive"] = self._contrastive(dense, weights, batch)
        if options.self_distillation.weight and len(dense) > 1:
            dims = self._dims(options.self_distillation.dims)
            loss = self_distillation_loss(dense, batch.passages, options.self_distillation, dims)
            parts["self_distillation"] = options.self_distillation.weight * loss
        return parts

    def _contrastive(self, dense: dict[int, Tensor], weights: Mapping[int, float], batch: Batch) -> Tensor:
        options = self._options.contrastive
        dims = self._dims(options.dims)
        mask = contrastive_mask(
            batch.teacher, batch.queries, batch.positives, batch.passages, options.ceiling
        )
        return options.weight * _total(
            w
            * contrastive_loss(
                dense[d], batch.queries, batch.positives, mask, temperature=options.temperature, dims=dims
            )
            for d, w in weights.items()
        )

    def _late_parts(
        self, model: TAESRModel, batch: Batch, hidden: Mapping[int, Tensor], weights: Mapping[int, float]
    ) -> dict[str, Tensor]:
        options = self._options.late
        asking, found = sample_texts(batch, queries=options.queries, passages=options.passages)
        if not len(asking) or len(found) < 2:
            return {"late": _nothing(model, "late.")}
        queries, passages = take_part(batch, asking, inner=True), take_part(batch, found, inner=True)
        teacher = _teacher_scores(batch, queries, passages)
        total = _nothing(model, "late.")
        for depth, weight in weights.items():
            scores = maxsim_scores(
                late_embedding(model, hidden[depth][queries.tokens]),
                queries.lengths.tolist(),
                late_embedding(model, hidden[depth][passages.tokens]),
                passages.lengths.tolist(),
                tile_tokens=options.tile_tokens,
            )
            total = total + weight * score_kl(
                scores,
                teacher,
                temperature=options.temperature,
                teacher_temperature=options.teacher_temperature,
            )
        return {"late": options.weight * total}

    def _sparse_parts(
        self,
        model: TAESRModel,
        batch: Batch,
        hidden: Mapping[int, Tensor],
        weights: Mapping[int, float],
        progress: float,
    ) -> dict[str, Tensor]:
        options = self._options.sparse
        most = len(batch.lengths)
        asking, found = sample_texts(batch, queries=most, passages=most, max_tokens=options.max_tokens)
        parts = {name: _nothing(model, "sparse.") for name in ("sparse", "sparse_idf", "flops")}
        if not len(asking) or len(found) < 2:
            return parts
        queries, passages = take_part(batch, asking), take_part(batch, found)
        teacher = _teacher_scores(batch, queries, passages)
        table_queries = _idf_queries(model, queries) if options.idf else None
        grown = ramp(progress, options.ramp)
        for depth, weight in weights.items():
            from_encoder = sparse_embedding(model, hidden[depth][queries.tokens], queries.packed)
            documents = sparse_embedding(model, hidden[depth][passages.tokens], passages.packed)
            ranking = self._ranking(from_encoder @ documents.T, teacher)
            parts["sparse"] = parts["sparse"] + weight * options.weight * ranking
            if table_queries is not None:
                ranking = self._ranking(table_queries @ documents.T, teacher)
                parts["sparse_idf"] = parts["sparse_idf"] + weight * options.weight * options.idf * ranking
            cost = options.flops_queries * flops_loss(from_encoder)
            cost = cost + options.flops_passages * flops_loss(documents)
            parts["flops"] = parts["flops"] + weight * grown * options.weight * cost
        return parts

    def _routing_parts(self, model: TAESRModel, deepest: DepthOutput, progress: float) -> dict[str, Tensor]:
        options, config, parts = self._options.token_routing, model.config, {}
        if options.z_loss:
            parts["router_z"] = options.z_loss * z_loss(deepest.routing)
        if config.token_routing == "token_choice" and options.balance == "loss":
            target = target_now(options, config, progress)
            bias = model.get_parameter("token_router.bias")
            parts["balance"] = options.weight * balancing_loss(deepest.routing, bias, target)
        return parts

    def _ranking(self, scores: Tensor, teacher: Tensor) -> Tensor:
        options = self._options.sparse
        loss = score_kl(
            scores, teacher, temperature=options.temperature, teacher_temperature=options.teacher_temperature
        )
        if options.margin_mse:
            loss = loss + options.margin_mse * margin_mse(scores, teacher, options.margin_scale)
        return loss


def _head_depths(
    hidden: dict[int, Tensor], weights: dict[int, float], every_depth: bool
) -> tuple[dict[int, Tensor], dict[int, float]]:
    """States and weights of the depths that a head learns at: all, or the deepest only."""
    if every_depth:
        return hidden, weights
    deepest = max(hidden)
    return {deepest: hidden[deepest]}, {deepest: 1.0}


def _idf_queries(model: TAESRModel, queries: Part) -> Tensor:
    """Sparse vectors [n, V] of queries without an encoder: each piece with its weight of the table."""
    config, tokens = model.config, queries.packed.tokens
    lengths = torch.from_numpy(queries.lengths)
    owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    if tokens.is_cuda:
        owner = owner.pin_memory().to(tokens.device, non_blocking=True)
    bag = bag_of_pieces(tokens, owner, len(lengths), config.vocab_size, (config.bos_id, config.eos_id))
    return bag * model.get_parameter("sparse.idf").float().relu()  # a search has no use for others


def _teacher_scores(batch: Batch, queries: Part, passages: Part) -> Tensor:
    """The teachers' similarities [queries, passages], float32."""
    return batch.teacher[queries.texts].float() @ batch.teacher[passages.texts].float().T


def _nothing(model: TAESRModel, head: str) -> Tensor:
    """0 as a function of a head's parameters, so that they have gradients on every rank and in every step."""
    named = model.named_parameters()
    return _total(parameter.float().sum() * 0 for name, parameter in named if name.startswith(head))


def _total(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum()
