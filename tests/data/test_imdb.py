import gzip
import hashlib
import io
import lzma
import tarfile
from collections import Counter

import file_server
import pytest

from experiments.imdb.run import book_rows
from gpt2_jax.config import DataConfig
from gpt2_jax.data import imdb
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.errors import DataError

CONFIG = DataConfig(source="imdb")
EACH = 12
REVIEWS = {
    f"aclImdb/{part}/{label}/{number}_{9 if label == 'pos' else 2}.txt": (
        f"{label} é {part}<br />{number}"
    )
    for part in ("train", "test")
    for label in ("neg", "pos")
    for number in range(EACH)
}


def packed(*hostile: tarfile.TarInfo, reviews=REVIEWS) -> bytes:
    """The archive, `hostile` members before and after the reviews; those say EVIL."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:

        def add(info: tarfile.TarInfo, content: bytes) -> None:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))

        for member in hostile:
            add(member, b"EVIL")
        add(tarfile.TarInfo("aclImdb/README"), b"about")
        add(tarfile.TarInfo("aclImdb/train/unsup/0_0.txt"), b"no label")
        for name, text in reviews.items():
            add(tarfile.TarInfo(name), text.encode())
        for member in hostile:
            add(member, b"EVIL")
    return gzip.compress(buffer.getvalue(), mtime=0)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def pin(monkeypatch, archive: bytes) -> bytes:
    monkeypatch.setattr(imdb, "SHA256", hashlib.sha256(archive).hexdigest())
    monkeypatch.setattr(imdb, "BYTES", len(archive))
    return archive


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A small archive in place of the true one, served and pinned."""
    for name in ("GPT2_JAX_DATA", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(imdb, "EACH", EACH)
    monkeypatch.setattr(imdb, "cache_dir", lambda: tmp_path / "cache")
    with file_server.serve() as server:
        server.answers["/imdb"] = file_server.Answer(pin(monkeypatch, packed()))
        monkeypatch.setattr(imdb, "URLS", (server.url + "/imdb",))
        yield server


@pytest.fixture
def offline(served, tmp_path, monkeypatch):
    """The folder of GPT2_JAX_DATA; nothing may be downloaded."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("GPT2_JAX_DATA", str(folder))
    yield folder
    assert served.paths == []


def test_the_archive_is_downloaded_once_and_checked(served, tmp_path):
    dataset = load_dataset(CONFIG)
    assert Counter(dataset.texts) == Counter(REVIEWS.values())
    assert dataset.classes == ("neg", "pos")
    assert dataset.parts is not None
    for text, label, part in zip(
        dataset.texts, dataset.labels, dataset.parts, strict=True
    ):
        assert text.startswith(f"{dataset.classes[label]} é {part}")
    assert dataset.sha256 == imdb.SHA256
    assert load_dataset(CONFIG, offline=True) == dataset
    assert served.paths == ["/imdb"]
    (tmp_path / "cache" / imdb.ARCHIVE).write_bytes(b"damaged")
    assert load_dataset(CONFIG) == dataset
    assert [path.name for path in tmp_path.rglob("*")] == ["cache", imdb.ARCHIVE]


def test_the_rows_come_in_the_order_of_the_books_script(served):
    names = sorted(REVIEWS)  # of strings: 10_2.txt comes before 2_2.txt
    kinds = [(p, c) for p in ("test", "train") for c in ("pos", "neg")]
    expected = [n for p, c in kinds for n in names if n.startswith(f"aclImdb/{p}/{c}")]
    assert list(load_dataset(CONFIG).texts) == [REVIEWS[name] for name in expected]


def test_the_split_is_the_one_that_is_given(served):
    dataset = load_dataset(CONFIG)
    split, parts = split_dataset(dataset, CONFIG), dataset.parts
    assert parts is not None
    given = {name: {parts[row] for row in rows} for name, rows in split.parts().items()}
    assert given == {"train": {"train"}, "validation": {"train"}, "test": {"test"}}
    assert len(split.test) == 2 * EACH


def test_another_archive_is_refused_and_not_kept(served, tmp_path):
    served.answers["/imdb"].body = packed(member("x"))
    with pytest.raises(DataError, match=r"more than the|SHA-256 expected"):
        load_dataset(CONFIG)
    assert list((tmp_path / "cache").iterdir()) == []


def test_offline_names_where_it_would_come_from(served):
    with pytest.raises(DataError, match=f"--offline forbids .* {served.url}/imdb"):
        load_dataset(CONFIG, offline=True)
    assert served.paths == []


HOSTILE = {
    "a path that leads out": member("aclImdb/train/pos/../../../../7_7.txt"),
    "an absolute path": member("/aclImdb/train/pos/7_7.txt"),
    "a path before it": member("../aclImdb/train/pos/7_7.txt"),
    "another name": member("aclImdb/train/pos/7_7.txt.exe"),
    "a symbolic link": member("aclImdb/train/pos/97_7.txt", tarfile.SYMTYPE, "/etc"),
    "a hard link": member("aclImdb/train/pos/97_7.txt", tarfile.LNKTYPE, "/etc/hosts"),
    "a device": member("aclImdb/train/pos/97_7.txt", tarfile.CHRTYPE),
    "a pipe": member("aclImdb/train/pos/97_7.txt", tarfile.FIFOTYPE),
    "a folder": member("aclImdb/train/pos/97_7.txt", tarfile.DIRTYPE),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_members_that_are_no_reviews_are_read_over(tmp_path, hostile):
    archive = tmp_path / "archive"
    archive.write_bytes(packed(hostile))
    texts = {name: text.encode() for name, text in REVIEWS.items()}
    assert imdb.read_members(archive) == texts
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("name", [next(iter(REVIEWS)), "aclImdb/README"])
def test_an_absurd_size_is_refused_before_it_is_read(tmp_path, name):
    info = tarfile.TarInfo(name)
    info.size = 1 << 50
    archive = tmp_path / "archive"
    archive.write_bytes(gzip.compress(info.tobuf() + b"x" * 512))
    with pytest.raises(DataError, match=f"'{name}' has 1125899906842624 B"):
        imdb.read_members(archive)


def test_a_review_that_is_there_twice_is_refused(tmp_path):
    archive = tmp_path / "archive"
    archive.write_bytes(packed(member(next(iter(REVIEWS)))))
    with pytest.raises(DataError, match="is in it twice"):
        imdb.read_members(archive)


@pytest.mark.parametrize("damage", [b"", b"no archive", packed()[:400]])
def test_a_damaged_archive_is_named(tmp_path, damage):
    archive = tmp_path / "archive"
    archive.write_bytes(damage)
    with pytest.raises(DataError, match=r"archive: damaged or no \.tar\.gz"):
        imdb.read_members(archive)


def test_an_archive_that_lacks_a_review_is_refused(served, monkeypatch):
    fewer = dict(list(REVIEWS.items())[1:])
    served.answers["/imdb"].body = pin(monkeypatch, packed(reviews=fewer))
    with pytest.raises(DataError, match="11 reviews in train/neg, expected 12"):
        load_dataset(CONFIG)


def test_a_folder_without_the_reviews_is_an_error(offline):
    with pytest.raises(DataError, match=r"no aclImdb_v1\.tar\.gz, aclImdb or imdb"):
        load_dataset(CONFIG)


def test_the_archive_and_what_was_unpacked_from_it_are_read_offline(offline):
    for name, text in REVIEWS.items():
        path = offline / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    unpacked = load_dataset(CONFIG)
    (offline / imdb.ARCHIVE).write_bytes(packed()[:-1])
    with pytest.raises(DataError, match="SHA-256 expected"):
        load_dataset(CONFIG)
    (offline / imdb.ARCHIVE).write_bytes(packed())
    archive = load_dataset(CONFIG)
    assert (unpacked.texts, unpacked.parts) == (archive.texts, archive.parts)


def test_packed_lines_are_read_offline(offline):
    (offline / "imdb").mkdir()
    for part in ("train", "test"):
        lines = [
            f'{{"text": "{text}", "label": "{name.split("/")[2]}"}}\n'
            for name, text in REVIEWS.items()
            if name.startswith(f"aclImdb/{part}/")
        ]
        path = offline / "imdb" / f"{part}.jsonl.xz"
        path.write_bytes(lzma.compress("".join(lines).encode()))
    dataset = load_dataset(CONFIG)
    assert Counter(dataset.texts) == Counter(REVIEWS.values())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"test\.jsonl\.xz: damaged or no xz"):
        load_dataset(CONFIG)


def test_the_books_split_is_what_its_script_draws():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"row": range(50_000)})
    for _ in range(2):
        frame = frame.sample(frac=1, random_state=123).reset_index(drop=True)
    train, validation, test = book_rows(50_000)
    assert (len(train), len(validation), len(test)) == (35_000, 5_000, 10_000)
    assert [*train, *validation, *test] == list(frame["row"])
