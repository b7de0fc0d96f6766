"""Makes index pages of a chain, when there are enough segments for one (`binlog.archive.index`)."""

from __future__ import annotations

from itertools import pairwise

from binlog.archive.archive import Archive
from binlog.archive.index import SEGMENTS_PER_PAGE, encode_page
from binlog.archive.keys import FIRST, Place, index_key
from binlog.archive.segment_info import Outline, SegmentInfo
from binlog.errors import DamageError, MismatchError, UpgradeError
from binlog.logger import get_logger

_logger = get_logger(__name__)


class Indexer:
    """Counts the segments behind the last page of each chain, and makes the next one in time.

    The count is a hint, since others write, too; a page is made of what the chain itself says.
    """

    def __init__(self, archive: Archive, *, segments_per_page: int = SEGMENTS_PER_PAGE) -> None:
        self._archive = archive
        self._size = segments_per_page
        self._counts: dict[int, int] = {}  # by partition, of segments behind the last page
        self._known: dict[int, dict[Place, Outline]] = {}  # of these, those that were written here

    def note(self, info: SegmentInfo) -> int:
        """After a segment was written; how many pages were made.

        None of a stretch in which a segment cannot be read: `binlog check` names it, and nobody who
        archives is to be kept from it by what was archived long ago.

        Raises:
            StorageError, RefusedError: the storage's.
        """
        partition = info.partition
        self._known.setdefault(partition, {})[info.place] = info.outline()
        if partition in self._counts:
            self._counts[partition] += 1
        else:
            self._counts[partition] = len(self._unlisted(partition))
        if self._counts[partition] < self._size:
            return 0
        try:
            return self._make(partition)
        except (DamageError, MismatchError, UpgradeError) as error:
            _logger.warning("index.not_made", partition=partition, error=str(error))
            self._counts[partition] = 0  # after as many again it is tried again
            self._known[partition] = {}
            return 0

    def _make(self, partition: int) -> int:
        chain, known = self._archive.chain(partition), self._known[partition]
        places = self._unlisted(partition)
        made = 0
        while len(places) >= self._size:
            page = [known.get(p) or chain.info(p).outline() for p in places[: self._size]]
            if any(after.place != before.next_place for before, after in pairwise(page)):
                break  # a hole, which `binlog check` names
            data = encode_page(page, self._archive.log)
            self._archive.objects.put_new(index_key(partition, page[0].place), data)
            del places[: self._size]
            made += 1
        self._counts[partition] = len(places)
        self._known[partition] = {p: known[p] for p in places if p in known}
        return made

    def _unlisted(self, partition: int) -> list[Place]:
        """The segments behind the last page; none where nobody knows how the next one begins."""
        chain = self._archive.chain(partition)
        pages = chain.page_places()
        page = chain.page(pages[-1]) if pages else None
        if pages and page is None:
            return []
        places = list(chain.places(after=None if page is None else page.end.place))
        begin = FIRST if page is None else page.end.next_place
        return places if places[:1] == [begin] else []
