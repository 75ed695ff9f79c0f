"""Lambda: questions over HTTP about images, and requests for uploads and explanations."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from heatdrop.api.routes import Api
from heatdrop.api.service import ApiSettings, Service

logger = Logger()
api = Api(Service(ApiSettings()))


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer a request that API Gateway hands on (HTTP API, payload format 2.0)."""
    return api.handle(event, context)
