"""Models as folders: `model.json` beside the model's own file.

- `folder`: saving, loading, and what is refused
- `mlmodel`: folders that MLflow wrote, and its ``MLmodel`` file beside ours
- `adopting`: folders that MLflow wrote made folders of ours
- `estimators`: scikit-learn through skops, with a list of trusted types that is ours
- `columns`: tables of any kind as columns, and the check of columns against a signature
- `answers`: a loaded model, and how far two answers are apart
- `digests`: digests that are equal for equal models, whatever process wrote them

    model.json          flavour, signature, layout, features, package versions, digests of the other files
    model.skops         the estimator
    MLmodel             the same for clients of MLflow, which load the folder as one of theirs
    probe.json          a few rows of input and the model's answers, to prove that it answers the same
    elsewhere reference.parquet   a sample of the rows it was trained on with its answers: what monitoring
    compares with
"""

from everloop.domain.signature import Field, ModelFile, Parity, Signature
from everloop.tracking.formats.answers import LoadedModel
from everloop.tracking.formats.folder import canonical_digest, load_model, read_model_file, save_model

__all__ = [
    "Field",
    "LoadedModel",
    "ModelFile",
    "Parity",
    "Signature",
    "canonical_digest",
    "load_model",
    "read_model_file",
    "save_model",
]
