/* SPDX-License-Identifier: Apache-2.0 */
/* compiler.h: the only place for compiler extensions. */
#ifndef CMIR_BASE_COMPILER_H
#define CMIR_BASE_COMPILER_H

#define CMIR_PRINTF(fmt, args) __attribute__((__format__(__printf__, fmt, args)))

#endif
