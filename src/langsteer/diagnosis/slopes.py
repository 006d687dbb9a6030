"""How much likelier the right answer gets when hidden states are moved, at all layers at once.

One backward pass gives, of each item, the gradient g of the log share of the right answer among the choices with
respect to the states at the output of every block. To first order, adding v to some of its tokens wins Σ g · v.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from langsteer.diagnosis.scoring import Asked
from langsteer.fitting.descent import check_gradients
from langsteer.model.model import Model, frozen
from langsteer.model.tokens import Tokens, batches, pad_mask, token_budget
from langsteer.progress import track
from langsteer.states.intervention import Intervention, PositionKind, intervene, steered_tokens

KINDS: tuple[PositionKind, ...] = ("source", "prompt", "generated")

TINY = 1e-12
TOKENS = 512  # of a batch: what lies between the layers is kept for the way back

Shift = Callable[[int, Tensor, Sequence[int]], Tensor]
"""(layer, states [rows, tokens, hidden], the question of each row): what would be added to them"""


@dataclass(frozen=True)
class Slopes:
    """Slopes at each layer and at each of KINDS, in nats by the states' units, summed over tokens.

    `sums` [2, layers, kinds, hidden] are gradients of the questions at even places, and of those at
    odd ones, `counts` of each; `shifted` [questions, layers, kinds], what a shift of each state
    would win.
    """

    sums: Tensor
    counts: tuple[int, int]
    shifted: Tensor

    def mean(self, layer: int, positions: PositionKind, side: int | None = None) -> Tensor:
        """The mean gradient of the questions at even (0) or odd (1) places, or of all: [hidden]."""
        sides = (0, 1) if side is None else (side,)
        total = self.sums[list(sides), layer, KINDS.index(positions)].sum(0)
        return total / max(1, sum(self.counts[side] for side in sides))

    def crossed(self, layer: int, positions: PositionKind) -> list[Tensor]:
        """Vectors [hidden] for questions at even and at odd places, each along the others' gradient."""
        return [one_nat_along(self.mean(layer, positions, side)) for side in (1, 0)]

    def held_out(self, layer: int, positions: PositionKind, vectors: Sequence[Tensor]) -> float:
        """What `vectors` would win an item: the first at even places, the second at odd ones."""
        won = [
            count * float(self.mean(layer, positions, side) @ vectors[side])
            for side, count in enumerate(self.counts)
        ]
        return sum(won) / sum(self.counts)


def one_nat_along(gradient: Tensor) -> Tensor:
    """A mean gradient [hidden], at the length that wins one nat an item of those that it is of."""
    return gradient / gradient.square().sum().clamp(min=TINY)


class Rows:
    """Questions as rows of a batch: one a question where all answers are one token, else one an
    answer, with what is read of it behind the context.
    """

    def __init__(self, model: Model, asked: Asked, index: Sequence[int]) -> None:
        self.asked, self.index = asked, list(index)
        questions = [asked.questions[i] for i in index]
        single = all(len(a) == 1 for question in questions for a in question.answers)
        self.single = single
        self.owners = [
            (q, a)
            for q, question in enumerate(questions)
            for a in range(1 if single else len(question.answers))
        ]
        self.questions = questions
        texts = [
            question.context if single else question.context.followed_by(question.answers[a][:-1])
            for q, a in self.owners
            for question in [questions[q]]
        ]
        self.inputs = model.batch([text.ids for text in texts])
        self.source = pad_mask([text.source for text in texts])
        self.masks = self._masks(model, texts)

    def _masks(self, model: Model, texts: Sequence[Tokens]) -> dict[PositionKind, Tensor]:
        """Which tokens are acted on [rows, tokens], for each of KINDS."""
        contexts = [len(self.questions[q].context) for q, _ in self.owners]
        rows = zip(texts, contexts, strict=True)
        prompt = pad_mask([[i < n for i in range(len(text))] for text, n in rows])
        first = [text.ids[0] == model.bos_id for text in texts]
        lengths = [len(text) for text in texts]
        there = pad_mask(
            [[not (b and i == 0) for i in range(n)] for b, n in zip(first, lengths, strict=True)]
        )
        kinds = {
            kind: steered_tokens(kind, source=self.source, prompt=prompt, never=~there)
            for kind in KINDS
        }
        return {kind: mask & there for kind, mask in kinds.items()}

    @property
    def question_of_rows(self) -> list[int]:
        """The place in the whole of each row's question."""
        return [self.index[q] for q, _ in self.owners]

    def loss(self, model: Model, hidden: Tensor, biases: Tensor | None) -> Tensor:
        """−log of the right answer's share among the choices, summed over the questions; of a
        reference, −log of its likelihood. `hidden` are final-norm states; `biases` [choices] are
        taken off the scores.
        """
        total = hidden.new_zeros((), dtype=torch.float32)
        for scores, i in zip(self._scores(model, hidden), self.index, strict=True):
            if len(scores) == 1:
                total = total - scores[0]
                continue
            own = scores if biases is None else scores - biases.to(scores)
            total = total + cross_entropy(
                own[None], torch.tensor([self.asked.right[i]], device=own.device)
            )
        return total

    def _scores(self, model: Model, hidden: Tensor) -> list[Tensor]:
        """The log-likelihood of each answer of each question."""
        if self.single:
            logits = torch.log_softmax(model.logits_of(hidden[:, -1]).float(), -1)
            return [
                logits[row, [answer[0] for answer in question.answers]]
                for row, question in enumerate(self.questions)
            ]
        answers = [self.questions[q].answers[a] for q, a in self.owners]
        states = torch.cat([hidden[row, -len(answer) :] for row, answer in enumerate(answers)])
        tokens = torch.tensor([t for answer in answers for t in answer], device=states.device)
        each = -cross_entropy(model.logits_of(states).float(), tokens, reduction="none")
        sums = torch.stack([part.sum() for part in each.split([len(a) for a in answers])])
        counts = [len(question.answers) for question in self.questions]
        return list(sums.split(counts))


def row_batches(model: Model, asked: Asked, most: int | None = None) -> list[list[int]]:
    """Questions of like length together, as many as the token budget lets; `most` in a batch."""

    class Sized:
        def __init__(self, length: int) -> None:
            self.length = length

        def __len__(self) -> int:
            return self.length

    sizes = []
    for question in asked.questions:
        single = all(len(answer) == 1 for answer in question.answers)
        longest = len(question.context) + max(map(len, question.answers)) - 1
        sizes.append(Sized(longest * (1 if single else len(question.answers))))
    return list(batches(sizes, min(token_budget(model), TOKENS), most))


def slopes(
    model: Model,
    asked: Asked,
    biases: Tensor | None = None,
    shift: Shift | None = None,
    progress: str = "What each layer could do",
) -> Slopes:
    """One forward and one backward pass over the questions.

    Raises FitError where no gradient passes through the model's weights.
    """
    check_gradients(model)
    count = len(asked.questions)
    sums = torch.zeros(2, model.layers, len(KINDS), model.hidden_size)
    shifted = torch.zeros(count, model.layers, len(KINDS))
    groups = row_batches(model, asked)
    for index in track(groups, progress, len(groups)):
        rows = Rows(model, asked, index)
        states, moved = _with_gradients(model, rows, biases)
        owners = torch.tensor(rows.question_of_rows)
        for layer in range(model.layers):
            gradient = moved[layer].grad
            assert gradient is not None
            slope = -gradient.float().cpu()
            added = None if shift is None else shift(layer, states[layer], rows.question_of_rows)
            for place, kind in enumerate(KINDS):
                own = slope * rows.masks[kind][..., None]
                sums[:, layer, place].index_add_(0, owners % 2, own.sum(1))
                if added is not None:
                    shifted[:, layer, place].index_add_(0, owners, (own * added).sum((1, 2)))
    return Slopes(sums, ((count + 1) // 2, count // 2), shifted)


def _with_gradients(
    model: Model, rows: Rows, biases: Tensor | None
) -> tuple[list[Tensor], list[Tensor]]:
    """The states at each layer, float32 on the processor, and zeros added to them, with gradients."""
    shape = (*rows.inputs["input_ids"].shape, model.hidden_size)
    states: list[Tensor] = [torch.empty(0)] * model.layers
    zeros: list[Tensor] = [
        torch.zeros(shape, dtype=model.dtype, device=model.device, requires_grad=True)
        for _ in range(model.layers)
    ]

    def adding(layer: int) -> Callable[[Tensor], Tensor]:
        def change(hidden: Tensor) -> Tensor:
            states[layer] = hidden.detach().float().cpu()
            return hidden + zeros[layer].to(hidden.device)

        return change

    items = [Intervention(layer, adding(layer)) for layer in range(model.layers)]
    with frozen(model), torch.enable_grad(), intervene(model, items, "all"):
        loss = rows.loss(model, model.run_decoder(rows.inputs), biases)
        loss.backward()  # type: ignore[no-untyped-call]
    return states, zeros
