"""A local server stands in for the hub; each read runs in a process of its own, as the address is taken at import."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from safetensors.numpy import save

ARRAYS = {f"layer.{n}": np.full((300, 200), n, np.float32) for n in range(3)}
SHARDS = {f"model-{n + 1:05d}-of-00003.safetensors": save({k: v}) for n, (k, v) in enumerate(ARRAYS.items())}
INDEX = json.dumps({"weight_map": dict(zip(ARRAYS, SHARDS, strict=True))}).encode()
SMALL = {"config.json": b'{"vocab_size": 7}', "tokenizer.model": b"\0\1", "modeling_x.py": b"x = 1\n"}
MANY = {f"t{n}.{'x' * 80}": np.zeros(1, np.uint8) for n in range(900)}  # a header beyond the first request
SHA = {name: character * 40 for name, character in [("main", "a"), ("v1", "b")]}
SHARDED = {**SMALL, **SHARDS, "model.safetensors.index.json": INDEX, "onnx/model.onnx": b"?", "pytorch_model.bin": b"?"}
REPOSITORIES = {
    "org/sharded": {"main": SHARDED},
    "org/single": {
        "main": {**SMALL, "model.safetensors": save(MANY)},
        "v1": {**SMALL, "model.safetensors": save({"old": np.arange(4, dtype=np.int8)})},
    },
    "org/gated": {"main": {**SMALL, "model.safetensors": save(MANY)}},
    "org/pickled": {"main": {**SMALL, "pytorch_model.bin": b"?"}},
    "org/merge": {"main": {"README.md": b"a card", "merge.gguf": b"?"}},
    "org/cut": {"main": {**SMALL, "model.safetensors": save(MANY)[:-5]}},
}
REVISIONS = {**{sha: name for name, sha in SHA.items()}, "main": "main", "v1": "v1"}


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0].strip("/")
        api = re.fullmatch(r"api/models/(\w+/\w+)(?:/(revision|tree)/(\w+))?", path)
        resolve = re.fullmatch(r"(\w+/\w+)/resolve/(\w+)/(.+)", path)
        repository, revision = (api[1], api[3] or "main") if api else (resolve[1], resolve[2]) if resolve else ("", "")
        if repository not in REPOSITORIES:
            return self.answer(401 if repository == "org/private" else 404, {"X-Error-Code": "RepoNotFound"})
        files = REPOSITORIES[repository].get(REVISIONS.get(revision))
        if files is None:
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        if api:
            return self.answer_api(api[2], repository, SHA[REVISIONS[revision]], files)
        if repository == "org/gated":
            return self.answer(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask for access"})
        if resolve[3] not in files:
            return self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": SHA[REVISIONS[revision]]})
        return self.answer_file(resolve[3], SHA[REVISIONS[revision]], files[resolve[3]])

    def answer_api(self, kind, repository, sha, files):
        if kind == "tree":
            listed = [{"type": "file", "path": n, "size": len(c), "oid": sha} for n, c in files.items()]
        else:
            siblings = [{"rfilename": n, "size": len(c)} for n, c in files.items()]
            listed = {"id": repository, "sha": sha, "private": False, "siblings": siblings}
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(listed).encode())

    def answer_file(self, name, sha, content):
        status, headers = 200, {"ETag": f'"{sha[:1]}{len(content)}{name.replace("/", "-")}"', "X-Repo-Commit": sha}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part:
            total, status = len(content), 206
            content = content[int(part[1]) : int(part[2] or total) + 1]
            headers["Content-Range"] = f"bytes {part[1]}-{int(part[1]) + len(content) - 1}/{total}"
        if self.command == "GET":
            self.server.sent.append((name, len(content)))
        self.answer(status, headers, content)

    def answer(self, status, headers, content=b""):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.sent = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def run(code, home, port, **environment):
    """Run code that fills ``result``, in a process whose hub is the local server; errors come back as ``error``."""
    script = f"""
import json, numpy as np
from smelt.errors import SmeltError
from smelt.tensors.checkpoint import Checkpoint
def read(checkpoint, name):
    buffer = np.zeros(checkpoint.specs[name].size_bytes, np.uint8)
    checkpoint.read(name, 0, buffer)
    return int(buffer.astype(np.int64).sum())
def attempt(*arguments):
    try:
        Checkpoint(*arguments).specs
    except SmeltError as error:
        return f"{{type(error).__name__}}: {{error}}"
result = {{}}
{code}
print(json.dumps(result))
"""
    inherited = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    inherited.update(HF_HOME=str(home), HF_ENDPOINT=f"http://127.0.0.1:{port}", HF_HUB_DISABLE_XET="1", **environment)
    inherited.pop("HF_TOKEN", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=inherited, cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


PLAN = """
checkpoint = Checkpoint("org/sharded")
result.update(names=list(checkpoint.specs), files=checkpoint.files, config=checkpoint.config, commit=checkpoint.commit)
result.update(identity=checkpoint.identity, repository=checkpoint.repository)
result.update(code=checkpoint.read_file("modeling_x.py").decode())
"""


def test_planning_reads_headers_and_fetch_reads_whole_files_and_then_the_cache_suffices(hub, tmp_path):
    port = hub.server_address[1]
    expected = {
        "names": list(ARRAYS),
        "files": ["config.json", "modeling_x.py", "tokenizer.model"],
        "config": {"vocab_size": 7},
        "commit": SHA["main"],
        "identity": ["hub", "org/sharded", SHA["main"]],
        "repository": "org/sharded",
        "code": "x = 1\n",
    }
    refused = "\ntry: read(checkpoint, 'layer.2')\nexcept SmeltError as error: result['refused'] = str(error)"
    planned, shown = run(PLAN + refused, tmp_path, port)
    assert "call fetch() before reading" in planned.pop("refused")
    assert planned == expected
    assert shown == ""
    assert "pytorch_model.bin" not in dict(hub.sent)
    assert "onnx/model.onnx" not in dict(hub.sent)
    for name, content in SHARDS.items():
        assert [size for sent, size in hub.sent if sent == name] == [100_000]
        assert len(content) > 240_000

    hub.sent.clear()
    fetched, shown = run(PLAN + "checkpoint.fetch()\nresult['sum'] = read(checkpoint, 'layer.2')", tmp_path, port)
    assert fetched.pop("sum") == int(np.full(60_000, 2, np.float32).view(np.uint8).astype(np.int64).sum())
    assert fetched == expected
    assert shown == ""
    for name, content in SHARDS.items():
        assert (name, len(content)) in hub.sent

    hub.shutdown()
    hub.server_close()
    for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
        cached, _ = run(
            PLAN + "checkpoint.fetch()\nresult['sum'] = read(checkpoint, 'layer.1')", tmp_path, 9, **environment
        )
        assert cached.pop("sum") == int(np.full(60_000, 1, np.float32).view(np.uint8).astype(np.int64).sum())
        assert cached == expected


def test_revisions_long_headers_and_refusals(hub, tmp_path):
    (tmp_path / "mymodel").mkdir()
    code = f"""
result["main"] = list(Checkpoint("org/single").specs)
checkpoint = Checkpoint("org/single@v1")
result["v1"] = list(checkpoint.specs)
result["same"] = checkpoint.identity == Checkpoint("org/single", "{SHA["v1"]}").identity
result["other"] = checkpoint.identity == Checkpoint("org/single").identity
checkpoint.fetch(progress=True)
result["sum"] = read(checkpoint, "old")
for name in ("org/single@v2", "org/nothing", "mymodle", "org/private", "org/gated", "org/pickled", "org/cut"):
    result[name] = attempt(name)
result["no token"] = attempt("x" * 97)
"""
    result, shown = run(code, tmp_path, hub.server_address[1])
    assert sorted(result["main"]) == sorted(MANY)
    header_bytes = int.from_bytes(save(MANY)[:8], "little")
    assert [size for name, size in hub.sent if name == "model.safetensors"][:2] == [100_000, 8 + header_bytes - 100_000]
    assert result["v1"] == ["old"]
    assert (result["same"], result["other"], result["sum"]) == (True, False, 6)
    assert "model.safetensors" in shown or "100%" in shown  # the bars that were asked for
    messages = {
        "org/single@v2": "InputError: org/single@v2: the hub has the model, but no such revision",
        "org/nothing": "InputError: org/nothing: the hub has no such model, or it is private and needs 'hf auth login'"
        "; nor is there such a folder here",
        "org/gated": "InputError: org/gated: gated: accept its licence at "
        f"http://127.0.0.1:{hub.server_address[1]}/org/gated, then run 'hf auth login'",
    }
    assert {name: result[name] for name in messages} == messages
    assert result["mymodle"].endswith("nor is there such a folder here; did you mean 'mymodel'?")
    assert "is private and needs 'hf auth login'" in result["org/private"]
    assert "org/pickled: only pytorch_model.bin and no safetensors weights; convert with" in result["org/pickled"]
    assert "truncated: 5 of 900 bytes of data are missing" in result["org/cut"]
    assert result["no token"].startswith("InputError: xxx")
    assert all("\n" not in value for value in result.values() if isinstance(value, str))


FIRST = """
from smelt.tensors.hub import load_first
def first(repository, revision, *names):
    try:
        name, content = load_first(repository, revision, names) or ("nothing", b"")
        return [name, content.decode()]
    except SmeltError as error:
        return str(error)
result["card"] = first("org/merge", None, "mergekit_config.yml", "README.md")
"""


def test_small_files_of_a_repository_without_weights(hub, tmp_path):
    more = """
result["none"] = first("org/merge", "main", "mergekit_config.yml", "smelt_recipe.yml")
result["gated"] = first("org/gated", None, "README.md")
result["missing"] = first("org/nothing", None, "README.md")
"""
    result, shown = run(FIRST + more, tmp_path, hub.server_address[1])
    assert result["card"] == ["README.md", "a card"]
    assert result["none"] == ["nothing", ""]
    assert result["gated"].startswith("org/gated: gated: accept its licence at ")
    assert result["missing"].startswith("org/nothing: the hub has no such model, ")
    assert shown == ""
    assert "merge.gguf" not in dict(hub.sent)

    hub.shutdown()
    hub.server_close()
    more = """result["gone"] = first("org/merge", None, "smelt_recipe.yml")"""
    cached, _ = run(FIRST + more, tmp_path, 9, HF_HUB_OFFLINE="1")
    assert cached["card"] == ["README.md", "a card"]
    assert cached["gone"] != ["README.md", "a card"]


def make_cache(home, files, commit=SHA["main"], revision="main"):
    repository = home / "hub" / "models--org--model"
    snapshot = repository / "snapshots" / commit
    (repository / "refs").mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs" / revision).write_text(commit)
    snapshot.mkdir(parents=True)
    for number, (name, content) in enumerate(files.items()):
        (repository / "blobs" / str(number)).write_bytes(content)
        (snapshot / name).symlink_to(repository / "blobs" / str(number))


@pytest.mark.parametrize(
    "weights", [{"model.safetensors": save(ARRAYS)}, {**SHARDS, "model.safetensors.index.json": INDEX}]
)
def test_a_complete_snapshot_needs_no_network(tmp_path, weights):
    make_cache(tmp_path, {**SMALL, **weights}, revision="v1")
    code = """
for arguments in (("org/model@v1",), ("org/model", "v1"), ("org/model", "a" * 40)):
    checkpoint = Checkpoint(*arguments)
    result[" ".join(arguments)] = [checkpoint.commit, read(checkpoint, "layer.2"), checkpoint.files]
result["main"] = attempt("org/model")
"""
    result, _ = run(code, tmp_path, 9)
    total = int(np.full(60_000, 2, np.float32).view(np.uint8).astype(np.int64).sum())
    assert result.pop("main").startswith("InputError: org/model: cannot be loaded from the hub: ")
    assert list(result.values()) == [[SHA["main"], total, ["config.json", "modeling_x.py", "tokenizer.model"]]] * 3


@pytest.mark.parametrize("missing", ["config.json", "model-00002-of-00003.safetensors", "model.safetensors.index.json"])
def test_an_incomplete_snapshot_is_refused_offline(tmp_path, missing):
    files = {**SMALL, **SHARDS, "model.safetensors.index.json": INDEX}
    del files[missing]
    make_cache(tmp_path, files)
    code = 'result["error"] = attempt("org/model"); result["revision"] = attempt("org/model@v1")'
    result, _ = run(code, tmp_path, 9, HF_HUB_OFFLINE="1")
    assert result["error"] == (
        "InputError: org/model: not (completely) in the cache, and HF_HUB_OFFLINE is set; unset it, or run "
        "'hf download org/model' where there is a network; nor is there such a folder here"
    )
    assert "'hf download org/model --revision v1'" in result["revision"]
