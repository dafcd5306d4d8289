"""runs/log-inputs: what went into runs."""

from everloop.domain.run_inputs import LoggedDataset
from everloop.server.mlflow.codec import Asked
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.messages import DatasetInput, ModelInput, run_id_in, unique
from everloop.tracking.inputs import CONTEXT
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow")


class LogInputs(Asked, frozen=True):
    run_id: str
    datasets: list[DatasetInput] = []
    models: list[ModelInput] = []


@endpoints.post("runs/log-inputs")
def log_inputs(workspace: Workspace, asked: LogInputs) -> None:
    run_id = run_id_in(asked.run_id, "")
    if asked.datasets or not asked.models:
        workspace.tracking.log_datasets(run_id, [_dataset(each) for each in asked.datasets])
    if asked.models:
        workspace.tracking.link_models(run_id, inputs=[each.model_id for each in asked.models])


def _dataset(given: DatasetInput) -> LoggedDataset:
    tags = unique(given.tags, "tag")
    described = given.dataset
    return LoggedDataset(
        name=described.name,
        digest=described.digest,
        source_type=described.source_type,
        source=described.source,
        schema=described.schema,
        profile=described.profile,
        context=tags.get(CONTEXT, ""),
        tags=tags,
    )
