/* SPDX-License-Identifier: Apache-2.0 */
/* cmir/search.h: volumes that look like a query, and which slices match.
 *
 * The method is C-MIR (arXiv 2507.17412): late interaction of slice embeddings.  The slice-vote
 * baselines are those of 3D-MIR (arXiv 2311.13752), with exact neighbours; so are the pooled ones. */
#ifndef CMIR_SEARCH_H
#define CMIR_SEARCH_H

#include <cmir/archive.h>
#include <cmir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How volumes are scored; q_i are the query's m slices, v_j the candidate's, S_ij = <q_i, v_j>;
 * slices marked as air take no part on either side.  Higher is better for all. */
typedef enum cmir_score {
    CMIR_MAXSIM = 0,    /* (1/m) sum_i max_j S_ij; in [-1, 1], but for what
                           rounding to fixed point adds (2e-5 in 2 dimensions, less in more) */
    CMIR_SYMMETRIC = 1, /* mean of maxsim(query, candidate) and maxsim(candidate, query) */
    CMIR_FREQ = 2,      /* every query slice fetches its 20 nearest slices: number of hits; ties by
                           volume id ascending */
    CMIR_MAX = 3,       /* the same: best hit; ties: first seen first */
    CMIR_SUM = 4,       /* the same: sum of the hits' similarities; ties: first seen first */
    CMIR_MEAN = 5,      /* cosine of the mean embeddings */
    CMIR_MEDIAN = 6,    /* cosine of the element-wise medians */
    CMIR_MAX_POOL = 7,  /* cosine of the element-wise maxima */
    CMIR_STD = 8,       /* cosine of the element-wise standard deviations; 0 of one slice */
    /* Of this project; docs/method.md has the definitions in full. */
    CMIR_LENGTH_CORRECTED = 9, /* maxsim - b (H_n - mean of H), H_n = 1 + 1/2 + ... + 1/n; b >= 0 by
                           least squares over the candidates, 0 of fewer than 20 of them */
    CMIR_ORDERED = 10,  /* (1/m) sum_i S_ij(i): j(i) the best assignment that never turns back, near
                           the best line from query to candidate, in either direction.  The result's
                           matches are these */
    CMIR_WEIGHTED = 11  /* (1/m) sum_i w_i max_j S_ij; w_i of mean 1, in proportion to 1 less the
                           mean of max_j S_ij over the candidates */
} cmir_score;

/* Which volumes may not answer a query that knows its own series, study or patient. */
typedef enum cmir_exclude {
    CMIR_EXCLUDE_VOLUME = 0, /* the query's own volume (same id) */
    CMIR_EXCLUDE_STUDY = 1,  /* ... and its study */
    CMIR_EXCLUDE_PATIENT = 2,/* ... and its patient */
    CMIR_EXCLUDE_NONE = 3
} cmir_exclude;

typedef struct cmir_search_options {
    size_t struct_nbytes;  /* sizeof (cmir_search_options) */
    cmir_score score;
    cmir_exclude exclude;
    uint32_t limit;        /* hits wanted; 0: 10 */
    bool slices_given;     /* false: the whole query */
    uint32_t first_slice, last_slice; /* of the query, 0-based, inclusive */
    const uint32_t *slices; /* instead: just these of the query, rising; NULL: not asked */
    size_t n_slices;
    const char *where;     /* filter on the catalogue, or NULL.  Comparisons (= != < <= > >=) of
                              a field with a number or a 'text', joined by and, or, not,
                              parentheses; fields: Modality, BodyPartExamined, PatientID, PatientSex,
                              PatientAge (years), StudyDate (YYYYMMDD), Manufacturer,
                              SeriesDescription, StudyInstanceUID, VolumeId, Slices; any other
                              name is a label.  A missing value makes every comparison false */
    uint32_t n_threads;    /* 0: the CPUs this process may use */
    bool exhaustive;       /* maxsim scores every volume; otherwise, in archives of more than
                              128 volumes, those that a first look keeps */
    uint32_t n_rerank;     /* volumes that the first look keeps; 0: chosen by the archive's size */
    uint32_t n_neighbours; /* cases that give evidence (evidence.h), CMIR_EVIDENCE_LEAST to _MOST;
                              0: no evidence.  It does not depend on `limit` */
    const char *contrast_label; /* which slices of the query look more like cases with this label than
                              like cases without (evidence.h: cmir_contrast); NULL: not asked */
    const char *contrast_value; /* with: this value, without: another one; NULL: a number above 0, one
                              that is not */
    bool scores_only;      /* hits have a rank, a score and a record that knows its id and nothing else:
                              no matches, no run.  For long lists, which cost less then */
} cmir_search_options;

/* A match: query slice -> candidate slice. */
typedef struct cmir_match {
    uint32_t query_slice, match_slice; /* slice numbers of the sources */
    float similarity;                  /* cosine */
} cmir_match;

/* One volume found.  Strings and arrays belong to the result. */
typedef struct cmir_hit {
    uint32_t rank;           /* from 1 */
    double score;
    const cmir_record *record;
    const cmir_match *matches; /* one per query slice that took part, in query order: its most
                                  similar slice, or what `ordered` assigns it */
    uint32_t n_matches;
    uint32_t best;           /* index into matches of the highest similarity; ties: the first */
    uint32_t match_first, match_last; /* the matched run in the candidate (docs/method.md) */
    double match_mm[2];      /* where it starts and ends, lower value first */
    uint32_t query_first, query_last; /* query slices whose match lies in that run */
} cmir_hit;

struct cmir_evidence; /* evidence.h */
struct cmir_contrast;

typedef struct cmir_result {
    cmir_score score;
    const cmir_record *query;  /* info, slices and marks of the query; from an archive or a file */
    uint32_t first_slice, last_slice; /* of the query, as searched: the first and the last */
    const cmir_hit *hits;      /* best first; ties by volume id unless the score says otherwise */
    size_t n_hits;
    uint64_t n_candidates;     /* volumes that passed the filters */
    uint64_t n_reranked;       /* of them, those that the first look kept: all, or fewer */
    const struct cmir_evidence *evidence; /* NULL where none was asked for */
    const struct cmir_contrast *contrast; /* NULL where none was asked for */
    double seconds;            /* of the search itself, encoding not counted */
} cmir_result;

/* cmir_search_volume() searches with a volume from outside the archive: it is encoded first
 * (`encoder` must be the archive's).  cmir_search_stored() searches with a volume of an archive
 * `query_archive` (which may be `archive` itself) of the same encoder; where `archive` is fitted, of
 * the same fit or of its base encoder.  Errors: CMIR_EINVAL
 * (slices, `where`: the message shows the place), CMIR_ENOTFOUND, CMIR_EMISMATCH, CMIR_ENOMEM.  An
 * archive in which nothing passes the filters gives a result of 0 hits.  The result is owned by
 * the caller and outlives the archive.
 *
 * Scores and matches are exact.  Stored embeddings are rows in fixed point (16 bits, docs/format.md),
 * and so is the query; every product is an integer, and what is made of them is added in a fixed
 * order, so scores, order and matching slices are those of a brute force over the stored embeddings,
 * bit for bit the same on every CPU and with any number of threads.  With `exhaustive`, and for every score but maxsim, no
 * volume that belongs into the list is left out; without, maxsim leaves out what its first look did
 * not keep (recall: docs/performance.md). */
CMIR_API cmir_status
cmir_search_volume(const cmir_archive *archive, const cmir_encoder *encoder, cmir_volume *query,
                   const cmir_search_options *options, cmir_result **out, cmir_error *err);
CMIR_API cmir_status
cmir_search_stored(const cmir_archive *archive, const cmir_archive *query_archive,
                   const char *volume_id, const cmir_search_options *options, cmir_result **out,
                   cmir_error *err);
/* cmir_search_embeddings() searches with embeddings of the caller's (borrowed; rows of any length
 * but 0, of the archive's encoder, of a fitted archive's base encoder); volume_id names the query in
 * the result, and the volume of that id is what CMIR_EXCLUDE_VOLUME leaves out. */
CMIR_API cmir_status
cmir_search_embeddings(const cmir_archive *archive, const cmir_embeddings *embeddings,
                       const char *volume_id, const cmir_search_options *options,
                       cmir_result **out, cmir_error *err);

/* One query of a batch: a volume of an archive, or embeddings with an id. */
typedef struct cmir_search_query {
    const cmir_archive *archive; /* NULL: `embeddings` */
    const char *volume_id;
    const cmir_embeddings *embeddings;
    const char *const *candidates; /* ids, in order (bytewise): only these may answer, of those that
                                      pass the options; NULL: all */
    size_t n_candidates;
} cmir_search_query;

/* cmir_search_batch() searches with n queries in one state of the archive; threads share out the
 * queries, which is faster than one search after the other.  out[i] (room for n) is the result of query
 * i, or NULL where errors[i] (n of them) tells why there is none; a query that fails leaves the
 * others alone (CMIR_ENOTFOUND: it, or a candidate, is not in the archive).  `progress` counts queries; may be NULL.  Returns an error, and no results, where
 * nothing could be searched (CMIR_EINVAL: options) or progress asked to stop. */
CMIR_API cmir_status
cmir_search_batch(const cmir_archive *archive, const cmir_search_query *queries, size_t n,
                  const cmir_search_options *options, cmir_progress_fn progress,
                  void *progress_ctx, cmir_result **out, cmir_error *errors, cmir_error *err);
CMIR_API void cmir_result_free(cmir_result *result); /* NULL is fine */

/* "maxsim", "symmetric", ...: names as the command line and JSON use them. */
CMIR_API const char *cmir_score_name(cmir_score score);
CMIR_API cmir_status cmir_score_parse(const char *name, cmir_score *out, cmir_error *err);

#ifdef __cplusplus
}
#endif
#endif
