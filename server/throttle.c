/* SPDX-License-Identifier: Apache-2.0 */
/* throttle.c: failed logins and requests, counted per key in a table of fixed size. */
#include <math.h>

#include "throttle.h"

#define HALF_LIFE_S 600.0
#define MAX_WAIT_S 300.0

static throttle_row *
row_of(throttle *t, uint64_t key, double now)
{
    throttle_row *set = t->rows[key % THROTTLE_SETS], *oldest = set;

    for (int i = 0; i < THROTTLE_WAYS; i++) {
        if (set[i].key == key && set[i].last > 0) {
            set[i].failures *= exp2(-(now - set[i].last) / HALF_LIFE_S);
            return &set[i];
        }
        if (set[i].last < oldest->last)
            oldest = &set[i];
    }
    *oldest = (throttle_row){.key = key, .last = now, .tokens = -1};
    return oldest;
}

double
throttle_wait(throttle *t, uint64_t key, double now)
{
    throttle_row *row = row_of(t, key, now);

    row->last = now;
    return row->until > now ? row->until - now : 0;
}

void
throttle_fail(throttle *t, uint64_t key, double n_free, double now)
{
    throttle_row *row = row_of(t, key, now);

    row->last = now;
    row->failures += 1;
    if (row->failures > n_free)
        row->until = now + fmin(exp2(row->failures - n_free - 1), MAX_WAIT_S);
}

void
throttle_forget(throttle *t, uint64_t key, double now)
{
    throttle_row *row = row_of(t, key, now);

    row->last = now;
    row->failures = 0;
    row->until = 0;
}

double
throttle_take(throttle *t, uint64_t key, double per_minute, double now)
{
    throttle_row *row = row_of(t, key, now);
    const double per_second = per_minute / 60;

    row->tokens = row->tokens < 0 ? per_minute
                                  : fmin(per_minute, row->tokens + (now - row->last) * per_second);
    row->last = now;
    if (row->tokens < 1)
        return (1 - row->tokens) / per_second;
    row->tokens -= 1;
    return 0;
}
