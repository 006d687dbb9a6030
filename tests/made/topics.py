"""The words and sizes of an invented SIB-200."""

WORDS = ["rain", "law", "team", "hill", "fever", "song", "road", "lamp"]
SIZES = {"train": 21, "dev": 14, "test": 14}
TOPICS = (
    "science/technology",
    "travel",
    "politics",
    "sports",
    "health",
    "entertainment",
    "geography",
)
