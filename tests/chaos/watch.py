"""Looks at two buckets again and again while packagers die: whatever can be seen there must be whole."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from shared.storage import ObjectMissing
from tests.chaos.backstage import Backstage

BUCKETS = ("bundles", "model-files")


class Watch:
    """`whole_models` are the digests that a saved model may have; `half` collects what was found wrong."""

    def __init__(self, back: Backstage, whole_models: Collection[str]) -> None:
        self._back = back
        self._whole = frozenset(whole_models)
        self._ended = threading.Event()
        self._seen: set[object] = set()
        self.half: list[str] = []
        self.looks = 0

    def look(self) -> None:
        self.looks += 1
        for bucket in BUCKETS:
            for listed in self._back.listing(bucket):
                if (bucket, listed) in self._seen:
                    continue
                key = listed.key
                try:
                    content = self._back.content(bucket, key)
                except ObjectMissing:  # an older attempt's, removed meanwhile
                    continue
                if not (is_whole_zip(content) if bucket == "bundles" else self._is_whole_model(content)):
                    self.half.append(f"{bucket}/{key}: {len(content)} bytes")
                self._seen.add((bucket, listed))

    def _is_whole_model(self, content: bytes) -> bool:
        return hashlib.sha256(content).hexdigest() in self._whole

    def run(self) -> None:
        while not self._ended.is_set():
            self.look()
            self._ended.wait(0.05)

    @contextmanager
    def looking(self) -> Iterator[Watch]:
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join(60)
            self.look()


def is_whole_zip(content: bytes) -> bool:
    """Whether it opens, every member has its checksum, and the list of digests is true."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            lines = archive.read("SHA256SUMS").decode().splitlines()
            sums = dict(reversed(line.split("  ", 1)) for line in lines)
            members = {name for name in archive.namelist() if name != "SHA256SUMS"}
            return members == set(sums) and all(
                hashlib.sha256(archive.read(name)).hexdigest() == digest for name, digest in sums.items()
            )
    except (zipfile.BadZipFile, KeyError, OSError, ValueError):
        return False
