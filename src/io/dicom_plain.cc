/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_plain.cc: the headers of files that are all in order; called by dicom_batch.c.
 *
 * The one idea: most files of a CT are uncompressed and unremarkable, and looking up forty values
 * in them needs no tree of objects.  Success is all that is ever told from here: whatever is amiss
 * with a file, DCMTK reads it again and says so. */
#include "io/dicom_values.h"
#include "io/dicom_walk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

extern "C" {
#include "base/memory.h"
}

namespace {

const size_t kUsualNbytes = (size_t)16 << 10; /* a header is seldom longer */
const size_t kMostNbytes = (size_t)256 << 10;

struct Descriptor {
    int fd;
    explicit Descriptor(const char *path) : fd(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
    ~Descriptor()
    {
        if (fd >= 0)
            close(fd);
    }
    Descriptor(const Descriptor &) = delete;
    Descriptor &operator=(const Descriptor &) = delete;
};

/* The values that a walk has found, as DCMTK would put them. */
class PlainValues : public cmir_dicom_values {
public:
    PlainValues(const uint8_t *bytes, const cmir_dicom_walk &walk) : bytes_(bytes), walk_(walk) {}
    bool get(uint32_t tag, unsigned index, std::string &out) override
    {
        const cmir_dicom_found *found = find(tag);
        if (found == nullptr)
            return false;
        const char *text = (const char *)bytes_ + found->at;
        if (strcmp(found->attribute->vr, "US") == 0)
            out = std::to_string(bytes_[found->at] | bytes_[found->at + 1] << 8);
        else
            take_part(text, text + found->nbytes, index, out);
        return !out.empty() && (index == 0 || strcmp(found->attribute->vr, "US") != 0);
    }
    bool has(uint32_t tag) override { return tag == 0x7FE00010 || find(tag) != nullptr; }
    void to_utf8(uint32_t, std::string &) override {} /* all of it is ASCII */

private:
    const cmir_dicom_found *find(uint32_t tag) const
    {
        for (size_t i = 0; i < walk_.n_values; i++)
            if (walk_.values[i].attribute->tag == tag)
                return &walk_.values[i];
        return nullptr;
    }
    /* Part `index` of a text with backslashes between them, without spaces around it and the NUL
     * after a UID; "" where there are fewer. */
    static void take_part(const char *p, const char *end, unsigned index, std::string &out)
    {
        out.clear();
        for (; index > 0; index--) {
            p = (const char *)memchr(p, '\\', (size_t)(end - p));
            if (p == nullptr)
                return;
            p++;
        }
        const char *stop = (const char *)memchr(p, '\\', (size_t)(end - p));
        if (stop != nullptr)
            end = stop;
        while (p < end && *p == ' ')
            p++;
        while (p < end && (end[-1] == ' ' || end[-1] == '\0'))
            end--;
        out.assign(p, (size_t)(end - p));
    }
    const uint8_t *bytes_;
    const cmir_dicom_walk &walk_;
};

/* The first bytes of a file and the walk over them. */
bool
walk(int fd, uint64_t file_nbytes, std::vector<uint8_t> &bytes, cmir_dicom_walk &out)
{
    for (size_t most : {kUsualNbytes, kMostNbytes}) {
        bytes.resize((size_t)std::min<uint64_t>(most, file_nbytes));
        const ssize_t n = pread(fd, bytes.data(), bytes.size(), 0);
        if (n != (ssize_t)bytes.size())
            return false;
        if (cmir_dicom_walk_file(bytes.data(), bytes.size(), file_nbytes, &out))
            return true;
        if (bytes.size() == file_nbytes || memcmp(&bytes[128], "DICM", 4) != 0)
            return false;
    }
    return false;
}

/* Makes a file of what was found; false where anything is amiss. */
bool
take(const char *path, const struct stat &info, cmir_dicom_values &values,
     const cmir_dicom_walk &walk, cmir_dicom_file &file, cmir_dicom_text &text)
{
    const uint16_t one = 1;
    cmir_dicom_header header = {};
    std::string syntax;
    uint8_t is_little;

    memcpy(&is_little, &one, 1);
    cmir_dicom_values_header(values, header);
    file.path = cmir_strdup(path);
    cmir_dicom_values_uid(values, 0x00020010, syntax);
    (void)snprintf(file.syntax_uid, sizeof file.syntax_uid, "%s", syntax.c_str());
    file.syntax = cmir_dicom_syntax_of(file.syntax_uid);
    if (!is_little || file.path == nullptr || header.n_frames > 1 ||
        cmir_dicom_check_kind(&header, path, nullptr) != CMIR_OK ||
        cmir_dicom_values_image(values, header, file, text, nullptr) != CMIR_OK ||
        walk.pixels_nbytes < (uint64_t)file.rows * file.cols * (file.bits_allocated / 8))
        return false;
    file.native.offset = walk.pixels_at;
    cmir_dicom_native_stamp(&file.native, &info);
    file.frames = (cmir_dicom_frame *)cmir_alloc_zeroed(1, sizeof *file.frames);
    if (file.frames == nullptr)
        return false;
    file.frames[0].slope = file.frames[0].thickness = 1;
    cmir_dicom_values_place(values, file.frames[0]);
    return file.frames[0].slope != 0;
}

bool
read_plain(const char *path, cmir_dicom_file &file, cmir_dicom_text &text)
{
    const Descriptor d(path);
    struct stat info;
    cmir_dicom_walk found;
    std::vector<uint8_t> bytes;

    if (d.fd < 0 || fstat(d.fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size < 132 ||
        !walk(d.fd, (uint64_t)info.st_size, bytes, found))
        return false;
    PlainValues values(bytes.data(), found);
    return take(path, info, values, found, file, text);
}

} // namespace

extern "C" bool
cmir_dicom_plain_read(const char *path, cmir_dicom_file *file, cmir_dicom_text *text)
{
    bool done = false;

    memset(file, 0, sizeof *file);
    memset(text, 0, sizeof *text);
    try {
        done = read_plain(path, *file, *text);
    } catch (...) { /* no memory: DCMTK says so */
    }
    if (!done) {
        cmir_dicom_file_clear(file);
        cmir_dicom_text_clear(text);
    }
    return done;
}

extern "C" cmir_status
cmir_dicom_file_read(const char *path, cmir_dicom_file *file, cmir_dicom_text *text,
                     cmir_dicom_kind *kind, cmir_error *err)
{
    if (cmir_dicom_plain_read(path, file, text)) {
        *kind = CMIR_DICOM_IMAGE;
        return CMIR_OK;
    }
    return cmir_dicom_file_parse(path, file, text, kind, err);
}
