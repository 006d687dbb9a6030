"""The errors that langsteer raises on purpose. Each message says what was wrong, where, and what to do."""


class LangsteerError(Exception):
    """Base of every error a user can cause and mend."""


class LanguageError(LangsteerError):
    """A language tag or code that names no language."""


class CorpusError(LangsteerError):
    """Parallel text that cannot be read or used."""


class ModelError(LangsteerError):
    """A model that cannot be opened, or whose parts cannot be found."""


class LengthError(ModelError):
    """A text, or a prompt and its answer, that is longer than the model reads."""


class StateError(LangsteerError):
    """Hidden states or vectors that are not finite numbers."""


class VectorError(LangsteerError):
    """A steering vector, or its file, that is damaged or does not fit."""


class HubError(VectorError):
    """Vectors on the Hugging Face hub that cannot be had from there, or not be put there."""


class FitError(LangsteerError):
    """A fit that was asked for something impossible."""


class SaveError(LangsteerError):
    """A file that could not be written; nothing was changed."""


class CellError(LangsteerError):
    """A cell of a comparison, or its file, that is damaged or cannot be reported on."""


class ConfigError(LangsteerError):
    """The configuration of a comparison that cannot be read, or asks for what there is not."""


class CompareError(LangsteerError):
    """A comparison that would not be one: cells made otherwise, or fitted on what is reported."""


class MissingExtraError(LangsteerError):
    """A feature whose optional dependency is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f"{feature} needs {package}: pip install 'langsteer[{extra}]'")


class ScaleError(LangsteerError):
    """Processes or machines that work cannot be given to."""


class BenchmarkError(LangsteerError):
    """A benchmark, its data or its prompts that do not exist or cannot be read."""


class MethodError(LangsteerError):
    """A method of a comparison that does not exist, or cannot ask what it was given."""


class DiagnosisError(LangsteerError):
    """Items of a task that cannot be used, or a diagnosis or search that cannot be made of them."""


class AnalysisError(LangsteerError):
    """An analysis that cannot be made, or its file, that is damaged."""


class TuneError(LangsteerError):
    """Records to tune on that cannot be used, or a fine-tuning that cannot be made."""


class ExportError(LangsteerError):
    """A change that a format cannot hold, or a format that there is not."""


class EngineError(LangsteerError):
    """An engine that is not there, is not known, or does not do what langsteer does."""


class PluginError(LangsteerError):
    """A package that adds something to langsteer, and cannot be used."""
