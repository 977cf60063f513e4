import pytest
from fuzz import media


@pytest.mark.slow
def test_damaged_images_and_videos_give_a_result_or_one_sentence():
    assert media.run(300, seed=0) == []


def test_a_failure_is_found(tmp_path, monkeypatch):
    pool = media._Process()
    assert pool.call(media._read_image, b"no image", tmp_path) is None
    assert "TypeError" in pool.call(media._read_image, 5, tmp_path)
    assert "crash" in pool.call(media.multiprocessing.process.os._exit, 3)
    assert pool.call(media._read_video, b"no video", tmp_path) is None
    pool.close()
