"""runs/log-inputs and experiments/search-datasets: what went into runs."""

from everloop.domain.run_inputs import LoggedDataset
from everloop.server.mlflow.codec import Answer, Asked
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.messages import DatasetInput, ModelInput, run_id_in, unique
from everloop.tracking.inputs import CONTEXT
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow")


class LogInputs(Asked, frozen=True):
    run_id: str
    datasets: list[DatasetInput] = []
    models: list[ModelInput] = []


class SearchDatasets(Asked, frozen=True):
    experiment_ids: list[str] = []


class DatasetSummary(Answer, frozen=True, omit_defaults=False):
    experiment_id: str
    name: str
    digest: str
    context: str


class DatasetsUsed(Answer, frozen=True):
    dataset_summaries: list[DatasetSummary] = []


@endpoints.post("runs/log-inputs")
def log_inputs(workspace: Workspace, asked: LogInputs) -> None:
    run_id = run_id_in(asked.run_id, "")
    if asked.datasets or not asked.models:
        workspace.tracking.log_datasets(run_id, [_dataset(each) for each in asked.datasets])
    if asked.models:
        workspace.tracking.link_models(run_id, inputs=[each.model_id for each in asked.models])


@endpoints.post("experiments/search-datasets")
def search_datasets(workspace: Workspace, asked: SearchDatasets) -> DatasetsUsed:
    """The datasets of experiments, each once for what it was used for. Experiments that are not there have none."""
    numbers = [
        int(each) for each in asked.experiment_ids if each.isascii() and each.isdigit() and len(each) < 10
    ]
    found = workspace.tracking.used_datasets(numbers)
    summaries = [
        DatasetSummary(
            experiment_id=str(each.experiment_id), name=each.name, digest=each.digest, context=each.context
        )
        for each in found
    ]
    return DatasetsUsed(dataset_summaries=summaries)


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
