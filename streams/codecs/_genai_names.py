"""Which attribute names mean which of our fields: every generation of `gen_ai.*`, and its cousins, in one table.

Nothing in these conventions is stable, and old and new names occur in one span. The first name of a field that
is there wins, so the newest comes first. Sources: OpenTelemetry semantic conventions for generative AI (current
and deprecated), OpenLLMetry, OpenInference, vLLM's `SpanAttributes`.
"""

from __future__ import annotations

SPAN: dict[str, tuple[str, ...]] = {
    "operation": ("gen_ai.operation.name",),
    "kind": ("openinference.span.kind",),
    "request_type": ("llm.request.type",),
    "workflow": ("traceloop.span.kind",),
    "tool": ("gen_ai.tool.name", "gen_ai.tool.call.id"),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"),
    "model": ("gen_ai.request.model", "llm.request.model"),
    "served_model": ("gen_ai.response.model", "llm.response.model"),
    "named_model": ("llm.model_name", "embedding.model_name"),
    "response_id": ("gen_ai.response.id", "llm.response.id", "gen_ai.request.id"),
    "input_tokens": (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.usage.prompt_tokens",
        "llm.token_count.prompt",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.usage.completion_tokens",
        "llm.token_count.completion",
    ),
    "cached_tokens": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "llm.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
    ),
    "temperature": ("gen_ai.request.temperature", "llm.request.temperature"),
    "top_p": ("gen_ai.request.top_p", "llm.request.top_p", "llm.top_p"),
    "max_tokens": ("gen_ai.request.max_tokens", "llm.request.max_tokens"),
    "n": ("gen_ai.request.choice.count", "gen_ai.request.n"),
    "logprobs": ("gen_ai.request.logprobs",),
    "top_logprobs": ("gen_ai.request.top_logprobs",),
    "logit_bias": ("gen_ai.request.logit_bias",),
    "stream": ("gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming"),
    "asked": ("llm.invocation_parameters", "embedding.invocation_parameters"),
    "latency_s": ("gen_ai.latency.e2e", "gen_ai.client.operation.duration"),
    "ttft_s": (
        "gen_ai.server.time_to_first_token",
        "gen_ai.response.time_to_first_chunk",
        "gen_ai.response.time_to_first_token",
        "gen_ai.latency.time_to_first_token",
    ),
    "finish_reasons": (
        "gen_ai.response.finish_reasons",
        "gen_ai.response.finish_reason",
        "llm.response.finish_reason",
        "llm.finish_reason",
    ),
    "error_type": ("error.type",),
    "http_status": ("http.response.status_code", "http.status_code"),
    "cost_usd": ("gen_ai.usage.cost", "llm.cost.total"),
    "principal": (
        "enduser.id",
        "user.id",
        "enduser.pseudo.id",
        "gen_ai.user.id",
        "gen_ai.request.user",
        "gen_ai.user",
        "llm.user",
        "traceloop.association.properties.user_id",
    ),
    "session": (
        "gen_ai.conversation.id",
        "session.id",
        "traceloop.association.properties.session_id",
    ),
    "network": ("client.address", "client.socket.address", "http.client_ip"),
    "user_agent": ("user_agent.original", "http.user_agent"),
    "region": ("cloud.region",),
    "deployment": ("inferwatch.deployment",),
    "server": ("server.address",),
    "input": ("gen_ai.input.messages", "gen_ai.prompt", "llm.input_messages", "llm.prompts"),
    "output": ("gen_ai.output.messages", "gen_ai.completion", "llm.output_messages", "llm.completions"),
    "input_value": ("input.value",),
    "input_mime": ("input.mime_type",),
    "output_value": ("output.value",),
    "output_mime": ("output.mime_type",),
    "system": ("gen_ai.system_instructions",),
    "documents": ("gen_ai.retrieval.documents", "retrieval.documents"),
    "tools": ("gen_ai.tool.definitions",),
    "guardrail": ("aws.bedrock.guardrail.id",),
    "retrieval_index": ("gen_ai.data_source.id", "aws.bedrock.knowledge_base.id"),
    "template": ("llm.prompt_template.template",),
}

RESOURCE: dict[str, tuple[str, ...]] = {
    "service": ("service.name",),
    **{
        name: SPAN[name]
        for name in ("deployment", "principal", "session", "network", "region", "provider", "server", "model")
    },
}
"""What a resource may say for all of its spans; a span that says it too wins."""

ASKED: dict[str, tuple[str, ...]] = {
    "model": ("model", "model_name"),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "n": ("n",),
    "logprobs": ("logprobs",),
    "top_logprobs": ("top_logprobs",),
    "logit_bias": ("logit_bias",),
    "stream": ("stream",),
    "principal": ("safety_identifier", "user"),
}
"""The provider's own parameter names, within OpenInference's ``llm.invocation_parameters``."""

FLATTENED: dict[str, tuple[str, ...]] = {
    "input": ("gen_ai.prompt.", "llm.input_messages.", "llm.prompts.", "embedding.embeddings."),
    "output": ("gen_ai.completion.", "llm.output_messages.", "llm.completions.", "llm.choices."),
    "documents": ("retrieval.documents.",),
    "tools": ("llm.tools.", "llm.request.functions."),
    "components": ("inferwatch.component.",),
}
"""Beginnings of names whose rest is an index or a path: ``gen_ai.prompt.0.content``."""
