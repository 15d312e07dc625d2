from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from detectors import frameworks

PINNED = Path(frameworks.__file__).parent / "pinned"


def names_of(file_name: str) -> dict[str, str]:
    names: dict[str, str] = msgspec.json.decode((PINNED / file_name).read_bytes())["names"]
    return names


def test_a_technique_and_a_sub_technique_have_their_published_names() -> None:
    assert frameworks.atlas_name("AML.T0034") == "Cost Harvesting"
    assert frameworks.atlas_name("AML.T0024.002") == "Exfiltration via AI Inference API: Extract AI Model"


def test_an_owasp_risk_has_its_published_name() -> None:
    assert frameworks.owasp_name("LLM03:2025") == "Supply Chain"
    assert frameworks.owasp_name("LLM10:2025") == "Unbounded Consumption"


def test_a_nist_outcome_is_what_the_framework_asks_for() -> None:
    assert frameworks.nist_outcome("MANAGE 4.3").startswith("Incidents and errors are communicated")


@pytest.mark.parametrize(
    ("lookup", "identifier"),
    [
        (frameworks.atlas_name, "AML.T0009"),
        (frameworks.atlas_name, "aml.t0024"),
        (frameworks.atlas_name, "LLM01:2025"),
        (frameworks.owasp_name, "LLM11:2025"),
        (frameworks.owasp_name, "LLM10"),
        (frameworks.nist_outcome, "MANAGE 5.1"),
        (frameworks.nist_outcome, "manage 2.4"),
    ],
)
def test_an_id_that_does_not_exist_is_an_error_that_names_it_and_the_release(
    lookup: Callable[[str], str], identifier: str
) -> None:
    with pytest.raises(KeyError) as caught:
        lookup(identifier)
    assert identifier in str(caught.value)
    assert any(version in str(caught.value) for version in frameworks.versions().values())


def test_the_pinned_release_is_whole_and_well_formed() -> None:
    atlas = names_of("atlas.json")
    parents = {identifier for identifier in atlas if re.fullmatch(r"AML\.T\d{4}", identifier)}
    children = {identifier for identifier in atlas if re.fullmatch(r"AML\.T\d{4}\.\d{3}", identifier)}
    assert (len(parents), len(children)) == (120, 88)
    assert parents | children == set(atlas)
    for child in children:
        assert atlas[child].startswith(atlas[child.rpartition(".")[0]] + ": ")
    owasp = names_of("owasp_llm.json")
    assert list(owasp) == [f"LLM{number:02d}:2025" for number in range(1, 11)]
    assert len(set(owasp.values())) == 10
    nist = names_of("nist_ai_rmf.json")
    assert all(re.fullmatch(r"(GOVERN|MAP|MEASURE|MANAGE) [1-6]\.\d{1,2}", identifier) for identifier in nist)
    assert all(sentence.endswith(".") for sentence in nist.values())


def test_the_releases_are_told() -> None:
    assert frameworks.versions() == {
        "MITRE ATLAS": "2026.09",
        "OWASP Top 10 for LLM Applications": "2025",
        "NIST AI RMF": "1.0",
    }


def test_nothing_is_read_on_import() -> None:
    code = "from detectors import frameworks as f; assert f._pinned.cache_info().currsize == 0"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PINNED.parent.parent)
