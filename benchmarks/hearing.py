"""How often the language that lingua hears in front of another engine is right, by how sure it is.

    python -m benchmarks.hearing

Of each language of the built-in corpus, eight sentences: whole, and their first four and eight words.
"""

import random
from collections.abc import Sequence

from langsteer.serving.heard import Ear
from langsteer.steering.router import CONFIDENT
from langsteer.text.corpus import builtin
from langsteer.text.identify import Identified, identifiable_languages

SENTENCES, WORDS = 8, (4, 8, 1000)


def main() -> None:
    corpus, drawn = builtin(), random.Random(0)
    texts = [
        (tag, count, " ".join(line.split()[:count]))
        for tag, lines in corpus.texts.items()
        for line in drawn.sample(list(lines), SENTENCES)
        for count in WORDS
    ]
    told = Ear((*corpus.texts, *identifiable_languages())).identify([text for *_, text in texts])
    for count in WORDS:
        print(
            count, summary([(t, h) for (t, c, _), h in zip(texts, told, strict=True) if c == count])
        )
    print("all", summary([(tag, heard) for (tag, *_), heard in zip(texts, told, strict=True)]))


def summary(heard: Sequence[tuple[str, Identified]]) -> str:
    sure = [(tag, told.language) for tag, told in heard if told.confidence >= CONFIDENT]
    wrong = [f"{tag} as {called}" for tag, called in sure if tag != called]
    return f"{len(heard)} texts, {len(sure)} sure, {len(wrong)} of them wrong: {', '.join(wrong)}"


if __name__ == "__main__":
    main()
