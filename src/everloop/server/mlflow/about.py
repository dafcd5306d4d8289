"""What a client asks of the server itself."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from everloop._version import __version__
from everloop.server.mlflow.codec import Answer, Asked
from everloop.server.mlflow.endpoints import Endpoints
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("3.0/mlflow")
version_endpoints = Endpoints("")


class Nothing(Asked, frozen=True):
    """A request that says nothing."""


class Features(Answer, frozen=True, omit_defaults=False):
    gateway: bool = False


class ServerInfo(Answer, frozen=True, omit_defaults=False):
    """What the server can do. Workspaces and addresses signed in advance are not needed here: the proxy streams files of any
    size. Transfer in parts is there for clients that are set to it (`uploads`); it is not announced, as it depends on the
    server being known to the client by the name in its requests."""

    store_type: str = "EverloopStore"
    workspaces_enabled: bool = False
    trace_archival_enabled: bool = False
    multipart_uploads_enabled: bool = False
    multipart_downloads_enabled: bool = False
    presigned_upload_run_id_supported: bool = False
    presigned_upload_model_id_supported: bool = False
    features_enabled: Features = Features()


@version_endpoints.stream("GET", "version")
async def version(workspace: Workspace, request: Request, parameters: dict[str, str]) -> Response:
    """Everloop's own version. Clients take it for an old MLflow server's, and send traces the way that these understand."""
    return PlainTextResponse(__version__)


@endpoints.get("server-info")
def server_info(workspace: Workspace, asked: Nothing) -> ServerInfo:
    return ServerInfo()
