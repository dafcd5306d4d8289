"""runs/search and experiments/search. Filters and orders are passed on: our search language holds MLflow's."""

from everloop.server.mlflow.codec import Answer, Asked, Int64
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import invalid
from everloop.server.mlflow.messages import (
    ExperimentMessage,
    RunMessage,
    experiment_message,
    state_in,
)
from everloop.server.mlflow.runs import messages_of, uuids_of
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow")

MOST_RESULTS = 50_000


class SearchRuns(Asked, frozen=True):
    experiment_ids: list[str] = []
    filter: str = ""
    run_view_type: str | int = ""
    max_results: Int64 = 1_000
    order_by: list[str] = []
    page_token: str = ""


class FoundRuns(Answer, frozen=True):
    runs: list[RunMessage] = []
    next_page_token: str = ""


class SearchExperiments(Asked, frozen=True):
    max_results: Int64 = 0
    filter: str = ""
    view_type: str | int = ""
    order_by: list[str] = []
    page_token: str = ""


class FoundExperiments(Answer, frozen=True):
    experiments: list[ExperimentMessage] = []
    next_page_token: str = ""


@endpoints.post("runs/search")
def search_runs(workspace: Workspace, asked: SearchRuns) -> FoundRuns:
    """One page of runs. Experiments that are not there have none; to name no experiment is to name none."""
    _check_size(asked.max_results)
    state = state_in(asked.run_view_type)
    known = uuids_of(workspace, [_number(each) for each in asked.experiment_ids])
    # Where no experiment is meant the filter is read all the same, so that what is wrong in it is said.
    page = workspace.tracking.search(
        asked.filter, known, state, asked.order_by, asked.max_results if known else 1, asked.page_token
    )
    if not known:
        return FoundRuns()
    return FoundRuns(runs=messages_of(workspace, page.runs), next_page_token=page.next_page or "")


@endpoints.get("experiments/search")
@endpoints.post("experiments/search")
def search_experiments(workspace: Workspace, asked: SearchExperiments) -> FoundExperiments:
    """One page of experiments."""
    _check_size(asked.max_results)
    page = workspace.tracking.search_experiments(
        asked.filter, state_in(asked.view_type), asked.order_by, asked.max_results, asked.page_token
    )
    return FoundExperiments(
        experiments=[experiment_message(each) for each in page.experiments],
        next_page_token=page.next_page or "",
    )


def _number(experiment_id: str) -> int:
    if not (experiment_id.isascii() and experiment_id.isdigit()):
        raise invalid(f"Invalid experiment ID {experiment_id!r}. Experiment ID must be a valid integer.")
    return int(experiment_id)


def _check_size(wanted: int) -> None:
    if not 1 <= wanted <= MOST_RESULTS:
        raise invalid(f"Invalid value {wanted} for parameter 'max_results': it is 1 to {MOST_RESULTS}.")
