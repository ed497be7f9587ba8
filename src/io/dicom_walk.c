/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_walk.c: steps over the elements of a DICOM file; called by dicom_plain.cc.
 *
 * The one idea: files of a scanner are all alike and in order, and then an element's length says
 * where the next one begins.  Whatever could be read in more than one way is not read here: the
 * walk ends, and DCMTK has the file.  So this is no second parser with opinions of its own. */
#include "io/dicom_walk.h"

#include <string.h>

#define ITEM 0xFFFEE000u
#define ITEM_END 0xFFFEE00Du
#define SEQUENCE_END 0xFFFEE0DDu
#define GROUP_2_LENGTH 0x00020000u
#define TRANSFER_SYNTAX 0x00020010u
#define VOI_LUT_SEQUENCE 0x00283010u /* DCMTK has rules for one that is no sequence */
#define PIXEL_DATA 0x7FE00010u
#define UNDEFINED 0xFFFFFFFFu
#define MAX_DEPTH 8u
#define MAX_ELEMENTS 20000u
#define MAX_VALUE_NBYTES 1024u

const cmir_dicom_attribute cmir_dicom_attributes[CMIR_DICOM_N_ATTRIBUTES] = {
    {0x00020002, "UI"}, {0x00020003, "UI"}, {0x00020010, "UI"}, {0x00080005, "CS"},
    {0x00080008, "CS"}, {0x00080016, "UI"}, {0x00080018, "UI"}, {0x00080020, "DA"},
    {0x00080060, "CS"}, {0x00080070, "LO"}, {0x0008103E, "LO"}, {0x00100020, "LO"},
    {0x00100030, "DA"}, {0x00100040, "CS"}, {0x00101010, "AS"}, {0x00180015, "CS"},
    {0x00180050, "DS"}, {0x0020000D, "UI"}, {0x0020000E, "UI"}, {0x00200032, "DS"},
    {0x00200037, "DS"}, {0x00209113, "SQ"}, {0x00209116, "SQ"}, {0x00280002, "US"},
    {0x00280004, "CS"}, {0x00280008, "IS"}, {0x00280010, "US"}, {0x00280011, "US"},
    {0x00280030, "DS"}, {0x00280100, "US"}, {0x00280101, "US"}, {0x00280102, "US"},
    {0x00280103, "US"}, {0x00281052, "DS"}, {0x00281053, "DS"}, {0x00281054, "LO"},
    {0x00283000, "SQ"}, {0x00289110, "SQ"}, {0x00289145, "SQ"}, {0x52009229, "SQ"},
    {0x52009230, "SQ"}, {0x7FE00008, "OF"}, {0x7FE00009, "OD"}, {0x7FE00010, "ox"},
};

/* Where the walk is. */
struct walk {
    const uint8_t *bytes;
    size_t at;
    uint32_t n_elements;
    size_t next; /* of the attributes: those before it have lower tags */
};

/* An element's first part; its value begins where the walk is. */
struct element {
    uint32_t tag, nbytes;
    char vr[3];
};

static uint32_t
le16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t
le32(const uint8_t *p)
{
    return le16(p) | le16(p + 2) << 16;
}

static uint32_t
tag_at(const uint8_t *p)
{
    return le16(p) << 16 | le16(p + 2);
}

/* Bytes of an element before its value; 0: no VR of the standard. */
static size_t
head_nbytes(const char vr[2])
{
    static const char kinds[] = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US "
                                "OB OD OF OL OV OW SQ SV UC UN UR UT UV ";
    enum { N_SHORT = 21, N_ALL = 34 };

    for (size_t i = 0; i < N_ALL; i++)
        if (kinds[3 * i] == vr[0] && kinds[3 * i + 1] == vr[1])
            return i < N_SHORT ? 8 : 12;
    return 0;
}

/* Steps to the value of the next element, which begins and ends before `end`. */
static bool
next_element(struct walk *w, size_t end, struct element *e)
{
    const uint8_t *p = w->bytes + w->at;
    const size_t left = end - w->at;

    if (left < 8 || w->n_elements++ == MAX_ELEMENTS)
        return false;
    e->tag = tag_at(p);
    e->vr[0] = (char)p[4];
    e->vr[1] = (char)p[5];
    e->vr[2] = '\0';
    const size_t head = head_nbytes(e->vr);
    if (head == 0 || head > left || e->tag >> 16 == ITEM >> 16)
        return false;
    e->nbytes = head == 8 ? le16(p + 6) : le32(p + 8);
    w->at += head;
    const bool is_sequence = memcmp(e->vr, "SQ", 2) == 0;
    if (e->nbytes == UNDEFINED)
        return is_sequence;
    return e->nbytes % 2 == 0 && (is_sequence || e->tag != VOI_LUT_SEQUENCE);
}

static bool skip_value(struct walk *w, const struct element *e, size_t end, unsigned depth);

static bool
skip_item(struct walk *w, uint32_t nbytes, size_t end, unsigned depth)
{
    const bool open = nbytes == UNDEFINED;
    struct element e;

    if (!open && nbytes > end - w->at)
        return false;
    const size_t stop = open ? end : w->at + nbytes;
    while (open || w->at < stop) {
        const uint8_t *p = w->bytes + w->at;
        if (open && stop - w->at >= 8 && tag_at(p) == ITEM_END) {
            w->at += 8;
            return le32(p + 4) == 0;
        }
        if (!next_element(w, stop, &e) || !skip_value(w, &e, stop, depth))
            return false;
    }
    return true;
}

static bool
skip_sequence(struct walk *w, uint32_t nbytes, size_t end, unsigned depth)
{
    const bool open = nbytes == UNDEFINED;

    if (depth == MAX_DEPTH || (!open && nbytes > end - w->at))
        return false;
    const size_t stop = open ? end : w->at + nbytes;
    while (open || w->at < stop) {
        const uint8_t *p = w->bytes + w->at;
        if (stop - w->at < 8 || w->n_elements++ == MAX_ELEMENTS)
            return false;
        w->at += 8;
        if (open && tag_at(p) == SEQUENCE_END)
            return le32(p + 4) == 0;
        if (tag_at(p) != ITEM || !skip_item(w, le32(p + 4), stop, depth + 1))
            return false;
    }
    return true;
}

static bool
skip_value(struct walk *w, const struct element *e, size_t end, unsigned depth)
{
    if (memcmp(e->vr, "SQ", 2) == 0)
        return skip_sequence(w, e->nbytes, end, depth);
    if (e->nbytes > end - w->at)
        return false;
    w->at += e->nbytes;
    return true;
}

static bool
is_number(const uint8_t *p, size_t n, bool dots)
{
    for (size_t i = 0; i < n; i++)
        if (!(p[i] >= '0' && p[i] <= '9') && !(dots && p[i] == '.'))
            return false;
    return true;
}

static bool
is_printable(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < 0x20 || p[i] > 0x7E)
            return false;
    return true;
}

/* Has a value only one meaning? */
static bool
is_clear(const char *vr, const uint8_t *p, size_t n)
{
    switch (vr[0] << 8 | vr[1]) {
    case 'U' << 8 | 'S': return n == 2;
    case 'U' << 8 | 'I': return n <= 64 && is_number(p, n - (n > 0 && p[n - 1] == 0), true);
    case 'D' << 8 | 'A': return n == 0 || (n == 8 && is_number(p, n, false));
    case 'A' << 8 | 'S': return n == 0 || (n == 4 && is_printable(p, n));
    case 'C' << 8 | 'S':
    case 'D' << 8 | 'S':
    case 'I' << 8 | 'S':
    case 'L' << 8 | 'O': return n <= MAX_VALUE_NBYTES && is_printable(p, n);
    default: return false;
    }
}

/* Steps over an element, which is noted if it is one of the attributes. */
static bool
take_element(struct walk *w, const struct element *e, size_t end, cmir_dicom_walk *out)
{
    const size_t at = w->at;

    if (!skip_value(w, e, end, 0))
        return false;
    while (w->next < CMIR_DICOM_N_ATTRIBUTES && cmir_dicom_attributes[w->next].tag < e->tag)
        w->next++;
    if (w->next == CMIR_DICOM_N_ATTRIBUTES || cmir_dicom_attributes[w->next].tag != e->tag)
        return true;
    const cmir_dicom_attribute *attribute = &cmir_dicom_attributes[w->next++];
    out->values[out->n_values++] = (cmir_dicom_found){attribute, (uint32_t)at, e->nbytes};
    return memcmp(attribute->vr, e->vr, 2) == 0 && is_clear(e->vr, w->bytes + at, e->nbytes);
}

static bool
is_syntax(const struct walk *w, const cmir_dicom_walk *out)
{
    static const char uid[] = "1.2.840.10008.1.2.1"; /* explicit little endian; 19 and a NUL */

    if (out->n_values == 0)
        return false;
    const cmir_dicom_found *last = &out->values[out->n_values - 1];
    return last->attribute->tag == TRANSFER_SYNTAX && last->nbytes == sizeof uid &&
           memcmp(w->bytes + last->at, uid, sizeof uid) == 0;
}

/* The group 2, whose length may be told by its first element. */
static bool
walk_meta(struct walk *w, size_t end, cmir_dicom_walk *out)
{
    struct element e;
    size_t stop = 0;
    uint32_t last = 0;

    while (end - w->at >= 8 && tag_at(w->bytes + w->at) >> 16 == 2) {
        if (!next_element(w, end, &e) || e.tag <= last || memcmp(e.vr, "SQ", 2) == 0 ||
            (last == 0 && e.tag > 0x00020002u))
            return false;
        if (e.tag == GROUP_2_LENGTH) {
            if (memcmp(e.vr, "UL", 2) != 0 || e.nbytes != 4 || end - w->at < 4)
                return false;
            stop = w->at + 4 + le32(w->bytes + w->at);
        }
        last = e.tag;
        if (!take_element(w, &e, end, out))
            return false;
    }
    return (stop == 0 || stop == w->at) && is_syntax(w, out);
}

bool
cmir_dicom_walk_file(const uint8_t *bytes, size_t nbytes, uint64_t file_nbytes,
                     cmir_dicom_walk *out)
{
    struct walk w = {.bytes = bytes, .at = 132};
    struct element e;
    uint32_t last = 0;

    memset(out, 0, sizeof *out);
    if (nbytes < 132 || nbytes > UINT32_MAX || memcmp(bytes + 128, "DICM", 4) != 0 ||
        !walk_meta(&w, nbytes, out))
        return false;
    for (;;) {
        if (!next_element(&w, nbytes, &e) || e.tag <= last || (last == 0 && e.tag >> 16 != 8))
            return false;
        last = e.tag;
        if (e.tag == PIXEL_DATA)
            break;
        if (!take_element(&w, &e, nbytes, out))
            return false;
    }
    out->pixels_at = (uint32_t)w.at;
    out->pixels_nbytes = e.nbytes;
    return (memcmp(e.vr, "OW", 2) == 0 || memcmp(e.vr, "OB", 2) == 0) && e.nbytes > 0 &&
           file_nbytes - w.at == e.nbytes;
}
