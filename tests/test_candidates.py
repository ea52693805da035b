"""Of very many files: the photos among them are found before a sample is taken."""

from litecli.photos.folders import scan_objects

from .small_folders import names, put_jpegs, reasons


def test_the_sample_is_of_photos(tmp_path):
    """Files that are no photos, and copies, are left out before it and not after."""
    photos = [f"keys/{number:02}.jpg" for number in range(0, 18, 2)]
    put_jpegs(tmp_path, *photos, "mug/a.jpg", "mug/b.jpg")
    for path in photos[4:]:  # 4 different ones
        (tmp_path / path).write_bytes((tmp_path / photos[3]).read_bytes())
    empty = [f"keys/{number:02}.jpg" for number in range(1, 18, 2)]
    for path in empty:
        (tmp_path / path).touch()
    scan = scan_objects(tmp_path, max_photos=9)
    assert names(scan) == {"keys": photos[:4], "mug": ["mug/a.jpg", "mug/b.jpg"]}
    assert reasons(scan) == dict.fromkeys(empty, "empty file - is it still in the cloud?") | (
        dict.fromkeys(photos[4:], f"same photo as {photos[3]}")
    )
    assert scan.notes == scan.objects[0].notes == ()


def test_what_is_no_photo_makes_no_object_look_rich(tmp_path):
    pages = [f"keys/page_{number}.jpg" for number in range(300)]
    put_jpegs(tmp_path, *(f"mug/{number:02}.jpg" for number in range(50)))
    put_jpegs(tmp_path, *(f"keys/{number}.jpg" for number in range(5)))
    for path in [*pages, *(page.replace("keys", "bowl") for page in pages)]:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("<html></html>")
    scan = scan_objects(tmp_path)
    assert [(found.label, len(found.photos)) for found in scan.objects] == [
        ("keys", 5),
        ("mug", 50),
    ]
    assert scan.notes == (
        'no photos in "bowl": left out',
        '50 photos of "mug" but 5 of "keys": add photos of "keys"',
    )
    assert reasons(scan)[pages[0]] == "not an image (looks like a web page)"


def test_files_that_begin_alike_are_not_copies(tmp_path):
    for number in range(6):
        put_jpegs(tmp_path, f"keys/{number}.jpg")
        ending = bytes([number // 2]) * 9
        (tmp_path / f"keys/{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes(5000) + ending)
    assert names(scan_objects(tmp_path, max_photos=5)) == {
        "keys": ["keys/0.jpg", "keys/2.jpg", "keys/4.jpg"]
    }
