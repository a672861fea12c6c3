"""The journal: what is read back from it, whatever the moment at which its writer was stopped."""

import json

import pytest
import xxhash

import smelt
import tiny
from smelt.running.journal import Claim, Journal, can_resume, describe_run, find_difference
from smelt.tensors.platform import open_locked, remove_locked

COPY = "merge_method: passthrough\nmodels: [{model: a}]\n"

HEAD = {"smelt_journal": 1, "plan": "p", "layout": "l", "inputs": [], "replaces": None}


@pytest.fixture
def open_journal(tmp_path):
    opened = []

    def open_it():
        for file in opened:
            file.close()
        opened.append(open_locked(tmp_path / "journal"))
        return Journal(opened[-1])

    return open_it


def test_what_was_claimed_is_read_back(tmp_path, open_journal):
    journal = open_journal()
    assert (journal.head, journal.claims, journal.finish, journal.has_claims) == (None, {}, None, False)
    journal.begin(HEAD)
    journal.claim("x", 0, b"abc")
    journal.claim("y\n\u2028é", 4, b"de", (1, 0, 2))
    journal.claim("x", 0, b"abcd")  # the block was done again
    assert journal.has_claims
    lines = (tmp_path / "journal").read_text().splitlines()
    assert json.loads(lines[1]) == ["x", 0, 3, xxhash.xxh3_128_hexdigest(b"abc")]
    again = open_journal()
    assert again.head == HEAD
    assert list(again.claims.values()) == [
        Claim("x", 0, 4, xxhash.xxh3_128_hexdigest(b"abcd"), ()),
        Claim("y\n\u2028é", 4, 6, xxhash.xxh3_128_hexdigest(b"de[1, 0, 2]"), (1, 0, 2)),
    ]


def test_cut_off_anywhere_it_is_read_up_to_the_last_whole_line(tmp_path, open_journal):
    journal = open_journal()
    journal.begin(HEAD)
    for start in range(3):
        journal.claim("x", start, b"a")
    journal.begin_finish([5, 6], "out.old", 7)
    whole = (tmp_path / "journal").read_bytes()
    for size in range(len(whole) + 1):
        (tmp_path / "journal").write_bytes(whole[:size])
        journal = open_journal()
        lines = whole[:size].count(b"\n")
        assert (journal.head is not None, len(journal.claims)) == (lines > 0, min(max(lines - 1, 0), 3))
        assert journal.finish == ({"draft": [5, 6], "old": "out.old", "inode": 7} if lines == 5 else None)
        if lines:
            journal.claim("y", 0, b"b")  # stands on a line of its own
            assert len(open_journal().claims) == min(max(lines - 1, 0), 3) + 1


@pytest.mark.parametrize(
    "line",
    [
        b"\0\0\0\0",
        b"null",
        b'["x",0,1]',
        b'["x",1,1,"d"]',
        b'["x",-1,1,"d"]',
        b'["x",0,1.5,"d"]',
        b'[1,0,1,"d"]',
        b'["x",0,1,2]',
        b'["x",0,1,"d","one"]',
        b"[" * 5000,
        b'{"smelt_journal":1}',
        b'{"draft":null,"old":null,"inode":null}',
        b'{"draft":[1],"old":null,"inode":null}',
        b'{"draft":[1,2],"old":3,"inode":null}',
        b'{"draft":[1,2],"old":"out.old","inode":"4"}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_record_ends_the_journal(tmp_path, open_journal, line):
    good = b'["x",0,1,"d"]\n'
    (tmp_path / "journal").write_bytes(
        json.dumps(HEAD).encode() + b"\n" + good + line + b"\n" + good.replace(b"x", b"y")
    )
    assert list(open_journal().claims) == [("x", 0)]
    assert open_journal().finish is None


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b'{"smelt_journal":2}\n["x",0,1,"d"]\n', b'{"smelt_journal":1}\n["x",0,1,"d"]\n', b'["x",0,1,"d"]\n'],
)
def test_without_a_head_of_this_version_nothing_counts(tmp_path, open_journal, content):
    (tmp_path / "journal").write_bytes(content)
    journal = open_journal()
    assert (journal.head, journal.claims) == (None, {})


def test_claims_after_the_finish_take_it_back(open_journal):
    journal = open_journal()
    journal.begin(HEAD)
    journal.begin_finish([5, 6], None, None)
    journal.claim("x", 0, b"a")
    assert open_journal().finish is None


def test_one_run_at_a_time(tmp_path):
    with open_locked(tmp_path / "journal"):
        assert open_locked(tmp_path / "journal") is None
    with open_locked(tmp_path / "journal") as file:
        remove_locked(file)
    assert not (tmp_path / "journal").exists()


def test_what_makes_two_runs_the_same(here):
    tiny.save_llama(here / "a", 0)
    head = describe_run(smelt.plan(COPY))
    assert json.loads(json.dumps(head)) == head
    assert can_resume(head)
    assert find_difference(head, {**head, "replaces": [7, 8]}) is None
    other = describe_run(smelt.plan(COPY + "parameters: {scale: 2}\n"))
    assert find_difference(head, other).startswith("its plan is another one (digest ")
    smaller = describe_run(smelt.plan(COPY, max_shard_size="100"))
    assert find_difference(head, smaller) == "its files are laid out otherwise (names, sizes or headers)"
    tiny.save_llama(here / "a", 1)
    assert find_difference(head, describe_run(smelt.plan(COPY))) == (
        "its input 'a' is not the same any more (model.safetensors)"
    )


def test_arrays_in_memory_have_no_fingerprint():
    arrays = {"x": tiny.llama(0)["model.norm.weight"]}
    assert not can_resume(describe_run(smelt.plan(2 * smelt.Checkpoint(arrays))))
