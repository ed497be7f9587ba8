/* SPDX-License-Identifier: Apache-2.0 */
/* stage.c: how advanced is a tumour, by the rules of 3D-MIR (arXiv 2311.13752).  Called by the command
 * and by programs.
 *
 * The one idea: size and number decide.  Where the published rule leaves a size out (liver: exactly 2
 * cm alone, exactly 5 cm among several), the lower stage is taken, as the TNM classification of liver
 * tumours does, whose "2 cm or less" and "none larger than 5 cm" the rule follows. */
#include <math.h>
#include <string.h>

#include <cmir/assess.h>

#include "base/error.h"

static int
by_size(double size_cm)
{
    return size_cm < 2.0 ? 1 : size_cm < 4.0 ? 2 : size_cm < 6.0 ? 3 : 4;
}

static int
liver(double size_cm, uint32_t number)
{
    if (number == 1)
        return size_cm <= 2.0 ? 1 : 2;
    return size_cm <= 5.0 ? 2 : 3;
}

static int
lung(double size_cm, uint32_t number)
{
    return number > 1 ? 3 : size_cm < 3.0 ? 1 : 2;
}

cmir_status
cmir_tumour_stage(const char *site, double size_cm, uint32_t number, int *stage, cmir_error *err)
{
    const char *const sites[] = {"colon", "pancreas", "liver", "lung"};
    size_t i = 0;

    while (i < 4 && (site == NULL || strcmp(site, sites[i]) != 0))
        i++;
    if (i == 4)
        return FAIL(err, CMIR_EINVAL,
                    "no rule for the site '%s'; there are colon, pancreas, liver and lung",
                    site == NULL ? "" : site);
    if (number > 0 && !(size_cm >= 0.0 && isfinite(size_cm)))
        return FAIL(err, CMIR_EINVAL, "a tumour of %g cm", size_cm);
    if (number == 0)
        *stage = -1;
    else
        *stage = i < 2 ? by_size(size_cm) : i == 2 ? liver(size_cm, number) : lung(size_cm, number);
    return CMIR_OK;
}
