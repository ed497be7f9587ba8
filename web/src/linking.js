// SPDX-License-Identifier: Apache-2.0
// linking.js: from a slice of the query to the slice of the hit where it was found, and back.  What is
// linked is what matched, not what lies equally far along: that is the point of the comparison.

export class Linking {
  /** sliceMatches: [[query slice, hit slice, similarity], ...] of a search result. */
  constructor(sliceMatches) {
    this.matches = sliceMatches;
    this.byQuery = new Map(sliceMatches.map((m) => [m[0], m]));
  }

  /** The match of a slice of the query; undefined where it was not searched with. */
  of(querySlice) {
    return this.byQuery.get(querySlice);
  }

  /** The slice of the query whose match lies nearest to a slice of the hit: of several equally near the
   * most similar one.  Null where nothing matched. */
  queryFor(hitSlice) {
    let best = null;
    for (const m of this.matches) {
      const distance = Math.abs(m[1] - hitSlice);
      if (!best || distance < best.distance || (distance === best.distance && m[2] > best.match[2]))
        best = { distance, match: m };
    }
    return best && best.match[0];
  }

  /** Least and greatest similarity. */
  range() {
    let low = Infinity;
    let high = -Infinity;
    for (const [, , s] of this.matches) {
      low = Math.min(low, s);
      high = Math.max(high, s);
    }
    return this.matches.length ? [low, high] : [0, 1];
  }

  /** Similarity by slice of the query; undefined where there is none. */
  ofQuery(nSlices) {
    const values = new Array(nSlices);
    for (const [q, , s] of this.matches) if (q < nSlices) values[q] = s;
    return values;
  }

  /** The best similarity by slice of the hit; undefined where no slice of the query was found. */
  ofHit(nSlices) {
    const values = new Array(nSlices);
    for (const [, m, s] of this.matches) if (m < nSlices && !(values[m] >= s)) values[m] = s;
    return values;
  }
}
