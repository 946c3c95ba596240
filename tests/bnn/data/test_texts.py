"""Texts as words: folders and archives, the vocabulary, what cannot be read; and the course's own prose."""

import io
import tarfile
from pathlib import Path

import pytest
import torch

from lpsgld.bnn.data import datasets, prose, texts
from lpsgld.bnn.data.arrays import DatasetError, Tensors

REVIEWS = {
    "train/pos/0_9.txt": "A good film.<br /><br />Good, good film!",
    "train/pos/1_8.txt": "It\u2019s good.",
    "train/neg/0_2.txt": "A bad film?",
    "test/pos/0_10.txt": "Good: it's \u00dcBER good",
    "test/neg/0_1.txt": "",
}
BESIDE = {
    "README": "read me",
    "imdb.vocab": "a",
    "train/urls_pos.txt": "http://example.org",
    "train/labeledBow.feat": "9 0:9",
    "train/unsup/0_0.txt": "An opinion without a label: splendid splendid splendid",
    "._README.txt": "hidden",
}


def encoded(files: dict[str, str | bytes]) -> dict[str, bytes]:
    return {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}


def folder(path: Path, files: dict[str, str | bytes]) -> Path:
    for name, data in encoded(files).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def archive(path: Path, files: dict[str, str | bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in encoded(files).items():
            info = tarfile.TarInfo(f"aclImdb/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def load(path: Path) -> Tensors:
    return datasets.load(f"aclimdb:{path}")


def said(data: Tensors, row: torch.Tensor) -> list[str]:
    return [data.vocabulary[number] for number in row.tolist() if number]


@pytest.mark.parametrize("make", [folder, archive])
def test_reviews_become_words_of_the_training_texts(tmp_path, make, capsys):
    data = load(make(tmp_path / "aclImdb_v1.tar.gz", REVIEWS | BESIDE))
    assert data.classes == ("neg", "pos") and data.unit == "text"
    assert data.train_labels.tolist() == [0, 1, 1] and data.test_labels.tolist() == [0, 1]
    assert data.train_inputs.shape == (3, texts.LENGTH) and data.train_inputs.dtype == torch.int64
    assert data.vocabulary == ("<padding>", "<unknown>", "good", "film", "a", "!", "?", "bad", "it's")
    assert [said(data, row) for row in data.train_inputs] == [
        ["a", "bad", "film", "?"],
        ["a", "good", "film", "good", "good", "film", "!"],
        ["it's", "good"],
    ]
    assert [said(data, row) for row in data.test_inputs] == [[], ["good", "it's", "<unknown>", "good"]]
    assert data.train_inputs[2, -2:].min() > 0  # the words stand at the end
    told = capsys.readouterr().err
    assert "3 training and 2 test texts in 2 classes, 9 words" in told
    assert all(
        part in told for part in ("1 without a label", "1 outside the classes", "1 hidden", "1 .vocab", "1 .feat")
    )


def test_other_classes_and_a_folder_above_are_texts_too(tmp_path):
    data = load(
        folder(tmp_path / "mine" / "top", {f"{s}/{c}/1.TXT": c for s in ("train", "test") for c in "abc"}).parent
    )
    assert data.classes == ("a", "b", "c") and data.train_labels.tolist() == [0, 1, 2]


def test_of_a_long_text_the_end_is_kept(tmp_path):
    long = " ".join(f"w{i}" for i in range(texts.LENGTH + 50))
    data = load(
        folder(tmp_path, {"train/a/0.txt": long, "train/b/0.txt": "w", "test/a/0.txt": "w", "test/b/0.txt": "w"})
    )
    assert said(data, data.train_inputs[0])[::199] == ["w50", f"w{texts.LENGTH + 49}"]


def test_the_vocabulary_holds_the_most_frequent_words_and_no_more():
    assert texts.most_frequent([["b", "c", "a"], ["c"], ["b"]], most=4) == ("<padding>", "<unknown>", "b", "c")


@pytest.mark.parametrize("make", [folder, archive])
def test_a_text_that_cannot_be_decoded_is_named(tmp_path, make):
    path = make(tmp_path / "reviews", REVIEWS | {"train/neg/7_1.txt": "Caf\u00e9".encode("latin-1")})
    with pytest.raises(
        DatasetError, match=r"train/neg/7_1.txt cannot be decoded as UTF-8 .*at byte 3.*Save it in UTF-8"
    ) as e:
        load(path)
    assert len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test/pos/0_10.txt": None}, "classes only in train: pos; only in test: none; expected are texts in train"),
        ({name: None for name in REVIEWS}, r"has no texts in train/<class>/; .*\(.txt\)"),
    ],
)
def test_a_tree_without_what_is_needed_is_told(tmp_path, change, message):
    files = {name: text for name, text in (REVIEWS | change).items() if text is not None}
    with pytest.raises(DatasetError, match=message):
        load(folder(tmp_path, files | {"README": ""}))


def test_a_damaged_archive_and_a_missing_one_are_told(tmp_path):
    path = archive(tmp_path / "reviews.tar.gz", {**REVIEWS, "train/neg/9.txt": "\n".join(map(str, range(5000)))})
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DatasetError, match="is damaged or truncated"):
        load(path)
    with pytest.raises(DatasetError, match="there is no such folder or archive; expected are texts"):
        load(tmp_path / "gone")
    with pytest.raises(DatasetError, match='"aclimdb:" names no folder'):
        datasets.load("aclimdb:")


# ---- the course's own prose ------------------------------------------------------------------------------------------


def test_the_label_of_a_character_is_the_next_one():
    data = prose.load()
    text = Path(prose.__file__).with_name("prose.txt").read_text("utf-8")
    for inputs, labels in (data.parts[:2], data.parts[2:]):
        assert torch.equal(inputs[:, 1:], labels[:, :-1]) and inputs.shape[1] == prose.WINDOW
    windows = [
        "".join(data.classes[i] for i in row) for row in torch.cat([data.train_inputs, data.test_inputs]).tolist()
    ]
    assert sorted(windows) == sorted(text[i : i + 64] for i in range(0, len(text) - 64, 64))
    assert 0.1 < len(data.test_inputs) / len(windows) < 0.14


def test_prose_is_the_same_everywhere_and_no_window_is_for_both():
    data = datasets.load("prose")
    train, test = ({tuple(row) for row in part.tolist()} for part in (data.train_inputs, data.test_inputs))
    assert not train & test
    assert data.vocabulary == data.classes and data.unit == "character" and data.words < 100
    assert data.fingerprint == FINGERPRINT


FINGERPRINT = "4d4d95aae76e1017"
