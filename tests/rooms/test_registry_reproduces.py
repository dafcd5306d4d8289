"""The gate that builds a model again: from captured code, the same data and settings, in a fresh folder."""

import textwrap

from tests.support.trained import add_flights

from everloop.domain import gates as gate
from everloop.domain.signature import Task

TRAINING = """
    import numpy as np
    import everloop as ev

    @ev.step
    def fit(data: str, strength: float):
        from sklearn.linear_model import LogisticRegression

        table = ev.data(data).to_arrow()
        inputs = {name: table[name].to_numpy() for name in ("temp", "wind")}
        model = LogisticRegression(C=strength).fit(np.column_stack(list(inputs.values())), table["late"].to_numpy())
        ev.active_run().log_model(model, example=inputs)
        return model

    @ev.pipeline
    def train(data: str = "data:flights", strength: float = 1.0):
        return fit(data, strength)
    """


def test_a_model_of_a_pipeline_is_built_again(workspace, tmp_path):
    data = add_flights(workspace, tmp_path)
    (workspace.project / "training.py").write_text(textwrap.dedent(TRAINING))
    done = workspace.pipelines.run("training.py:train", {"data": data})
    assert done.status == "finished"
    runs = [each.run_id for each in workspace.tracking.search(limit=10).runs]
    run = next(each for each in runs if workspace.tracking.artifacts(each, "model"))
    record = workspace.registry.register(run, "delay")
    assert record.data == (data,)
    assert record.model.signature.task is Task.CLASSIFICATION
    result = workspace.registry.check(record.reference, [gate.reproduces(at_least="bits")])[0]
    assert result.passed, result
    assert result.evidence["grade"] == "bits"
