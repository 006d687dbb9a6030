from langsteer.analysis.drift.results import Drift
from langsteer.analysis.drift.sentences import summary


def test_the_summary_is_true_of_the_numbers(small: Drift) -> None:
    sft, dpo = small.versions[1:]
    text = " ".join(summary(small, sft))
    assert "6 of 6 beyond what 95% of random vectors reach (0.3 expected by chance)" in text
    raw = sum(f.movement.raw[2] for f in sft.languages.values()) / 6
    assert f"moved mean states at layer 2 by {raw:.1%}" in text
    assert "greatest at layer 3" in text
    assert "It crosses" in " ".join(summary(small, dpo))
