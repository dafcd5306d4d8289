"""scikit-learn estimators and pipelines, through skops.

A pickle runs code when it is loaded; a skops file names types and holds data. Which types may be built is
decided by the list below, never by what a file says of itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from everloop.domain.names import shown
from everloop.domain.signature import Field, Layout, Signature, Task, Type
from everloop.errors import Corrupted, EverloopError, Failed, InvalidInput, MissingExtra, Refused
from everloop.tracking.formats.answers import answers, arranged
from everloop.tracking.formats.columns import Columns, columns_of

FILE = "model.skops"

TRUSTED = (
    # Compiled or private parts of scikit-learn's own estimators, which skops does not vouch for by itself.
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._gb_losses.BinomialDeviance",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
    # What histogram gradient boosting with categorical features keeps inside: a check of its input.
    "functools.partial",
    "sklearn.utils.validation.check_array",
    # What SplineTransformer and KBinsDiscretizer keep inside.
    "numpy.dtype",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "scipy.interpolate._bsplines.BSpline",
)
"""The types beyond skops' own list that Everloop builds from a file. None of them runs code on being
built.
"""


def is_estimator(model: Any) -> bool:
    """Whether this is a scikit-learn estimator or pipeline."""
    return hasattr(model, "get_params") and hasattr(model, "predict") and hasattr(model, "fit")


def dump(model: Any, folder: Path) -> None:
    """Write `model.skops`. Raises InvalidInput for a model with parts that could not be loaded again."""
    skops = skops_io()
    path = folder / FILE
    try:
        skops.dump(model, path)
    except (TypeError, AttributeError, ValueError, NotImplementedError) as error:
        raise InvalidInput(f"the model cannot be stored without pickle: {error}", hint=_OWN_PARTS) from None
    unknown = sorted(set(skops.get_untrusted_types(file=path)) - set(TRUSTED))
    if unknown:
        raise InvalidInput(
            f"the model holds parts that cannot be loaded safely: {', '.join(unknown)}", hint=_OWN_PARTS
        )


def load(folder: Path) -> Any:
    """Read `model.skops`. Raises Refused for types that are not on the list."""
    return load_file(folder / FILE)


def load_file(path: Path) -> Any:
    """Read a skops file. Raises Refused for types that are not on the list."""
    skops = skops_io()
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.load(path, trusted=list(TRUSTED))
    except UntrustedTypesFoundException as error:
        raise Refused(f"{path} holds types that are not trusted: {error}", hint=_OWN_PARTS) from None
    except (OSError, KeyError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise Corrupted(
            f"{path} cannot be loaded: {error}", hint="load it with the package versions its model.json names"
        ) from error


_OWN_PARTS = (
    "build it from scikit-learn's own parts; classes and functions of your own cannot be stored in a model"
)


def preload() -> None:
    """Import what loading will need: two seconds that may pass while something else is waited for."""
    skops_io()


def libraries() -> tuple[str, ...]:
    """The packages whose versions matter to a saved estimator."""
    return ("scikit-learn", "skops", "numpy", "scipy")


def described(
    model: Any, example: Any, inputs: tuple[Field, ...], columns: Columns | None
) -> tuple[Signature, Layout, bool]:
    """Signature, layout, and whether labels follow from probabilities: found by asking the model, not by
    reading its code.

    `columns` are some rows of the example, or None when there is none; then the cheapest layout is taken on
    trust.
    """
    classes = _classes(model)
    task = Task.CLASSIFICATION if classes is not None else Task.REGRESSION
    signature = Signature(inputs, _outputs(model, task, classes), task, classes or ())
    if columns is None:
        return signature, Layout.MATRIX, True
    layout, answer = _layout(model, example, signature, columns)
    if task is Task.REGRESSION and len(np.shape(answer)) == 2:
        outputs = tuple(Field(f"prediction_{number}", Type.DOUBLE) for number in range(np.shape(answer)[1]))
        signature = Signature(inputs, outputs if len(outputs) > 1 else signature.outputs, task)
    rows = arranged(columns, signature, layout)
    nullable = _nullable(model, signature, layout, columns)
    signature = Signature(nullable, signature.outputs, task, signature.classes)
    if task is Task.REGRESSION or signature.outputs == (signature.outputs[-1],):
        return signature, layout, True
    quick = answers(model, rows, signature, labels_from_probabilities=True)["label"]
    asked = answers(model, rows, signature, labels_from_probabilities=False)["label"]
    return signature, layout, bool((quick == asked).all())


def input_names(model: Any) -> tuple[str, ...] | None:
    """The names of the columns a fitted estimator takes; None if it does not know them. Raises InvalidInput
    if not fitted.
    """
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return tuple(str(name) for name in names)
    count = getattr(model, "n_features_in_", None)
    if count is None and not _is_fitted(model):
        raise InvalidInput(f"this {type(model).__name__} has not been fitted", hint="fit it before saving it")
    return tuple(f"x{number}" for number in range(count)) if count is not None else None


def names_are_its_own(model: Any) -> bool:
    """Whether the estimator was fitted on named columns."""
    return getattr(model, "feature_names_in_", None) is not None


def _is_fitted(model: Any) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except (NotFittedError, TypeError):
        return False
    return True


def _classes(model: Any) -> tuple[str | int | float | bool, ...] | None:
    classes = getattr(model, "classes_", None)
    if classes is None:
        return None
    if isinstance(classes, list):
        raise InvalidInput(
            "a classifier with several targets cannot be served yet", hint="save one classifier a target"
        )
    return tuple(np.asarray(classes).tolist())


def _outputs(model: Any, task: Task, classes: tuple[Any, ...] | None) -> tuple[Field, ...]:
    if task is Task.REGRESSION or classes is None:
        return (Field("prediction", Type.DOUBLE),)
    kinds = {bool: Type.BOOLEAN, int: Type.LONG, float: Type.DOUBLE, str: Type.STRING}
    label = Field("label", kinds[type(classes[0])])
    if not hasattr(model, "predict_proba"):
        return (label,)
    if len(classes) == 2:
        return (Field("probability", Type.DOUBLE), label)
    return (label, *(Field(f"probability_{number}", Type.DOUBLE) for number in range(len(classes))))


def _layout(model: Any, example: Any, signature: Signature, columns: Columns) -> tuple[Layout, Any]:
    """The cheapest layout on which the model answers as on the dearest one that works; with its raw
    prediction.
    """
    numeric = all(column.dtype.kind in "fib" for column in columns.values())
    candidates = [Layout.FRAME] if names_are_its_own(model) else []
    candidates += [Layout.OBJECTS] if not numeric else [Layout.MATRIX]
    worked: list[tuple[Layout, Any]] = []
    problem: EverloopError | None = None
    for layout in candidates:
        try:
            worked.append((layout, _raw(model, arranged(columns, signature, layout))))
        except (Failed, MissingExtra) as error:
            problem = problem or error
    if not worked:
        raise InvalidInput(
            f"the model does not answer the example: {problem}", hint="give rows as it was trained on"
        ) from problem
    last = worked[-1]
    return last if np.array_equal(np.asarray(last[1]), np.asarray(worked[0][1])) else worked[0]


def _raw(model: Any, rows: Any) -> Any:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.predict_proba(rows) if hasattr(model, "predict_proba") else model.predict(rows)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Failed(str(error)) from error


def _nullable(model: Any, signature: Signature, layout: Layout, columns: Columns) -> tuple[Field, ...]:
    """Which inputs may be missing: those without which the model still answers. The example alone cannot
    tell, as it may happen to be complete."""
    one = {name: column[:1].copy() for name, column in columns.items()}
    fields = []
    for field in signature.inputs:
        nullable = field.nullable
        if not nullable and field.type in {Type.DOUBLE, Type.LONG, Type.STRING}:
            gap = np.array([None], dtype=object) if field.type is Type.STRING else np.array([np.nan])
            without = one | {field.name: gap}
            try:
                _raw(model, arranged(without, signature, layout))
                nullable = True
            except Failed:
                nullable = False
        fields.append(Field(field.name, field.type, nullable, field.categories))
    return tuple(fields)


def columns_for(model: Any, example: Any) -> Columns:
    """The example as the columns the model takes, in its order. Raises InvalidInput for missing ones."""
    names = input_names(model)
    if names is not None and names_are_its_own(model):
        found = columns_of(example, names)
        missing = [name for name in names if name not in found]
        if missing:
            raise InvalidInput(
                f"the example lacks {', '.join(map(shown, missing))}",
                hint=f"the model was trained on: {', '.join(names)}",
            )
        return {name: found[name] for name in names}
    found = columns_of(example)
    if names is not None and len(found) != len(names):
        raise InvalidInput(
            f"the example has {len(found)} columns, the model was trained on {len(names)}",
            hint="give only the columns it was trained on, in their order",
        )
    return found


def skops_io() -> Any:
    try:
        import skops.io
    except ImportError:
        raise MissingExtra(
            "scikit-learn models need the packages scikit-learn and skops",
            hint="pip install 'everloop[sklearn]'",
        ) from None
    return skops.io
