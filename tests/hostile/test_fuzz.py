"""Mutated headers, indices, configurations and recipes: each is merged, or refused in one line.

Every example is planned and, if it can be, merged. What is checked each time: no exception but smelt's own, a message
that can be shown, less than 2 s, less than 300 MB, and nothing written outside the output folder.
"""

import os
import random
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import KINDS, RECIPES
from refusals import check_message

import smelt
import tiny
from smelt.errors import SmeltError
from smelt.running.runner import run_plan

EXAMPLES = 250  # of each of the four kinds
MANY_EXAMPLES = 2_750
LONGEST_SECONDS = 2
MOST_BYTES = 300_000_000


@contextmanager
def limited_memory():
    """Let the process have 300 MB more than it has now, where the system says how much that is."""
    if not Path("/proc/self/statm").exists():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def write_models(folder):
    for seed, name in enumerate("ab"):
        files = {"tokenizer.json": tiny.tokenizer(*"abcdefgh"), "tokenizer_config.json": {"chat_template": "x"}}
        tiny.save(folder / name, tiny.llama(seed), tiny.config(), files, shards=1 + seed)


def list_files(folder):
    return sorted(os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)


def try_to_merge(recipe, out):
    """Merge a recipe; a refusal must be one line."""
    started = time.process_time()  # not that of the clock, which other processes slow down
    try:
        plan = smelt.plan(recipe)
        run_plan(plan, out, threads=1)
    except SmeltError as error:
        check_message(error)
    assert time.process_time() - started < LONGEST_SECONDS


pytestmark = pytest.mark.filterwarnings("ignore:.*NaN or infinite")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The models as they are before anything is mutated, in a process that has merged once."""
    folder = tmp_path_factory.mktemp("fuzz")
    write_models(folder)
    return folder


def fuzz(kind, seed, original, here):
    """Try one example."""
    shutil.rmtree(here / "work", ignore_errors=True)
    work = here / "work"
    shutil.copytree(original, work)
    os.chdir(work)
    recipe = KINDS[kind](work, random.Random(f"{kind} {seed}"))
    out = work / "out" if seed % 4 == 0 else None  # the others in memory: waiting for the disk takes most of the time
    before = list_files(here)
    try_to_merge(recipe, out)
    assert [path for path in list_files(here) if not path.startswith(str(work / "out"))] == before


def run_fuzz(kind, count, original, here):
    @settings(max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
    @given(st.integers(0, 2**64))
    def try_all(seed):
        fuzz(kind, seed, original, here)

    for recipe in RECIPES:  # so that what is imported and kept once does not count
        shutil.rmtree(here / "work", ignore_errors=True)
        shutil.copytree(original, here / "work")
        os.chdir(here / "work")
        try_to_merge(recipe, here / "work" / "out")
        assert (here / "work" / "out" / "model.safetensors").exists()
    with limited_memory():
        try_all()


@pytest.mark.parametrize("kind", KINDS)
def test_mutated(kind, original, here):
    run_fuzz(kind, EXAMPLES, original, here)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_mutated_many_times(kind, original, here):
    run_fuzz(kind, MANY_EXAMPLES, original, here)
