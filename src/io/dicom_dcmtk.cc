/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_dcmtk.cc: DCMTK behind a C interface (dicom.h); called by dicom_plain.cc and dicom.c.
 *
 * The one idea: DCMTK never reads a file by itself.  It gets its bytes from a Source
 * (dicom_source.h), which ends parsing that takes too many reads or too deep a nesting, and
 * decoders get one checked frame at a time in a data set that we wrote.  No exception leaves this
 * file. */
#include "dcmtk/config/osconfig.h"

#include "dcmtk/dcmdata/dccodec.h"
#include "dcmtk/dcmdata/dcdatset.h"
#include "dcmtk/dcmdata/dcdeftag.h"
#include "dcmtk/dcmdata/dcdicent.h"
#include "dcmtk/dcmdata/dcdict.h"
#include "dcmtk/dcmdata/dcelem.h"
#include "dcmtk/dcmdata/dcerror.h"
#include "dcmtk/dcmdata/dcfcache.h"
#include "dcmtk/dcmdata/dcmetinf.h"
#include "dcmtk/dcmdata/dcpixel.h"
#include "dcmtk/dcmdata/dcpixseq.h"
#include "dcmtk/dcmdata/dcpxitem.h"
#include "dcmtk/dcmdata/dcsequen.h"
#include "dcmtk/dcmdata/dcspchrs.h"
#include "dcmtk/dcmdata/dcuid.h"
#include "dcmtk/dcmjpeg/djdecode.h"
#include "dcmtk/dcmjpls/djdecode.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

extern "C" {
#include "base/error.h"
#include "base/memory.h"
}
#include "io/dicom.h"
#include "io/dicom_source.h"
#include "io/dicom_values.h"
#include "io/dicom_walk.h"

#include <cmir/volume.h>

namespace {

const Uint32 kMaxReadLength = 4096;      /* longer values stay in the file until asked for */
const Uint32 kMaxTextLength = 16384;     /* longer ones are never asked for */

DcmTagKey
key_of(uint32_t tag)
{
    return DcmTagKey((Uint16)(tag >> 16), (Uint16)tag);
}

/* Logging off, decoders registered, dictionary complete: once per process. */
void
set_up()
{
    static std::once_flag once;

    std::call_once(once, [] {
        OFLog::configure(OFLogger::OFF_LOG_LEVEL);
        DJDecoderRegistration::registerCodecs();
        DJLSDecoderRegistration::registerCodecs();
        DcmDataDictionary &dictionary = dcmDataDict.wrlock();
        for (const auto &a : cmir_dicom_attributes) { /* else implicit VR tells nothing of them */
            const DcmTagKey key = key_of(a.tag);
            if (dictionary.findEntry(key, nullptr) == nullptr)
                dictionary.addEntry(new DcmDictEntry(key.getGroup(), key.getElement(), DcmVR(a.vr),
                                                     "cmir", 1, DcmVariableVM, nullptr, OFTrue,
                                                     nullptr));
        }
        dcmDataDict.wrunlock();
    });
}

/* A parsed file; values longer than kMaxReadLength are still in it. */
struct Parsed {
    int inflated = -1; /* descriptor of a deflated file's inflated data set */
    DcmMetaInfo meta;
    DcmDataset dataset;
    E_TransferSyntax syntax = EXS_Unknown;
    std::string syntax_uid;
    struct stat info = {};
    ~Parsed()
    {
        if (inflated >= 0)
            close(inflated);
    }
};

/* An element that may have values as text, or NULL. */
DcmElement *
find_leaf(DcmItem &item, const DcmTagKey &key)
{
    DcmElement *element = nullptr;

    if (item.findAndGetElement(key, element).bad() || element == nullptr || !element->isLeaf() ||
        element->ident() == EVR_PixelData || element->getLength() > kMaxTextLength)
        return nullptr;
    return element;
}

/* The values of one item of a parsed file. */
class ItemValues : public cmir_dicom_values {
public:
    explicit ItemValues(DcmItem &item) : item_(item) {}
    bool get(uint32_t tag, unsigned index, std::string &out) override
    {
        OFString value;
        if (tag != tag_) /* one after the other is asked for, and the look-up is slow */
            element_ = find_leaf(item_, key_of(tag));
        tag_ = tag;
        if (element_ == nullptr || element_->getOFString(value, index).bad() || value.empty())
            return false;
        out.assign(value.c_str(), value.length());
        return true;
    }
    bool has(uint32_t tag) override { return item_.tagExists(key_of(tag)); }
    void to_utf8(uint32_t, std::string &text) override
    {
        DcmSpecificCharacterSet charset;
        OFString utf8;
        if (charset.selectCharacterSet(item_).good() &&
            charset.convertString(OFString(text.c_str()), utf8).good())
            text.assign(utf8.c_str(), utf8.length());
    }

private:
    DcmItem &item_;
    uint32_t tag_ = 0;
    DcmElement *element_ = nullptr;
};

/* The values of a file: those of the group 2 stand apart. */
class FileValues : public cmir_dicom_values {
public:
    FileValues(DcmItem &meta, DcmItem &dataset) : meta_(meta), dataset_(dataset) {}
    bool get(uint32_t tag, unsigned index, std::string &out) override
    {
        return of(tag).get(tag, index, out);
    }
    bool has(uint32_t tag) override { return of(tag).has(tag); }
    void to_utf8(uint32_t tag, std::string &text) override { of(tag).to_utf8(tag, text); }

private:
    ItemValues &of(uint32_t tag) { return tag >> 16 == 2 ? meta_ : dataset_; }
    ItemValues meta_, dataset_;
};

DcmSequenceOfItems *
get_sequence(DcmItem &item, const DcmTagKey &key)
{
    DcmElement *element = nullptr;

    if (item.findAndGetElement(key, element).bad() || element == nullptr ||
        element->ident() != EVR_SQ)
        return nullptr;
    return static_cast<DcmSequenceOfItems *>(element);
}

DcmItem *
first_item(DcmItem &item, const DcmTagKey &key)
{
    DcmSequenceOfItems *sequence = get_sequence(item, key);

    return sequence == nullptr || sequence->card() == 0 ? nullptr : sequence->getItem(0);
}

cmir_status
parse(const char *path, Parsed &p, cmir_error *err)
{
    set_up();
    std::unique_ptr<Stream> stream(new Stream(OFFilename(path)));
    p.info = stream->info();
    p.meta.transferInit();
    OFCondition cond = p.meta.read(*stream, EXS_Unknown, EGL_noChange, kMaxReadLength);
    p.meta.transferEnd();
    ItemValues meta(p.meta);
    cmir_dicom_values_uid(meta, 0x00020010, p.syntax_uid);
    if (!p.syntax_uid.empty())
        p.syntax = DcmXfer(p.syntax_uid.c_str()).getXfer();
    if (cond.good() && p.syntax == EXS_DeflatedLittleEndianExplicit) {
        const cmir_status st = cmir_dicom_inflate(path, (uint64_t)stream->tell(), &p.inflated, err);
        if (st != CMIR_OK)
            return st;
        p.syntax = EXS_LittleEndianExplicit;
        stream.reset(new Stream(("/proc/self/fd/" + std::to_string(p.inflated)).c_str()));
    }
    if (cond.good()) {
        p.dataset.transferInit();
        cond = p.dataset.read(*stream, p.syntax, EGL_noChange, kMaxReadLength);
        p.dataset.transferEnd();
        if (p.syntax_uid.empty()) {
            p.syntax = p.dataset.getOriginalXfer();
            p.syntax_uid = DcmXfer(p.syntax).getXferID();
        }
    }
    if (stream->spent())
        return FAIL(err, CMIR_ELIMIT, "%s: too many or too deeply nested elements",
                    cmir_shown_path(path));
    if (cond == EC_StreamNotifyClient)
        return FAIL_AT(err, CMIR_ECORRUPT, (uint64_t)stream->tell(),
                       "%s: cut short, or an element's length is wrong", cmir_shown_path(path));
    if (cond.bad())
        return FAIL_AT(err, CMIR_ECORRUPT, (uint64_t)stream->tell(),
                       "%s: broken DICOM structure (%s)", cmir_shown_path(path), cond.text());
    return CMIR_OK;
}

void
read_groups(DcmItem *groups, cmir_dicom_frame &f)
{
    static const DcmTagKey kGroups[] = {DCM_PlanePositionSequence, DCM_PlaneOrientationSequence,
                                        DCM_PixelMeasuresSequence,
                                        DCM_PixelValueTransformationSequence};

    for (const DcmTagKey &key : kGroups) {
        DcmItem *item = groups == nullptr ? nullptr : first_item(*groups, key);
        if (item == nullptr)
            continue;
        ItemValues values(*item);
        cmir_dicom_values_place(values, f);
    }
}

cmir_status
read_frames(DcmDataset &d, cmir_dicom_values &values, cmir_dicom_file &file, cmir_error *err)
{
    cmir_dicom_frame common = {};
    DcmSequenceOfItems *per_frame = get_sequence(d, DCM_PerFrameFunctionalGroupsSequence);

    common.slope = common.thickness = 1;
    cmir_dicom_values_place(values, common);
    read_groups(first_item(d, DCM_SharedFunctionalGroupsSequence), common);
    if (file.n_frames > 1 && per_frame == nullptr)
        common.has_position = false; /* one position cannot be that of all */
    if (per_frame != nullptr && per_frame->card() != file.n_frames)
        return FAIL(err, CMIR_ECORRUPT, "%s: %lu functional groups for %u frames",
                    cmir_shown_path(file.path), per_frame->card(), file.n_frames);
    file.frames = (cmir_dicom_frame *)cmir_alloc_zeroed(file.n_frames, sizeof *file.frames);
    if (file.frames == nullptr)
        return FAIL(err, CMIR_ENOMEM, "no memory for %u frames", file.n_frames);
    DcmObject *item = nullptr;
    for (uint32_t i = 0; i < file.n_frames; i++) {
        cmir_dicom_frame &f = file.frames[i] = common;
        if (per_frame != nullptr) {
            item = per_frame->nextInContainer(item);
            read_groups(static_cast<DcmItem *>(item), f);
        }
        if (f.slope == 0)
            return FAIL(err, CMIR_ECORRUPT, "%s: RescaleSlope is 0", cmir_shown_path(file.path));
    }
    return CMIR_OK;
}

/* The compressed frames of a file: frame i is the items from first[i] to before first[i + 1]. */
struct Fragments {
    std::vector<DcmPixelItem *> item; /* without the offset table */
    std::vector<uint32_t> length, first;
};

cmir_status
find_fragments(const cmir_dicom_file &file, DcmPixelSequence &sequence, Fragments &out,
               cmir_error *err)
{
    DcmPixelItem *table = nullptr;
    Uint8 *bytes = nullptr;

    for (DcmObject *o = sequence.nextInContainer(nullptr); o; o = sequence.nextInContainer(o)) {
        DcmPixelItem *item = static_cast<DcmPixelItem *>(o);
        if (table == nullptr) {
            table = item;
            continue;
        }
        out.item.push_back(item);
        out.length.push_back(item->getLength());
    }
    out.first.resize((size_t)file.n_frames + 1);
    if (table != nullptr && table->getLength() == 4 * file.n_frames)
        (void)table->getUint8Array(bytes);
    return cmir_dicom_find_frames(&file, out.length.data(), (uint32_t)out.length.size(), bytes,
                                  out.first.data(), err);
}

/* The pixel data of an image, checked against its header. */
cmir_status
find_pixels(Parsed &p, const cmir_dicom_file &file, DcmPixelData **out, Fragments &fragments,
            cmir_error *err)
{
    const char *shown = cmir_shown_path(file.path);
    const uint64_t frame_nbytes = (uint64_t)file.rows * file.cols * (file.bits_allocated / 8);
    DcmElement *element = nullptr;
    DcmPixelSequence *sequence = nullptr;
    uint64_t nbytes = 0;

    if (p.dataset.findAndGetElement(DCM_PixelData, element).bad() || element == nullptr ||
        element->ident() != EVR_PixelData)
        return FAIL(err, CMIR_ECORRUPT, "%s: PixelData is no pixel data", shown);
    DcmPixelData *pixels = static_cast<DcmPixelData *>(element);
    if (pixels->getEncapsulatedRepresentation(p.syntax, nullptr, sequence).bad())
        sequence = nullptr;
    if ((sequence != nullptr) != (file.syntax != CMIR_DICOM_NATIVE))
        return FAIL(err, CMIR_ECORRUPT, "%s: PixelData is %scompressed, transfer syntax %s is not",
                    shown, sequence != nullptr ? "" : "not ", file.syntax_uid);
    if (sequence == nullptr) {
        nbytes = pixels->getLength(p.syntax);
        if (nbytes < frame_nbytes * file.n_frames)
            return FAIL(err, CMIR_ECORRUPT,
                        "%s: PixelData is cut short: %llu bytes instead of "
                        "%llu",
                        shown, (unsigned long long)nbytes,
                        (unsigned long long)(frame_nbytes * file.n_frames));
    } else {
        const cmir_status st = find_fragments(file, *sequence, fragments, err);
        if (st != CMIR_OK)
            return st;
        for (uint32_t length : fragments.length)
            nbytes += length;
        if (frame_nbytes * file.n_frames > ((uint64_t)64 << 20) &&
            nbytes < frame_nbytes * file.n_frames / 2000)
            return FAIL(err, CMIR_ECORRUPT,
                        "%s: %llu compressed bytes cannot hold %u frames of "
                        "%u x %u",
                        shown, (unsigned long long)nbytes, file.n_frames, file.rows, file.cols);
    }
    *out = pixels;
    return CMIR_OK;
}

/* Notes where uncompressed pixels lie if their bytes are those that the volume will have. */
void
find_native(const Parsed &p, const DcmPixelData &pixels, cmir_dicom_native &native)
{
    const DcmInputStreamFactory *later = pixels.getInputStream();

    if (p.inflated >= 0 || later == nullptr || later->ident() != DFT_DcmInputFileStreamFactory ||
        DcmXfer(p.syntax).getByteOrder() != gLocalByteOrder)
        return;
    native.offset = (uint64_t)static_cast<const DcmInputFileStreamFactory *>(later)->getOffset();
    cmir_dicom_native_stamp(&native, &p.info);
}

cmir_status
read_image(Parsed &p, cmir_dicom_values &values, const cmir_dicom_header &header,
           cmir_dicom_file &file, cmir_dicom_text &text, cmir_error *err)
{
    DcmPixelData *pixels;
    Fragments fragments;

    (void)snprintf(file.syntax_uid, sizeof file.syntax_uid, "%s", p.syntax_uid.c_str());
    file.syntax = cmir_dicom_syntax_of(file.syntax_uid);
    cmir_status st = cmir_dicom_values_image(values, header, file, text, err);
    if (st == CMIR_OK && file.syntax != CMIR_DICOM_UNSUPPORTED)
        st = find_pixels(p, file, &pixels, fragments, err);
    if (st == CMIR_OK && file.syntax == CMIR_DICOM_NATIVE)
        find_native(p, *pixels, file.native);
    return st == CMIR_OK ? read_frames(p.dataset, values, file, err) : st;
}

cmir_status
file_parse(const char *path, cmir_dicom_file &file, cmir_dicom_text &text, cmir_dicom_kind &kind,
           cmir_error *err)
{
    cmir_status st;
    Parsed p;

    if ((st = cmir_dicom_sniff(path, &kind, err)) != CMIR_OK)
        return st;
    if ((st = parse(path, p, err)) != CMIR_OK)
        return st;
    FileValues values(p.meta, p.dataset);
    cmir_dicom_header header = {};
    cmir_dicom_values_header(values, header);
    kind = CMIR_DICOM_OTHER;
    if ((st = cmir_dicom_check_kind(&header, path, err)) != CMIR_OK)
        return st;
    kind = CMIR_DICOM_IMAGE;
    file.path = cmir_strdup(path);
    if (file.path == nullptr)
        return FAIL(err, CMIR_ENOMEM, "no memory for a path");
    return read_image(p, values, header, file, text, err);
}

} // namespace

extern "C" bool
cmir_dicom_number(const char *text, double *out)
{
    OFBool ok = OFFalse;

    *out = OFStandard::atof(text, &ok);
    return ok;
}

extern "C" cmir_status
cmir_dicom_file_parse(const char *path, cmir_dicom_file *file, cmir_dicom_text *text,
                      cmir_dicom_kind *kind, cmir_error *err)
{
    cmir_status st;

    memset(file, 0, sizeof *file);
    memset(text, 0, sizeof *text);
    try {
        st = file_parse(path, *file, *text, *kind, err);
    } catch (...) {
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory to read it", cmir_shown_path(path));
    }
    if (st != CMIR_OK) {
        cmir_dicom_file_clear(file);
        cmir_dicom_text_clear(text);
    }
    return st;
}

struct cmir_dicom_pixels {
    cmir_dicom_file file; /* path borrowed; frames and sop_uid unused */
    Parsed parsed;
    DcmPixelData *element;
    DcmFileCache cache;
    Fragments fragments;
    DcmDataset description; /* what a decoder has to know */
    std::vector<uint8_t> scratch;
};

namespace {

/* The compressed bytes of one frame. */
cmir_status
frame_bytes(cmir_dicom_pixels &p, uint32_t frame, std::vector<uint8_t> &out, cmir_error *err)
{
    const uint64_t limit =
        (uint64_t)p.file.rows * p.file.cols * (p.file.bits_allocated / 8) * 4 + (1 << 20);

    for (uint32_t i = p.fragments.first[frame]; i < p.fragments.first[frame + 1]; i++) {
        DcmPixelItem *item = p.fragments.item[i];
        const size_t n = item->getLength();
        Uint8 *bytes = nullptr;
        if (out.size() + n > limit)
            return FAIL(err, CMIR_ECORRUPT, "%s: frame %u has far too many compressed bytes",
                        cmir_shown_path(p.file.path), frame);
        if (n == 0)
            continue;
        if (item->getUint8Array(bytes).bad() || bytes == nullptr)
            return FAIL(err, CMIR_ECORRUPT, "%s: frame %u cannot be read",
                        cmir_shown_path(p.file.path), frame);
        out.insert(out.end(), bytes, bytes + n);
        (void)item->compact();
    }
    return CMIR_OK;
}

/* One frame through a codec of DCMTK, which writes words of `bits`, 8 or 16. */
cmir_status
decode(cmir_dicom_pixels &p, uint32_t frame, const std::vector<uint8_t> &bytes, uint32_t bits,
       cmir_error *err)
{
    DcmPixelSequence sequence(DcmTag(DCM_PixelData, EVR_OB));
    Uint32 start = 0;
    OFString colours;

    DcmDataset &d = p.description;
    const Uint16 stored = (Uint16)std::min(bits, p.file.bits_stored);
    (void)d.putAndInsertUint16(DCM_SamplesPerPixel, 1);
    (void)d.putAndInsertString(DCM_PhotometricInterpretation, "MONOCHROME2");
    (void)d.putAndInsertUint16(DCM_Rows, (Uint16)p.file.rows);
    (void)d.putAndInsertUint16(DCM_Columns, (Uint16)p.file.cols);
    (void)d.putAndInsertUint16(DCM_BitsAllocated, (Uint16)bits);
    (void)d.putAndInsertUint16(DCM_BitsStored, stored);
    (void)d.putAndInsertUint16(DCM_HighBit, (Uint16)(stored - 1));
    (void)d.putAndInsertUint16(DCM_PixelRepresentation, p.file.is_signed);
    (void)sequence.insert(new DcmPixelItem(DcmTag(DCM_Item, EVR_OB)));
    DcmPixelItem *item = new DcmPixelItem(DcmTag(DCM_Item, EVR_OB));
    (void)sequence.insert(item);
    OFCondition cond = item->putUint8Array(bytes.data(), (unsigned long)bytes.size());
    if (cond.good())
        cond = DcmCodecList::decodeFrame(DcmXfer(p.parsed.syntax), nullptr, &sequence, &d, 0, start,
                                         p.scratch.data(), (Uint32)p.scratch.size(), colours);
    if (cond.bad())
        return FAIL(err, CMIR_ECORRUPT, "%s: frame %u cannot be decoded (%s)",
                    cmir_shown_path(p.file.path), frame, cond.text());
    return CMIR_OK;
}

cmir_status
frame_read(cmir_dicom_pixels &p, uint32_t frame, uint8_t *buffer, size_t nbytes, cmir_error *err)
{
    const size_t n = (size_t)p.file.rows * p.file.cols;
    std::vector<uint8_t> bytes;
    uint32_t precision = 0;
    cmir_status st;

    if (p.file.syntax == CMIR_DICOM_NATIVE) {
        const OFCondition cond =
            p.element->getPartialValue(buffer, (Uint32)(frame * nbytes), (Uint32)nbytes, &p.cache);
        return cond.good() ? CMIR_OK
                           : FAIL(err, CMIR_ECORRUPT, "%s: frame %u cannot be read (%s)",
                                  cmir_shown_path(p.file.path), frame, cond.text());
    }
    if ((st = frame_bytes(p, frame, bytes, err)) != CMIR_OK)
        return st;
    if (p.file.syntax == CMIR_DICOM_JPEG_2000)
        return cmir_jpeg2000_decode(&p.file, bytes.data(), bytes.size(), buffer, err);
    if (p.file.syntax == CMIR_DICOM_RLE)
        return cmir_dicom_unpack_rle(&p.file, bytes.data(), bytes.size(), buffer, err);
    st = cmir_dicom_check_jpeg(&p.file, bytes.data(), bytes.size(), &precision, err);
    if (st != CMIR_OK)
        return st;
    const uint32_t bits = precision <= 8 ? 8 : 16;
    /* An even length plus some, as DCMTK swaps and pads in words. */
    p.scratch.assign((n * (bits / 8) + 1) / 2 * 2 + 2, 0);
    if ((st = decode(p, frame, bytes, bits, err)) != CMIR_OK)
        return st;
    if (bits == p.file.bits_allocated) {
        memcpy(buffer, p.scratch.data(), nbytes);
        return CMIR_OK;
    }
    for (size_t i = 0; i < n; i++) { /* 8-bit stream in 16-bit words */
        const uint16_t value = p.scratch[i];
        memcpy(buffer + 2 * i, &value, 2);
    }
    return CMIR_OK;
}

} // namespace

extern "C" cmir_status
cmir_dicom_pixels_open(const cmir_dicom_file *file, cmir_dicom_pixels **out, cmir_error *err)
{
    cmir_status st;

    *out = nullptr;
    try {
        std::unique_ptr<cmir_dicom_pixels> p(new cmir_dicom_pixels());
        p->file = *file;
        if ((st = parse(file->path, p->parsed, err)) == CMIR_OK)
            st = find_pixels(p->parsed, *file, &p->element, p->fragments, err);
        if (st == CMIR_OK)
            *out = p.release();
    } catch (...) {
        st = FAIL(err, CMIR_ENOMEM, "%s: no memory to read it", cmir_shown_path(file->path));
    }
    return st;
}

extern "C" void
cmir_dicom_pixels_close(cmir_dicom_pixels *pixels)
{
    delete pixels;
}

extern "C" cmir_status
cmir_dicom_pixels_frame(cmir_dicom_pixels *pixels, uint32_t frame, void *buffer, size_t nbytes,
                        cmir_error *err)
{
    try {
        return frame_read(*pixels, frame, (uint8_t *)buffer, nbytes, err);
    } catch (...) {
        return FAIL(err, CMIR_ENOMEM, "%s: no memory to decode it",
                    cmir_shown_path(pixels->file.path));
    }
}
