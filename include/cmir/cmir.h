/* SPDX-License-Identifier: Apache-2.0 */
/* cmir/cmir.h: the whole public interface. */
#ifndef CMIR_CMIR_H
#define CMIR_CMIR_H

#include <cmir/archive.h>
#include <cmir/assess.h>
#include <cmir/encoder.h>
#include <cmir/evidence.h>
#include <cmir/picture.h>
#include <cmir/report.h>
#include <cmir/search.h>
#include <cmir/status.h>
#include <cmir/volume.h>

#endif
