import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import CorpusmillError
from pipeline.storage import TEMPORARY, Root, expand, open_input


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    root = Root(str(tmp_path))
    root.write("a/b.txt", b"first")

    def fail_half_way():
        with root.writing("a/b.txt") as path:
            Path(path).write_bytes(b"half")
            assert root.read("a/b.txt") == b"first"
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert root.read("a/b.txt") == b"first"
    root.write("b/wiki.tmp-1.txt", b"not ours")
    assert root.sizes("b") == {"b/wiki.tmp-1.txt": 8}
    assert os.listdir(tmp_path / "a") == ["b.txt"]
    assert root.sizes("a") == {"a/b.txt": 5}


def test_a_full_disk_leaves_nothing_under_the_final_name(tmp_path):
    root = Root(str(tmp_path))
    code = (
        "import resource, signal, sys; from pipeline.storage import Root\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "Root(sys.argv[1]).write('x/big', bytes(5000))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "OSError" in done.stderr
    assert root.sizes("x") == {}


def test_sweep_removes_what_a_killed_process_left(tmp_path):
    code = (
        "import os, signal, sys; from pipeline.storage import Root\n"
        "with Root(sys.argv[1]).writing('x/part') as path:\n"
        "    open(path, 'wb').write(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    assert done.returncode == -signal.SIGKILL
    assert [name.startswith(TEMPORARY) for name in os.listdir(tmp_path / "x")] == [True]
    root = Root(str(tmp_path))
    assert root.sizes("x") == {}
    assert root.sweep("x", "absent") == 1
    assert os.listdir(tmp_path / "x") == []


def test_what_a_killed_process_left_on_its_way_to_remote_storage_is_swept(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # read TMPDIR again
    code = (
        "import sys; from pipeline.storage import Root\n"
        "with Root('memory://x').writing('part') as path:\n"
        "    open(path, 'wb').write(b'half'); print('written', flush=True); sys.stdin.read()"
    )
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([sys.executable, "-c", code], **options) as killed,
        subprocess.Popen([sys.executable, "-c", code], **options) as living,
    ):
        assert [process.stdout.readline() for process in (killed, living)] == ["written\n"] * 2
        killed.kill()
        killed.wait()
        (tmp_path / "corpusmill-scratch-notes.txt").write_text("not ours")
        assert len(list(tmp_path.glob("*/part"))) == 2
        assert Root("memory://y").sweep("any") == 1
        assert len(list(tmp_path.glob("*/part"))) == 1  # what is still written stays
        living.communicate("")
        assert living.returncode == 0
    assert os.listdir(tmp_path) == ["corpusmill-scratch-notes.txt"]


def test_a_second_holder_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    code = (
        "import sys; from pipeline.storage import Root\n"
        "with Root(sys.argv[1]).lock():\n    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(CorpusmillError, match=str(holder.pid)), Root(str(tmp_path)).lock():
        pass
    holder.kill()
    holder.communicate()
    with Root(str(tmp_path)).lock():
        pass


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(CorpusmillError, match=r"ledger/lock: this file cannot be locked: No locks"):  # noqa: SIM117
        with Root(str(tmp_path)).lock():
            pass


def test_a_lock_that_was_unlocked_and_taken_by_another_run_stays():
    root = Root("memory://unlocked")
    with root.lock():
        root.remove("ledger/lock")
        root.write("ledger/lock", b"another run's")
    assert root.read("ledger/lock") == b"another run's"
    root.remove("ledger/lock")
    with root.lock():
        root.remove("ledger/lock")
    assert root.size("ledger/lock") is None


def test_json_that_is_none_is_named(tmp_path):
    root = Root(str(tmp_path))
    assert root.read_json("absent.json") is None
    root.write("bad.json", b"{")
    with pytest.raises(CorpusmillError, match=r"bad\.json"):
        root.read_json("bad.json")
    root.write_json("good.json", {"b": 1, "a": [2]})
    assert json.loads(root.read("good.json")) == {"a": [2], "b": 1}


def test_expand_is_sorted_and_lists_files_only(tmp_path):
    for name in ("b.gz", "a.gz", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "d.gz").mkdir()
    assert [os.path.basename(p) for p in expand(f"{tmp_path}/*.gz")] == ["a.gz", "b.gz"]
    assert expand(f"{tmp_path}/nothing*") == []
    with open_input(f"{tmp_path}/a.gz") as file:
        assert file.read() == b"x"


def test_what_exists_as_it_is_written_is_no_pattern(tmp_path):
    names = ("dumps [2024]/a1.gz", "dumps [2024]/a[1].gz", "dumps [2024]/b*.gz", "dumps [2024]/b?.gz", "dumps 2/a1.gz")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    def found(pattern):
        return [os.path.relpath(path, tmp_path) for path in expand(f"{tmp_path}/{pattern}")]

    for name in names:
        assert found(name) == [name]
    assert found("dumps [2024]/*1*") == ["dumps [2024]/a1.gz", "dumps [2024]/a[1].gz"]
    assert found("dumps [2024]/a[12].gz") == ["dumps [2024]/a1.gz"]
    assert found("dumps [2]/*") == ["dumps 2/a1.gz"]
    assert len(found("**/a*")) == 3


def test_an_unknown_protocol_names_the_package_to_install():
    with pytest.raises(CorpusmillError, match="no storage driver"):
        Root("nosuch://bucket/corpus")
