# SPDX-License-Identifier: Apache-2.0
"""Tables of real scans in docs/results*.md against the files that `make eval EVAL=full` writes: a row is quoted as it
was printed, so no figure stands that a run has not made."""
import os
import re

import pytest

DOCS = os.path.join(os.environ.get('CMIR_SOURCE', '.'), 'docs')
SECTIONS = {  # of a page, and the file that they quote
    'results.md': {'Known-item slabs': 'slabs.md', 'Same-region retrieval': 'regions.md'},
    'results-method.md': {'What else was tried': 'method_tried.md', '': 'method_study.md'},
}


def rows(lines):
    """-> the rows of all tables, without their headings."""
    return [line for above, line in zip(lines, lines[1:]) if line.startswith('|') and above.startswith('|')
            and not line.startswith('|---')]


def read(*path):
    with open(os.path.join(DOCS, *path)) as f:
        return f.read()


@pytest.mark.parametrize('page', SECTIONS)
def test_rows_stand_as_printed(page):
    checked = 0
    for section in re.split(r'^## ', read(page), flags=re.M):
        file = next((f for start, f in SECTIONS[page].items() if section.startswith(start)), None)
        if file:
            printed = set(rows(read('results', file).split('\n')))
            quoted = rows(section.split('\n'))
            assert [r for r in quoted if r not in printed] == []
            checked += len(quoted)
    assert checked > 50
