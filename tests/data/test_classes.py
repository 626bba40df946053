"""Class folders and files that are known by content, in folders and in archives."""

from __future__ import annotations

import io
import zipfile

import pytest

from gpt2_jax.config import DataConfig
from gpt2_jax.data.classes import class_files
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.errors import DataError
from gpt2_jax.inference.windows import windows

ROWS = [
    ("the bread was warm; we ate it all", "good"),
    ("nobody answered the phone, twice", "bad"),
    ("a lovely room with a view", "good"),
    ("my soup was cold again today", "bad"),
    ("would come back at any time", "good"),
    ("the bill was wrong, of course", "bad"),
]


@pytest.fixture(params=["folder", "zip"])
def keep(request, tmp_path):
    """Return a function that keeps files in a folder, or in an archive of it."""

    def keep(files: dict[str, str]) -> str:
        if request.param == "zip":
            path = tmp_path / "a.zip"
            with zipfile.ZipFile(path, "w") as archive:
                for name, text in files.items():
                    archive.writestr(name, text)
            return str(path)
        for name, text in files.items():
            path = tmp_path / "a" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(tmp_path / "a")

    return keep


def _load(source: str, **how) -> Dataset:
    return load_dataset(DataConfig(source=source, **how))


def _rows(dataset: Dataset) -> list[tuple[str, str]]:
    names = [dataset.classes[label] for label in dataset.labels]
    return sorted(zip(dataset.texts, names, strict=True))


@pytest.mark.parametrize("top", ["", "bbc/", "deep/bbc/"])
@pytest.mark.parametrize("suffix", [".txt", ".TXT", ""])
def test_a_folder_for_each_class(keep, top, suffix):
    files = {f"{top}{k}/{i:04}{suffix}": t + "\n" for i, (t, k) in enumerate(ROWS)}
    others = [f"{top}good/more/1.txt", f"{top}bad/notes.doc"]
    hidden = ["__MACOSX/good/._0.txt", f"{top}good/.DS_Store"]
    dataset = _load(keep(files | dict.fromkeys(others + hidden, "some words")))
    assert _rows(dataset) == sorted(ROWS) and dataset.parts is None
    (note,) = dataset.notes
    assert all(name in note for name in others)
    assert not any(name in note for name in hidden)


def test_texts_of_classes_may_be_named_after_parts(keep):
    names = ["train_1", "test_1", "old_1", "train_2", "new_2", "test_2"]
    zipped = zip(ROWS, names, strict=True)
    dataset = _load(keep({f"{k}/{name}.txt": t for (t, k), name in zipped}))
    assert _rows(dataset) == sorted(ROWS) and dataset.parts is None


def test_a_folder_for_each_class_of_each_part(keep):
    parts = ["train"] * 4 + ["test"] * 2
    dataset = _load(
        keep(
            {
                f"aclImdb/{part}/{k}/{i}.txt": t
                for i, ((t, k), part) in enumerate(zip(ROWS, parts, strict=True))
            }
        )
    )
    assert _rows(dataset) == sorted(ROWS)
    assert dataset.parts is not None and dataset.parts.count("train") == 4


def test_one_class_alone_is_a_class_too_and_a_name_that_leads_out_is_none():
    (found,) = class_files(["good/1.txt", "../bad/2.txt", "readme.txt"])
    assert found == (None, "good", "good/1.txt")


@pytest.mark.parametrize("suffix", [".txt", ".data", ".label", ".ft"])
@pytest.mark.parametrize("form", ["fasttext", "tab", "semicolon"])
def test_files_of_parts_are_known_by_their_content(keep, suffix, form):
    how = {"header": False, "text_column": "1", "label_column": "2"}
    pattern = {"fasttext": "__label__{1} {0}", "tab": "{}\t{}", "semicolon": '"{}";{}'}
    lines = [pattern[form].format(*row) + "\n" for row in ROWS]
    files = {f"x/data/train-1{suffix}": "".join(lines[:4])}
    files |= {f"x/data/test-1{suffix}": "".join(lines[4:]), "x/readme.txt": "hello\n"}
    source = keep(files)
    source = source if source.endswith(".zip") else f"{source}/x"
    dataset = _load(source, **(how if form != "fasttext" else {}))
    assert _rows(dataset) == sorted(ROWS)
    assert dataset.parts is not None and dataset.parts.count("train") == 4


def test_the_only_text_file_of_an_archive_is_its_table(tmp_path):
    path = tmp_path / "a.zip"
    lines = "".join(f"{label}\t{text}\n" for text, label in ROWS)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("collection", lines)
        archive.writestr("readme", "about it\n")
    how = {"header": False, "text_column": "2", "label_column": "1"}
    for source in (path, path / "collection"):
        assert _rows(_load(str(source), **how)) == sorted(ROWS)
        rows = windows([], source, Reading(header=False, text_column="2"), io.BytesIO())
        assert [row.text for each in rows for row in each] == [t for t, _ in ROWS]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.txt", lines)
    advice = r"--no-header --text-column 2 .*Besides, .*several tables .*a\.zip/collec"
    with pytest.raises(DataError, match=advice):
        _load(str(path))
    assert _rows(_load(str(path / "more.txt"), **how)) == sorted(ROWS)
