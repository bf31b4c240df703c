"""Fetching from a real server on loopback that serves both publishers' layouts and can misbehave."""

import gzip
import hashlib
import json
import random
import re
import signal
import subprocess
import threading
import time

import pytest

from pipeline import cli
from pipeline.build import Builder
from pipeline.config import load, load_fetch
from pipeline.sources.client import Client, _seconds
from pipeline.sources.commoncrawl import resolve
from pipeline.sources.download import Meter
from tests.corpus import command, write_config
from tests.mirror import (
    CRAWL,
    Corrupt,
    Hold,
    IgnoreRange,
    Instead,
    Mirror,
    OtherRange,
    Redirect,
    Short,
    Slow,
    Status,
    add_content,
    etag,
    free_port,
    listing,
    pages,
)

CONTENT = "/other/mediawiki_content_current/zhwiki/2018-06-01/xml/bzip2"
LEGACY = "zhwiki-20180601-pages-articles-multistream.xml.bz2"
WIKI = ["wikipedia", "--wiki", "zhwiki"]
OLD = [*WIKI, "--kind", "legacy", "--date", "2018-06-01"]


def fetch(config, *arguments):
    return cli.main(["fetch", *arguments, "--config", str(config)])


def stored(config, dump):
    """What lies in the folder of a dump, without the listing and unfinished files."""
    files = (config.parent / "dumps" / dump).iterdir()
    return {path.name: path.read_bytes() for path in files if path.name != "listing.json" and path.name[0] != "."}


def offered(mirror, folder):
    return {
        path.rsplit("/", 1)[1]: body
        for path, body in mirror.files.items()
        if path.startswith(folder) and path.endswith((".bz2", ".gz")) and "-index" not in path
    }


@pytest.mark.parametrize(
    ("arguments", "dump", "folder", "checksum"),
    [
        (WIKI, "wikimedia/zhwiki/2018-06-01", CONTENT, "sha256"),
        ([*WIKI, "--date", "20180501"], "wikimedia/zhwiki/2018-05-01", CONTENT.replace("-06-", "-05-"), "sha256"),
        ([*WIKI, "--kind", "legacy"], "wikimedia/zhwiki/20180601", "/zhwiki/20180601/", "sha1"),
        (
            ["commoncrawl", "--files", "9"],
            f"commoncrawl/{CRAWL}/wet",
            f"/crawl-data/{CRAWL}/segments/1715971057216.39/wet",
            "",
        ),
        (
            ["commoncrawl", "--crawl", CRAWL, "--kind", "warc", "--sample", "1"],
            f"commoncrawl/{CRAWL}/warc",
            f"/crawl-data/{CRAWL}/segments/1715971057216.39/warc",
            "",
        ),
    ],
    ids=["content", "content of a date", "legacy", "wet", "warc"],
)
def test_a_dump_is_here_as_published_and_fetched_once(mirror, config, arguments, dump, folder, checksum, capsys):
    assert fetch(config, *arguments) == 0
    wanted = offered(mirror, folder)
    assert wanted
    assert stored(config, dump) == wanted
    known = json.loads((config.parent / "dumps" / dump / "listing.json").read_text())
    for name, body in wanted.items():
        entry = known[name]
        kind, _, digest = entry["checksum"].partition(":")
        assert (entry["bytes"], digest) == (len(body), hashlib.new(kind, body).hexdigest())
        assert (kind, entry["published_checksum"]) == ((checksum, True) if checksum else ("sha256", False))
        assert mirror.files[entry["url"].removeprefix(mirror.url)] == body
    assert all("tests@example.org" in request.headers["User-Agent"] for request in mirror.requests)
    assert f"{dump}: " in capsys.readouterr().err
    mirror.requests.clear()
    assert fetch(config, *arguments) == 0
    assert not [path for path in mirror.paths() if path.rsplit("/", 1)[1] in wanted]


def test_a_dry_run_prints_files_and_bytes_and_stores_nothing(mirror, config, capsys):
    assert fetch(config, *OLD, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    size = len(mirror.files[f"/zhwiki/20180601/{LEGACY}"])
    assert plan["files"] == [{"name": LEGACY, "bytes": size, "here": False}]
    assert (plan["bytes"], plan["bytes_to_fetch"], plan["date"]) == (size, size, "20180601")
    assert not (config.parent / "dumps").exists()
    assert fetch(config, *OLD, "--dry-run") == 0
    assert LEGACY in capsys.readouterr().out
    assert [path for path in mirror.paths() if path.endswith(".bz2")] == []


def test_a_larger_sample_holds_the_smaller_and_a_seed_chooses_another(mirror, config):
    kind = f"crawl-data/{CRAWL}/segments/1.2/wet/CC-MAIN-1"
    names = [f"{kind}-{n:05d}.warc.wet.gz" for n in range(400)]
    mirror.files[f"/crawl-data/{CRAWL}/wet.paths.gz"] = gzip.compress("\n".join(names).encode())
    mirror.files |= {f"/{name}": b"x" for name in names}
    settings = load_fetch(str(config))
    client = Client(settings, settings.commoncrawl)

    def chosen(sample, seed=0):
        return {file.name for file in resolve(client, CRAWL, "wet", sample=sample, seed=seed).files}

    small, large = chosen(0.02), chosen(0.1)
    assert small < large
    assert 20 < len(large) < 60
    assert chosen(0.1, seed=1) != large
    assert [file.path for file in resolve(client, CRAWL, "wet", first=3).files] == names[:3]


def arrived(folder):
    """Bytes of unfinished files."""
    return sum(path.stat().st_size for path in folder.glob(".part-*.bz2"))


@pytest.mark.slow
def test_killed_at_ten_random_moments_and_resumed_the_bytes_are_the_same(mirror, config):
    rng = random.Random(8)
    folder = config.parent / "dumps/wikimedia/zhwiki/2018-06-01"
    wanted = offered(mirror, CONTENT)
    arguments = command("fetch", *WIKI, "--config", config)
    resumed = 0
    for moment in range(10):
        reached = threading.Event()
        where = f"{CONTENT}/SHA256SUMS" if moment in (0, 5) else f"{CONTENT}/zhwiki*.bz2"
        mirror.misbehave(where, *[Hold(rng.randrange(0, 12_000), reached)] * 2)
        mirror.requests.clear()
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert reached.wait(60)
        before = arrived(folder)
        rounds = rng.randrange(0, 400)  # some die before they have read what was sent, some after
        while rounds and arrived(folder) == before:
            rounds -= 1
        process.send_signal(signal.SIGKILL)
        process.communicate()
        resumed += sum("Range" in request.headers for request in mirror.requests)
        if folder.exists():
            assert stored(config, "wikimedia/zhwiki/2018-06-01").items() <= wanted.items()
    assert resumed > 2
    mirror.script.clear()
    assert fetch(config, *WIKI) == 0
    assert stored(config, "wikimedia/zhwiki/2018-06-01") == wanted
    assert {path.name for path in folder.iterdir()} == {*wanted, "listing.json"}


@pytest.mark.parametrize(
    "answers",
    [
        [Status(503, "0")],
        [Status(429, "0"), Status(503), Status(500)],
        [Status(503, "Fri, 01 Jun 2018 10:00:00 GMT")],
        [Short(0)],
        [Short(1000)],
        [Short(1000), Short(50_000), Short(0), Short(7)],
        [Short(1000), IgnoreRange()],
        [Short(1000), OtherRange()],
        [Short(1000), Status(503, "0"), Status(416)],
        [Short(1000), Corrupt(120_000)],  # the rest is wrong: the whole is asked for anew
        [Redirect("/elsewhere.bz2")],
    ],
    ids=lambda answers: str(len(answers)),
)
def test_a_busy_or_broken_server_costs_attempts_and_no_bytes(mirror, config, answers):
    path = f"/zhwiki/20180601/{LEGACY}"
    mirror.files["/elsewhere.bz2"] = mirror.files[path]
    mirror.misbehave(path, *answers)
    assert fetch(config, *OLD) == 0
    assert mirror.script[path] == []  # each of them happened
    assert stored(config, "wikimedia/zhwiki/20180601") == {LEGACY: mirror.files[path]}


def test_a_cut_download_asks_for_the_rest_only(mirror, config):
    path = f"/zhwiki/20180601/{LEGACY}"
    mirror.misbehave(path, Short(1000))
    assert fetch(config, *OLD) == 0
    first, second = [request.headers for request in mirror.requests if request.path == path]
    assert "Range" not in first
    assert (second["Range"], second["If-Range"]) == ("bytes=1000-", etag(mirror.files[path]))


def test_a_slow_start_is_waited_for_up_to_the_timeout(mirror, config, capsys):
    path = f"/zhwiki/20180601/{LEGACY}"
    released = threading.Event()
    mirror.misbehave(path, Slow(released))
    assert fetch(config, *OLD, "--set", "fetch.timeout=0.2") == 0  # the second attempt is answered at once
    released.set()
    assert stored(config, "wikimedia/zhwiki/20180601") == {LEGACY: mirror.files[path]}


def test_a_file_that_changes_while_it_is_fetched_is_one_version_or_refused(mirror, config, capsys):
    path = f"/crawl-data/{CRAWL}/segments/1715971057216.39/warc/CC-MAIN-20240517233122-20240518023122-00000.warc.gz"
    arguments = ["commoncrawl", "--crawl", CRAWL, "--kind", "warc", "--files", "1"]
    body = mirror.files[path]
    other = bytes(reversed(body))
    mirror.misbehave(path, Short(1000), Instead(other))  # another ETag: If-Range makes it the whole
    mirror.files[path] = other
    assert fetch(config, *arguments) == 0
    assert stored(config, f"commoncrawl/{CRAWL}/warc") == {path.rsplit("/", 1)[1]: other}
    (config.parent / f"dumps/commoncrawl/{CRAWL}/warc/listing.json").unlink()
    mirror.files[path] = other + b"more"
    mirror.misbehave(path, Instead(other + b"still more"))
    assert fetch(config, *arguments) == 1
    assert "the publisher may be replacing it: run the same command again later" in capsys.readouterr().err


REFUSED = {
    "wrong checksum": ([Corrupt()] * 3, 1, "where the publisher says", "run the same command again"),
    "redirect to a host": ([Redirect("https://evil.example/x")], 1, "not one of the allowed hosts", "fetch.hosts="),
    "redirect to no URL": ([Redirect("http://[bad")], 1, "redirected to 'http://[bad'", "[fetch]"),
    "redirect to file": ([Redirect("file:///etc/passwd")], 1, "only https is fetched", "[fetch]"),
    "redirect to another port": ([Redirect("http://127.0.0.1:9/x")], 1, "not one of the allowed hosts", "fetch.hosts"),
    "redirect in circles": ([Redirect(f"/zhwiki/20180601/{LEGACY}")] * 9, 1, "in circles", "[fetch]"),
    "another size": ([Instead(b"short")] * 3, 1, "where the publisher's listing says", "again later"),
    "always busy": ([Status(503, "0")] * 9, 1, "503 Service Unavailable; given up after 3", "what has arrived is kept"),
    "always cut": ([Short(0)] * 9, 1, "ended after 0 of 123160 bytes", "run the same command again later"),
    "come back tomorrow": (
        [Status(503, "86400")],
        4,
        "asks to come back in 86400 seconds",
        "run the same command then",
    ),
    "forbidden": ([Status(403)], 1, "403 Forbidden", "fetch.contact"),
    "gone": ([Status(404)], 1, "404 Not Found", "corpusmill sources list"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_fetched_is_refused_with_the_cure_and_never_named(mirror, config, case, capsys):
    answers, status, cause, cure = REFUSED[case]
    mirror.misbehave(f"/zhwiki/20180601/{LEGACY}", *answers)
    assert fetch(config, *OLD, "--set", "fetch.tries=3") == status
    error = capsys.readouterr().err
    assert cause in error
    assert cure in error
    assert stored(config, "wikimedia/zhwiki/20180601") == {}
    mirror.script.clear()
    assert fetch(config, *OLD) == 0  # what was left behind does not hinder the next run
    assert stored(config, "wikimedia/zhwiki/20180601") == {LEGACY: mirror.files[f"/zhwiki/20180601/{LEGACY}"]}


def test_retry_after_is_a_number_a_date_or_nothing(monkeypatch):
    assert [_seconds(text) for text in ("7", " 7 ", "²", "soon", "9" * 5000, None)] == [7, 7, None, None, None, None]
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        date = "Fri, 01 Jan 2100 00:00:00"
        assert _seconds(f"{date} -0000") == pytest.approx(_seconds(f"{date} GMT"), abs=600)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_one_refused_file_does_not_keep_the_others_away(mirror, config, capsys):
    bad = f"{CONTENT}/zhwiki-2018-06-01-p1p999.xml.bz2"
    mirror.misbehave(bad, *[Corrupt()] * 3)
    assert fetch(config, *WIKI) == 1
    assert "1 of 2 files were not fetched" in capsys.readouterr().err
    assert set(stored(config, "wikimedia/zhwiki/2018-06-01")) == {"zhwiki-2018-06-01-p1000r1r2.xml.bz2"}


STATUS = "/zhwiki/20180601/dumpstatus.json"
SUMS = f"{CONTENT}/SHA256SUMS"
PATHS = f"/crawl-data/{CRAWL}/wet.paths.gz"


def _names(mirror, name, url=None):
    """dumpstatus.json with one file of this name."""
    status = json.loads(mirror.files[STATUS])
    job = status["jobs"]["articlesmultistreamdump"]
    entry = {**next(iter(job["files"].values())), "url": f"/zhwiki/20180601/{name}" if url is None else url}
    job["files"] = {name: entry}
    return json.dumps(status).encode()


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("../../../x.xml.bz2", None),
        ("/etc/cron.d/x", None),
        ("zhwiki-20180601-pages-articles/../../x.xml.bz2", None),
        ("enwiki-20180601-pages-articles-multistream.xml.bz2", None),
        ("zhwiki-20180601-pages-articles.xml.bz2\n", None),
        (".tmp-zhwiki-20180601-pages-articles.xml.bz2", None),
        (LEGACY, "/enwiki/20180601/x.xml.bz2"),
        (LEGACY, "https://evil.example/x.xml.bz2"),
        (LEGACY, 7),
    ],
)
def test_names_of_a_listing_cannot_lead_astray(mirror, config, name, url, capsys):
    mirror.files[STATUS] = _names(mirror, name, url)
    assert fetch(config, *OLD) == 1
    assert "suspicious name" in capsys.readouterr().err
    assert not (config.parent / "dumps").exists()


@pytest.mark.parametrize(
    "name", ["../x.xml.bz2", "enwiki-2018-06-01-p1p2.xml.bz2", "/x", "zhwiki-2018-06-01-p1/../../x.bz2"]
)
def test_names_of_checksums_cannot_lead_astray(mirror, config, name, capsys):
    mirror.files[SUMS] = f"{'0' * 64}  {name}\n".encode()
    assert fetch(config, *WIKI) == 1
    assert "suspicious name" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "crawl-data/../../x.warc.wet.gz",
        "https://evil.example/CC-MAIN-1.warc.wet.gz",
        f"crawl-data/{CRAWL}/segments/1/wet/../../../../../x.warc.wet.gz",
        "crawl-data/CC-MAIN-2021-39/segments/1/wet/CC-MAIN-1-00000.warc.wet.gz",
        f"crawl-data/{CRAWL}/segments/1/warc/CC-MAIN-1-00000.warc.gz",
        f"crawl-data/{CRAWL}/segments/1/wet/A-0.warc.wet.gz\ncrawl-data/{CRAWL}/segments/2/wet/A-0.warc.wet.gz",
    ],
)
def test_paths_of_a_crawl_cannot_lead_astray(mirror, config, line, capsys):
    mirror.files[PATHS] = gzip.compress(line.encode())
    assert fetch(config, "commoncrawl", "--crawl", CRAWL, "--files", "2") == 1
    assert "suspicious name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "body", "arguments"),
    [
        (STATUS, b"<html>busy</html>", OLD),
        (STATUS, b"[]", OLD),
        (STATUS, b'{"jobs": {}}', OLD),
        (STATUS, b'{"jobs": {"articlesdump": {"status": "done"}}}', OLD),
        (SUMS, b"nonsense", WIKI),
        (SUMS, b"", WIKI),
        (PATHS, b"not gzip", ["commoncrawl", "--crawl", CRAWL, "--files", "1"]),
        (PATHS, b"\x1f\x8b\x08\x00", ["commoncrawl", "--crawl", CRAWL, "--files", "1"]),
        ("/collinfo.json", b"{", ["commoncrawl", "--files", "1"]),
        ("/collinfo.json", b"[]", ["commoncrawl", "--files", "1"]),
    ],
)
def test_a_listing_that_is_none_is_refused_by_its_url(mirror, config, path, body, arguments, capsys):
    mirror.files[path] = body
    assert fetch(config, *arguments) == 1
    error = capsys.readouterr().err
    assert path in error or "no crawl is listed" in error
    assert "to mend: " in error


def test_a_dump_that_is_being_made_is_not_yet(mirror, config, capsys):
    del mirror.files[f"{CONTENT}/_SUCCESS"], mirror.files[f"{CONTENT}/SHA256SUMS"]
    status = json.loads(mirror.files[STATUS])
    status["jobs"]["articlesmultistreamdump"]["status"] = "in-progress"
    mirror.files[STATUS] = json.dumps(status).encode()
    for arguments in ([*WIKI, "--date", "2018-06-01"], OLD, [*WIKI, "--date", "2018-07-01"]):
        assert fetch(config, *arguments) == 4
        assert "run the same command again later" in capsys.readouterr().err
    for kind, date in (("content", "2018-05-01"), ("legacy", "20180501")):  # latest: the newest that is complete
        assert fetch(config, *WIKI, "--kind", kind) == 0
        assert set(stored(config, f"wikimedia/zhwiki/{date}"))
    mirror.files[f"/{CONTENT.split('/')[1]}/mediawiki_content_current/zhwiki/"] = listing([])
    assert fetch(config, *WIKI) == 4
    assert fetch(config, "commoncrawl", "--crawl", "CC-MAIN-2031-07", "--files", "1") == 4
    assert f"the newest is {CRAWL}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "offer"),
    [
        (["wikipedia", "--wiki", "zhwikii"], "near it: zhwiki"),
        (["wikipedia", "--wiki", "enwik", "--kind", "legacy", "--date", "20180601"], "near it: enwiki"),
        ([*WIKI, "--date", "2018-05-20"], "near it: 2018-05-01, 2018-06-01"),
        ([*WIKI, "--date", "2018-05-20", "--kind", "legacy"], "near it: 20180501, 20180601"),
        ([*WIKI, "--date", "May"], "a date is YYYY-MM-DD or latest"),
        (["commoncrawl", "--crawl", "CC-MAIN-2023-22", "--files", "1"], f"near it: {CRAWL}"),
        (["commoncrawl", "--crawl", "../../x", "--files", "1"], "no crawl is called"),
        (["commoncrawl", "--files", "0"], "from 1"),
        (["commoncrawl", "--sample", "1.5"], "above 0"),
        (["commoncrawl", "--sample", "0.000001"], "a larger --sample"),
        (["commoncrawl"], "one of the arguments"),
    ],
)
def test_what_is_not_offered_is_answered_with_what_is(config, arguments, offer, capsys):
    assert fetch(config, *arguments) == 2
    assert offer in capsys.readouterr().err


@pytest.mark.parametrize("wiki", ["../zhwiki", "ZHwiki", "zh.wikipedia.org", "zhwiki\n", ""])
@pytest.mark.parametrize("more", [[], ["--date", "2018-05-20"]], ids=["latest", "date"])
def test_what_is_no_name_of_a_wiki_is_refused_before_any_request(mirror, config, wiki, more, capsys):
    assert fetch(config, "wikipedia", "--wiki", wiki, *more) == 2
    assert f"{wiki!r} is no name of a wiki" in capsys.readouterr().err
    if wiki:
        assert cli.main(["sources", "list", "wikipedia", "--wiki", wiki, "--config", str(config)]) == 2
        assert "to mend: corpusmill sources list wikipedia" in capsys.readouterr().err
    assert mirror.requests == []


def test_what_is_tried_again_is_said_at_once(mirror, config, capsys):
    origin = f"http://127.0.0.1:{free_port()}"
    offline = ["--set", f"fetch.wikimedia.origin='{origin}'", "--set", "fetch.backoff=0.001"]
    assert cli.main(["sources", "list", "wikipedia", "--config", str(config), *offline]) == 1
    asked, first, *_, last, mend = capsys.readouterr().err.splitlines()
    assert asked == f"asking {origin}"
    assert re.fullmatch(rf"{origin}/\S+: the connection broke: .*; 7 more attempts in 0:00 at least .*", first)
    assert "given up after 8 attempts" in last
    assert "same command" in mend
    mirror.misbehave("/other/*", Status(503, "0"))
    assert cli.main(["sources", "list", "wikipedia", "--config", str(config), "--set", "fetch.backoff=1"]) == 0
    found = capsys.readouterr()
    assert "the server answered 503 Service Unavailable; 7 more attempts in 2:02 at least (fetch.tries)" in found.err
    assert "zhwiki" in found.out


def test_no_contact_no_request(mirror, config, capsys):
    assert fetch(config, *OLD, "--set", "fetch.contact=") == 2
    assert "fetch.contact=you@example.org" in capsys.readouterr().err
    assert fetch(config, *OLD, "--set", "fetch.contact=me") == 2
    assert mirror.requests == []


def test_a_private_address_is_refused_unless_configured(mirror, config, capsys):
    assert fetch(config, *OLD, "--set", "fetch.private_addresses=false") == 1
    error = capsys.readouterr().err
    assert "private address 127.0.0.1" in error
    assert "--set fetch.private_addresses=true" in error
    assert mirror.requests == []


def test_the_disk_is_looked_at_before_the_first_byte(mirror, config, capsys):
    status = json.loads(mirror.files[STATUS])
    status["jobs"]["articlesmultistreamdump"]["files"][LEGACY]["size"] = 10**18
    mirror.files[STATUS] = json.dumps(status).encode()
    assert fetch(config, *OLD) == 1
    error = capsys.readouterr().err
    assert "1000000.0 TB are to be fetched" in error
    assert "fetch.folder" in error
    assert f"/zhwiki/20180601/{LEGACY}" not in mirror.paths()


def test_a_full_disk_is_named(mirror, config):
    """A limit on the size of files stands for the full disk: the write fails, and what is there stays."""
    script = f"ulimit -f 40; exec {' '.join(command('fetch', *OLD, '--config', config))}"
    done = subprocess.run(["bash", "-c", f"trap '' XFSZ; {script}"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot write: File too large" in done.stderr
    assert stored(config, "wikimedia/zhwiki/20180601") == {}
    mirror.requests.clear()
    assert fetch(config, *OLD) == 0
    assert [request.headers["Range"] for request in mirror.requests if request.path.endswith(".bz2")] == [
        "bytes=40960-"
    ]


def test_a_folder_that_cannot_be_written_to_is_no_broken_connection(mirror, config, capsys):
    (config.parent / f"dumps/wikimedia/zhwiki/20180601/.part-{LEGACY}").mkdir(parents=True)
    assert fetch(config, *OLD) == 1
    assert "cannot write: Is a directory" in capsys.readouterr().err
    assert mirror.paths().count(f"/zhwiki/20180601/{LEGACY}") == 1


def test_mirrors_serve_files_and_the_origin_vouches_for_them(mirror, config, capsys):
    path = f"/zhwiki/20180601/{LEGACY}"
    with Mirror() as near:
        near.files = {"/pub" + path: mirror.files[path]}
        mirrors = f"fetch.wikimedia.mirrors=['{near.url}/pub', 'http://127.0.0.1:{free_port()}']"
        assert fetch(config, *OLD, "--set", mirrors) == 0
        assert near.paths() == ["/pub" + path]
        assert path not in mirror.paths()
        known = config.parent / "dumps/wikimedia/zhwiki/20180601/listing.json"
        assert json.loads(known.read_text())[LEGACY]["url"] == mirror.url + path
        known.unlink()
        (known.parent / LEGACY).unlink()
        near.files["/pub" + path] = bytes(reversed(mirror.files[path]))
        assert fetch(config, *OLD, "--set", mirrors, "--set", "fetch.tries=1") == 0
        assert "trying the next address" in capsys.readouterr().err
        assert stored(config, "wikimedia/zhwiki/20180601") == {LEGACY: mirror.files[path]}


def test_at_most_three_files_at_once(mirror, config, capsys):
    text = pages("zhwiki-20180517-pages-articles-excerpt.xml.bz2", 3)
    folder = CONTENT.replace("zhwiki", "aawiki")
    add_content(mirror.files, "aawiki", "2018-06-01", text)
    name = "aawiki-2018-06-01-p1p999.xml.bz2"
    body = mirror.files[f"{folder}/{name}"]
    names = [f"aawiki-2018-06-01-p{n}p{n}.xml.bz2" for n in range(6)]
    mirror.files |= {f"{folder}/{n}": body for n in names}
    sha = hashlib.sha256(body).hexdigest()
    mirror.files[f"{folder}/SHA256SUMS"] = "".join(f"{sha}  {n}\n" for n in names).encode()
    at_once, most, lock = 0, 0, threading.Lock()
    three = threading.Barrier(3)

    def together(handler, data):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        three.wait(30)  # so that three must be here together; a fourth would be counted
        handler.begin_file(data)
        handler.wfile.write(data)
        with lock:
            at_once -= 1

    mirror.misbehave(f"{folder}/*.bz2", *[together] * 6)
    assert fetch(config, "wikipedia", "--wiki", "aawiki", "--date", "2018-06-01") == 0
    assert most <= 3
    assert fetch(config, *WIKI, "--set", "fetch.wikimedia.connections=4") == 2
    assert "less than or equal to 3" in capsys.readouterr().err


def test_progress_tells_bytes_rate_and_time_left():
    meter = Meter("wikimedia/zhwiki/20180601", 2_000_000)
    assert meter.line() == "wikimedia/zhwiki/20180601: 0 B of 2.0 MB, 0 %, 0 B/s, nothing arrived yet"
    meter.add(500_000, new=False)  # an earlier run's
    meter.add(500_000)
    assert re.fullmatch(r".*: 1\.0 MB of 2\.0 MB, 50 %, [\d.]+ [kMG]B/s, [\d:]+ left", meter.line())


def test_what_a_killed_run_left_is_used(mirror, config):
    assert fetch(config, *OLD) == 0
    folder = config.parent / "dumps/wikimedia/zhwiki/20180601"
    (folder / "listing.json").unlink()  # killed between the rename and the listing
    mirror.requests.clear()
    assert fetch(config, *OLD) == 0
    assert not [path for path in mirror.paths() if path.endswith(".bz2")]
    assert LEGACY in json.loads((folder / "listing.json").read_text())
    (folder / "listing.json").unlink()
    (folder / LEGACY).write_bytes(b"x" * len(mirror.files[f"/zhwiki/20180601/{LEGACY}"]))  # damaged since
    assert fetch(config, *OLD) == 0
    assert stored(config, "wikimedia/zhwiki/20180601") == {LEGACY: mirror.files[f"/zhwiki/20180601/{LEGACY}"]}


def test_two_processes_do_not_fetch_into_one_folder(mirror, config, capsys):
    reached = threading.Event()
    mirror.misbehave(f"/zhwiki/20180601/{LEGACY}", Hold(10, reached))
    first = subprocess.Popen(command("fetch", *OLD, "--config", config), stderr=subprocess.DEVNULL)
    assert reached.wait(60)
    assert fetch(config, *OLD) == 1
    first.kill()
    first.wait()
    assert "another process is fetching into this folder" in capsys.readouterr().err


def test_the_users_file_the_corpus_and_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "corpusmill.toml").write_text(
        '[fetch]\ncontact = "me@example.org"\n[fetch.wikimedia]\nmirrors = ["https://near.example/w"]\n'
    )
    (tmp_path / "sub").mkdir()
    corpus = tmp_path / "sub/corpus.toml"
    corpus.write_text('name = "x"\n[fetch]\ntries = 3\n[fetch.wikimedia]\nconnections = 1\n')
    found = load_fetch(str(corpus), ["fetch.timeout=5"])
    assert (found.contact, found.tries, found.timeout) == ("me@example.org", 3, 5)
    assert (found.wikimedia.connections, found.wikimedia.mirrors) == (1, ["https://near.example/w"])
    assert found.folder == str(tmp_path / "sub/dumps")
    monkeypatch.chdir(tmp_path)
    assert load_fetch(None).folder == str(tmp_path / "dumps")
    for wrong in ("fetch.contakt=a@b.org", "fetch.wikimedia.origin=file:///x", "fetch.contact=a\nb@c.org"):
        assert cli.main(["sources", "list", "--set", wrong]) == 2
    assert "did you mean 'contact'?" in capsys.readouterr().err


def test_sources_lists_publishers_wikis_dates_and_crawls(config, capsys):
    def listed(*arguments):
        assert cli.main(["sources", "list", *arguments, "--config", str(config)]) == 0
        return capsys.readouterr().out

    assert "connections" in listed()
    for kind in ("content", "legacy"):
        assert listed("wikipedia", "--kind", kind).split() == ["enwiki", "zhwiki"]
    assert json.loads(listed("wikipedia", "--wiki", "zhwiki", "--json")) == ["2018-05-01", "2018-06-01"]
    assert listed("wikipedia", "--wiki", "zhwiki", "--kind", "legacy").split() == ["20180501", "20180601"]
    assert listed("commoncrawl").split() == ["CC-MAIN-2021-39", CRAWL]


def test_where_dumps_come_from_is_not_in_the_corpus(config, tmp_path):
    from pipeline.build import config_record

    plain = write_config(tmp_path / "plain")
    with_fetch = tmp_path / "plain/with.toml"
    with_fetch.write_text(plain.read_text() + config.read_text())
    assert config_record(load(str(plain))) == config_record(load(str(with_fetch)))


@pytest.mark.slow
def test_ingest_reads_urls_as_it_reads_files(mirror, tmp_path, monkeypatch, capsys):
    """The mirror over http, as fsspec reads https: found, cut, known by its ETag, parsed."""
    pytest.importorskip("aiohttp", reason="needs the extra [s3]")
    from fsspec.config import conf

    path = f"/zhwiki/20180601/{LEGACY}"
    (tmp_path / LEGACY).write_bytes(mirror.files[path])
    remote = write_config(tmp_path / "remote", {"wiki": [mirror.url + path]})
    assert cli.main(["ingest", str(remote)]) == 2  # refused as dumps.wikimedia.org refuses: no contact
    assert "corpusmill fetch" in capsys.readouterr().err
    monkeypatch.setitem(conf, "http", {"client_kwargs": {"headers": {"User-Agent": "x (tests@example.org)"}}})
    parts = []
    for name, place in (("remote", mirror.url + path), ("local", str(tmp_path / LEGACY))):
        config = load(str(write_config(tmp_path / name, {"wiki": [place]})))
        assert Builder(config).build("ingest").faults == {}
        parts.append({p.name: p.read_bytes() for p in (tmp_path / name / "corpus/documents").iterdir()})
        assert Builder(config).build("ingest").stages == {"ingest": "up to date"}
    assert parts[0] == parts[1]
    assert parts[0]
    assert any("Range" in request.headers for request in mirror.requests)
