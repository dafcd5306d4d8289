"""What a client asks of the server itself."""

from everloop.server.mlflow.codec import Answer, Asked
from everloop.server.mlflow.endpoints import Endpoints
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("3.0/mlflow")


class Nothing(Asked, frozen=True):
    """A request that says nothing."""


class Features(Answer, frozen=True, omit_defaults=False):
    gateway: bool = False


class ServerInfo(Answer, frozen=True, omit_defaults=False):
    """What the server can do. Workspaces, multipart transfer and addresses signed in advance are not needed here: the proxy
    streams files of any size."""

    store_type: str = "EverloopStore"
    workspaces_enabled: bool = False
    trace_archival_enabled: bool = False
    multipart_uploads_enabled: bool = False
    multipart_downloads_enabled: bool = False
    presigned_upload_run_id_supported: bool = False
    presigned_upload_model_id_supported: bool = False
    features_enabled: Features = Features()


@endpoints.get("server-info")
def server_info(workspace: Workspace, asked: Nothing) -> ServerInfo:
    return ServerInfo()
