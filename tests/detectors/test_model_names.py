from __future__ import annotations

import pytest

from detectors.model_names import agrees

ONE = [
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4o", "openai/gpt-4o"),
    ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
    ("gpt-4", "gpt-4-0613"),
    ("mistral-large-latest", "mistral-large-2411"),
    ("command-r-08-2024", "command-r"),
    ("claude-3-5-sonnet", "us.anthropic.claude-3-5-sonnet-20241022-v2:0"),
    ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
    ("gemini-1.5-pro", "models/gemini-1.5-pro-002"),
    ("llama3:latest", "llama3"),
    ("Llama-3-8B", "meta-llama/Llama-3-8B-Instruct"),
    ("m", "m-2024"),
    ("model-1", "model-1"),
    ("\u6a21\u578b", "\u6a21\u578b"),
]
TWO = [
    ("gpt-4o", "gpt-3.5-turbo"),
    ("gpt-4o", "gpt-4o-mini"),
    ("gpt-4o-mini", "gpt-4o"),
    ("gpt-4", "gpt-3.5-turbo-0613"),
    ("claude-3-opus", "claude-3-haiku-20240307"),
    ("llama3.1:70b", "llama3.1:8b"),
    ("Llama-3-70B", "Llama-3-8B"),
    ("gpt-4o", "my-company-router"),
    ("deepseek-r1", "deepseek-r1-distill-qwen-7b"),
    ("gpt-4o", ""),
    ("\u6a21\u578b", "\u6a21\u578b2"),
    ("latest", "2024-08-06"),
]


@pytest.mark.parametrize(("asked", "served"), ONE)
def test_aliases_prefixes_and_dates_are_one_family(asked: str, served: str) -> None:
    assert agrees(asked, served) and agrees(served, asked)


@pytest.mark.parametrize(("asked", "served"), TWO)
def test_sizes_tiers_and_other_names_are_another(asked: str, served: str) -> None:
    assert not agrees(asked, served) and not agrees(served, asked)


def test_names_of_any_length_are_compared() -> None:
    assert not agrees("gpt-4o", "-" * 1_000_000 + "x")
