/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_source.h: where DCMTK gets a file's bytes from; C++, part of dicom_dcmtk.cc. */
#ifndef CMIR_IO_DICOM_SOURCE_H
#define CMIR_IO_DICOM_SOURCE_H

#include "dcmtk/config/osconfig.h"

#include "dcmtk/dcmdata/dcerror.h"
#include "dcmtk/dcmdata/dcistrmf.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace {

const unsigned kMaxReads = 1u << 20;     /* of DCMTK, while it parses one file */
const size_t kMaxStack = (size_t)192 << 10; /* bytes of stack for nested sequences */

/* Bytes of a file for DCMTK, until it asks too often or from too deep a recursion.  DCMTK's own
 * producer asks stdio for its position several times for each of these bites of 2 to 8 bytes. */
class Source : public DcmProducer {
public:
    explicit Source(const char *path)
        : stack_((const char *)__builtin_frame_address(0)),
          fd_(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK))
    {
        failed_ = fd_ < 0 || fstat(fd_, &info_) != 0 || !S_ISREG(info_.st_mode);
    }
    ~Source() override
    {
        if (fd_ >= 0)
            close(fd_);
    }
    Source(const Source &) = delete;
    Source &operator=(const Source &) = delete;
    bool spent() const { return spent_; }
    const struct stat &info() const { return info_; }
    OFBool good() const override { return !spent_ && !failed_; }
    OFCondition status() const override { return good() ? EC_Normal : EC_InvalidStream; }
    OFBool eos() override { return avail() == 0; }
    offile_off_t avail() override { return good() ? (offile_off_t)info_.st_size - at_ : 0; }
    offile_off_t read(void *out, offile_off_t n) override
    {
        const char *here = (const char *)__builtin_frame_address(0);
        const size_t depth = (size_t)(here > stack_ ? here - stack_ : stack_ - here);
        spent_ = spent_ || ++n_reads_ > kMaxReads || depth > kMaxStack;
        n = std::min(n, avail());
        offile_off_t got = 0;
        while (got < n) {
            if ((at_ < first_ || at_ >= first_ + n_) && !fill())
                break;
            const offile_off_t some = std::min(n - got, first_ + n_ - at_);
            memcpy((char *)out + got, buffer_ + (at_ - first_), (size_t)some);
            got += some;
            at_ += some;
        }
        return got;
    }
    offile_off_t skip(offile_off_t n) override
    {
        n = std::max((offile_off_t)0, std::min(n, avail()));
        at_ += n;
        return n;
    }
    void putback(offile_off_t n) override
    {
        failed_ = failed_ || n < 0 || n > at_;
        at_ -= failed_ ? 0 : n;
    }

private:
    bool fill()
    {
        const ssize_t n = pread(fd_, buffer_, sizeof buffer_, (off_t)at_);
        failed_ = failed_ || n <= 0; /* cut off since it was opened, or a read error */
        first_ = at_;
        n_ = failed_ ? 0 : n;
        return !failed_;
    }
    const char *stack_;
    int fd_;
    struct stat info_ = {};
    unsigned n_reads_ = 0;
    bool spent_ = false, failed_ = false;
    offile_off_t at_ = 0, first_ = 0, n_ = 0; /* buffer_ holds n_ bytes from first_ on */
    char buffer_[16384];
};

class Stream : public DcmInputStream {
public:
    explicit Stream(const OFFilename &path)
        : DcmInputStream(&source_), source_(path.getCharPointer()), path_(path) /* only &source_ */
    {
    }
    bool spent() const { return source_.spent(); }
    const struct stat &info() const { return source_.info(); }
    DcmInputStreamFactory *newFactory() const override
    {
        return new DcmInputFileStreamFactory(path_, tell());
    }

private:
    Source source_;
    OFFilename path_;
};

} // namespace

#endif
