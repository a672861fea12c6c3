"""Recognising licence texts: whole ones and titles at the start, and neither mentions nor changed texts."""

from pathlib import Path

import pytest
from licence_samples import BSD_CONDITIONS, BSD_END, BSD_THIRD, MIT, MODIFIED_MIT

from smelt.planning.licence_texts import recognise_licences, restricts_use

ROOT = Path(__file__).resolve().parent.parent.parent
APACHE = (ROOT / "LICENSE").read_text(encoding="utf-8")
CC_BY = """Attribution 4.0 International

Creative Commons Corporation ("Creative Commons") is not a law firm and does not provide legal services.

Creative Commons Attribution 4.0 International Public License

By exercising the Licensed Rights (defined below), You accept and agree to be bound by the terms ...

     1. the Licensor hereby grants You a worldwide, royalty-free, non-sublicensable, non-exclusive, irrevocable license
          a. reproduce and Share the Licensed Material, in whole or in part; and
          b. produce, reproduce, and Share Adapted Material.
"""
CC0 = """Creative Commons Legal Code

CC0 1.0 Universal
Statement of Purpose ... for any purpose whatsoever, including without limitation commercial, advertising or
promotional purposes ... 2. Waiver. To the greatest extent permitted ... 3. Public License Fallback. Should any part
"""
GPL = """                    GNU GENERAL PUBLIC LICENSE
                       Version 3, 29 June 2007
 Everyone is permitted to copy and distribute verbatim copies of this license document ... This alternative is allowed
 only occasionally and noncommercially ... 15. Disclaimer of Warranty.
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MIT, ["mit"]),
        (MODIFIED_MIT, []),
        (BSD_CONDITIONS + BSD_END, ["bsd-2-clause"]),
        (BSD_CONDITIONS + BSD_THIRD + BSD_END, ["bsd-3-clause"]),
        ((ROOT / "LICENSE").read_text(encoding="utf-8"), ["apache-2.0"]),
        ("# LLAMA 2 COMMUNITY LICENSE AGREEMENT\nLlama 2 Version Release Date: July 18, 2023", ["llama2"]),
        ("META LLAMA 3 COMMUNITY LICENSE AGREEMENT\n", ["llama3"]),
        (" LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n", ["llama3.1"]),
        ("Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright ©", ["llama3.2"]),
        ("**LLAMA 3.3 COMMUNITY LICENSE AGREEMENT**\n", ["llama3.3"]),
        ("LLAMA 4 COMMUNITY LICENSE\nAGREEMENT", ["llama4"]),
        ("Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms", ["gemma"]),
        ("Tongyi Qianwen LICENSE AGREEMENT\n\nTongyi Qianwen Release Date: August 3, 2023", ["tongyi-qianwen"]),
        ("Tongyi Qianwen RESEARCH LICENSE AGREEMENT", ["tongyi-qianwen-research"]),
        ("Qwen LICENSE AGREEMENT\n\nQwen LICENSE AGREEMENT Release Date: September 19, 2024", ["qwen"]),
        ("Qwen RESEARCH LICENSE AGREEMENT", ["qwen-research"]),
        ("DEEPSEEK LICENSE AGREEMENT\n\nVersion 1.0, 23 October 2023", ["deepseek"]),
        ("# Mistral AI Research License\n", ["mrl"]),
        ("# Mistral AI Non-Production License\n", ["mnpl"]),
        ("MICROSOFT RESEARCH LICENSE TERMS\n", ["microsoft-research-license"]),
        ("FALCON 180B TII LICENSE VERSION 1.0", ["falcon-180b-license"]),
        ("Creative Commons Attribution-NonCommercial 4.0 International Public\nLicense", ["cc-by-nc-4.0"]),
        ("Creative Commons Attribution-ShareAlike 4.0 International Public License", ["cc-by-sa-4.0"]),
        ("CreativeML Open RAIL++-M License\ndated November 24, 2022", ["openrail++"]),
        ("CreativeML Open RAIL-M\ndated August 22, 2022", ["creativeml-openrail-m"]),
        ("You may use this for good, and not for evil.", []),
        ("", []),
    ],
)
def test_texts_are_recognised(text, expected):
    assert [licence.name for licence in recognise_licences(text)] == expected


@pytest.mark.parametrize(("text", "expected"), [(CC_BY, "cc-by-4.0"), (CC0, "cc0-1.0"), (GPL, "gpl-3.0")])
def test_longer_texts_are_recognised(text, expected):
    assert [licence.name for licence in recognise_licences(text)] == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "The docs are under CC0 1.0 Universal. The model weights are for research only.",
        "CC0 1.0 Universal holds for the docs.",
        "Creative Commons Attribution 4.0 International Public License, but commercial use is forbidden",
        CC_BY + "Commercial use is forbidden.",
        "ACME research license. You may look at it. The Gemma Terms of Use apply too.",
        "Gemma Terms of Use. You may not use it for commercial purposes.",
        MIT.replace("without restriction", "without restriction for NON-COMMERCIAL research purposes"),
        MIT.replace("without restriction", "without restriction in Europe"),
        MIT + "The model weights are for research.",
        APACHE.replace("END OF TERMS", "No commercial use. END OF TERMS"),
        "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\nOnly for academic use.",
    ],
)
def test_mentions_and_changed_texts_are_not(text):
    assert recognise_licences(text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Non-Commercial use", True),
        ("noncommercial", True),
        ("This is for research\npurposes only.", True),
        ("Commercial use is not permitted.", True),
        ("Commercial use requires a licence.", True),
        ("used solely for academic work", True),
        ("Copyright Some Body", False),
        ("2. Additional Commercial Terms. If, on the release date, ...", False),
        ("including but not limited to work stoppage, or any and all other commercial damages", False),
    ],
)
def test_words_that_restrict_use(text, expected):
    assert restricts_use(text) == expected
