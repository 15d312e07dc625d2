"""Azure OpenAI's diagnostic logs: category RequestResponse, and API Management's GatewayLogs with bodies.

Every RequestResponse record is an event, also of operations that call no model (``Create_Thread``,
``ListModels``): their latency and status are the endpoint's, and there is nothing else to watch it by.
`operation` tells them apart. Other categories (Audit, Trace, AzureOpenAIRequestUsage) are ignored, and so
are gateway logs of other APIs. Both categories log the same call: send one of them.

- `deployment`: ``account/model deployment``, in lower case, because Azure writes resource ids in either.
- `model`: the model's name, `served_model` that with its version, which Azure may change by itself.
- `time_s`: `requestTime` (ticks of 100 ns), else `time`, which is when the record was written.
- A negative `durationMs` occurs, and is unknown. `requestLength`, `responseLength` are bytes, not tokens.
- `network` is masked (``81.2.69.***``) and kept so; nobody is named but by `objectId`, usually empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from detectors.types import InferenceEvent
from streams.codecs import Decoded, UndecodableError
from streams.codecs._json import FieldError, embedded, identity, number, parse, text
from streams.codecs._openai import answer, messages, parameters, tool_components, usage
from streams.codecs._records import Entry, decode_each, first_entry, moment

FORMAT = "azure"
CONTENT_TYPES = frozenset({"application/vnd.inferwatch.azure+json", "application/vnd.inferwatch.azure+x-ndjson"})

_PROVIDER = "azure.ai.openai"
_RESOURCES = ("/providers/microsoft.cognitiveservices/", "/providers/microsoft.apimanagement/")
_TICKS_TO_1970 = 621_355_968_000_000_000
_TICKS_PER_S = 10_000_000
_MAX_WRITE_DELAY_S = 3_600.0
_STATUS = range(100, 600)
_FIRST_ERROR = 400
_OPERATIONS = {
    "ChatCompletions_Create": "chat",
    "Completions_Create": "text_completion",
    "Embeddings_Create": "embeddings",
    "Responses_Create": "chat",
}
_STREAMS = {"Streaming": True, "Non-Streaming": False}


def decode(value: bytes) -> Decoded:
    """Return one event per log record; records may come in the ``{"records": [...]}`` of an event hub."""
    return decode_each(value, _event, "records")


def sniff(value: bytes) -> bool:
    """Whether the first record has a category and is of a resource whose logs these are."""
    entry = first_entry(value, b'"category"', "records")
    resource = entry.get("resourceId") if entry else None
    if entry is None or not isinstance(resource, str) or not isinstance(entry.get("category"), str):
        return False
    return any(provider in resource.lower() for provider in _RESOURCES)


def _event(entry: Entry) -> InferenceEvent | None:
    category = text(entry, "category")
    if category is None:
        raise FieldError("category: expected the category of a diagnostic log")
    if category == "RequestResponse":
        return _request_response(entry)
    if category == "GatewayLogs":
        return _gateway(entry)
    return None


def _request_response(entry: Entry) -> InferenceEvent:
    about = _properties(entry)
    model = text(about, "modelName", "properties")
    version = identity(about, "modelVersion", "properties")
    account = (text(entry, "resourceId") or "").rstrip("/").rpartition("/")[2]
    names = [name for name in (account, text(about, "modelDeploymentName", "properties")) if name]
    if not names:
        raise FieldError("resourceId: expected the resource that served")
    operation = text(entry, "operationName")
    status = _status(entry, "resultSignature")
    return InferenceEvent(
        source=FORMAT,
        deployment="/".join(names).lower(),
        operation=_OPERATIONS.get(operation, operation) if operation else None,
        time_s=_began_s(entry, about),
        latency_s=_duration_s(entry),
        stream=_STREAMS.get(text(about, "streamType", "properties") or ""),
        http_status=status,
        error_type=str(status) if status is not None and status >= _FIRST_ERROR else None,
        principal=text(about, "objectId", "properties"),
        network=text(entry, "callerIpAddress"),
        region=text(entry, "location"),
        model=model,
        served_model=f"{model}-{version}" if model and version else model,
        provider=_PROVIDER,
        response_id=text(entry, "correlationId"),
    )


def _gateway(entry: Entry) -> InferenceEvent | None:
    """Read a call that went through API Management, whose bodies are JSON in texts, cut at a size it is set to."""
    about = _properties(entry)
    asked = _body(about, "requestBody", "backendRequestBody")
    host, deployed_as = _endpoint(about, asked)
    if deployed_as is None:
        return None
    reply = _body(about, "responseBody", "backendResponseBody")
    output, finish_reasons = answer(reply)
    tokens = usage(reply, "responseBody")
    operation = text(about, "operationId", "properties")
    model, served_model = asked.get("model"), reply.get("model")
    stream = asked.get("stream")
    status = _status(about, "responseCode", "properties")
    return InferenceEvent(
        source=FORMAT,
        deployment=f"{host.partition('.')[0]}/{deployed_as}".lower(),
        operation=_OPERATIONS.get(operation, operation) if operation else None,
        time_s=moment(entry, "time"),
        latency_s=_duration_s(entry),
        input_messages=messages(asked.get("messages", asked.get("prompt", asked.get("input")))),
        output_messages=output,
        **tokens,
        **parameters(asked),
        stream=stream if isinstance(stream, bool) else None,
        finish_reasons=finish_reasons,
        http_status=status,
        error_type=_error_type(reply, status),
        principal=text(about, "apimSubscriptionId", "properties") or text(about, "userId", "properties"),
        network=text(entry, "callerIpAddress"),
        region=text(entry, "location"),
        model=model if isinstance(model, str) and model else deployed_as,
        served_model=served_model if isinstance(served_model, str) and served_model else None,
        provider=_PROVIDER,
        components=tool_components(asked.get("tools")),
        response_id=text(entry, "correlationId"),
    )


def _properties(entry: Entry) -> Entry:
    about = embedded(entry, "properties")
    if about is None:
        return {}
    if isinstance(about, dict):
        return about
    raise FieldError("properties: expected an object, or one as JSON in a text")


def _endpoint(about: Entry, asked: Entry) -> tuple[str, str | None]:
    """Return the host and the model's deployment: in the path, else as the body names it; none of other APIs."""
    try:
        url = urlsplit(text(about, "backendUrl", "properties") or text(about, "url", "properties") or "")
        host = url.hostname or ""
    except ValueError:
        raise FieldError("properties.backendUrl: expected a URL") from None
    steps = url.path.split("/")
    if "deployments" in steps[:-1]:
        return host, steps[steps.index("deployments") + 1] or None
    model = asked.get("model")
    return host, model if "openai" in steps and isinstance(model, str) and model else None


def _status(fields: Mapping[str, object], key: str, at: str = "") -> int | None:
    """Return the HTTP status; other signatures are no status."""
    signature = identity(fields, key, at) or ""
    status = int(signature) if signature.isascii() and signature.isdigit() and len(signature) == len("200") else None
    return status if status in _STATUS else None


def _duration_s(entry: Entry) -> float | None:
    duration_ms = number(entry, "durationMs")
    return None if duration_ms is None or duration_ms < 0.0 else duration_ms / 1000.0


def _began_s(entry: Entry, about: Entry) -> float | None:
    """Return when the request came, unless that is far from when its record was written: a broken clock."""
    written_s = moment(entry, "time")
    ticks = number(about, "requestTime", "properties")
    if ticks is None:
        return written_s
    began_s = (ticks - _TICKS_TO_1970) / _TICKS_PER_S
    return began_s if written_s is None or abs(written_s - began_s) <= _MAX_WRITE_DELAY_S else written_s


def _body(about: Entry, *keys: str) -> Entry:
    """Return the first body that parses; a cut one, or one that is no object, says nothing."""
    for key in keys:
        body = about.get(key)
        if isinstance(body, str) and body:
            try:
                body = parse(body.encode())
            except UndecodableError:
                continue
        if isinstance(body, dict):
            return body
    return {}


def _error_type(reply: Entry, status: int | None) -> str | None:
    if status is None or status < _FIRST_ERROR:
        return None
    error = reply.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) and code else str(status)
