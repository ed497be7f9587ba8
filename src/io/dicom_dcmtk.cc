/* SPDX-License-Identifier: Apache-2.0 */
/* dicom_dcmtk.cc: DCMTK behind a C interface (dicom.h); called by scan.c and dicom.c.
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
#include <cmath>
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

#include <cmir/volume.h>

namespace {

const Uint32 kMaxReadLength = 4096;      /* longer values stay in the file until asked for */
const Uint32 kMaxTextLength = 16384;     /* longer ones are never asked for */

/* Attributes that we read, so that implicit VR can be understood without a dictionary file. */
const struct {
    Uint16 group, element;
    DcmEVR vr;
} kAttributes[] = {
    {0x0008, 0x0005, EVR_CS}, {0x0008, 0x0008, EVR_CS}, {0x0008, 0x0016, EVR_UI},
    {0x0008, 0x0018, EVR_UI}, {0x0008, 0x0020, EVR_DA}, {0x0008, 0x0060, EVR_CS},
    {0x0008, 0x0070, EVR_LO}, {0x0008, 0x103E, EVR_LO}, {0x0010, 0x0020, EVR_LO},
    {0x0010, 0x0030, EVR_DA}, {0x0010, 0x0040, EVR_CS}, {0x0010, 0x1010, EVR_AS},
    {0x0018, 0x0015, EVR_CS}, {0x0018, 0x0050, EVR_DS}, {0x0020, 0x000D, EVR_UI},
    {0x0020, 0x000E, EVR_UI}, {0x0020, 0x0032, EVR_DS}, {0x0020, 0x0037, EVR_DS},
    {0x0020, 0x9113, EVR_SQ}, {0x0020, 0x9116, EVR_SQ}, {0x0028, 0x0002, EVR_US},
    {0x0028, 0x0004, EVR_CS}, {0x0028, 0x0008, EVR_IS}, {0x0028, 0x0010, EVR_US},
    {0x0028, 0x0011, EVR_US}, {0x0028, 0x0030, EVR_DS}, {0x0028, 0x0100, EVR_US},
    {0x0028, 0x0101, EVR_US}, {0x0028, 0x0102, EVR_US}, {0x0028, 0x0103, EVR_US},
    {0x0028, 0x1052, EVR_DS}, {0x0028, 0x1053, EVR_DS}, {0x0028, 0x1054, EVR_LO},
    {0x0028, 0x3000, EVR_SQ}, {0x0028, 0x9110, EVR_SQ}, {0x0028, 0x9145, EVR_SQ},
    {0x5200, 0x9229, EVR_SQ}, {0x5200, 0x9230, EVR_SQ}, {0x7FE0, 0x0010, EVR_ox},
    {0x7FE0, 0x0008, EVR_OF}, {0x7FE0, 0x0009, EVR_OD},
};

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
        for (const auto &a : kAttributes)
            if (dictionary.findEntry(DcmTagKey(a.group, a.element), nullptr) == nullptr)
                dictionary.addEntry(new DcmDictEntry(a.group, a.element, DcmVR(a.vr), "cmir", 1,
                                                     DcmVariableVM, nullptr, OFTrue, nullptr));
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

/* One value of an element as text; false if absent, empty, or of a kind that has no text. */
bool
get(DcmElement *element, std::string &out, unsigned long index = 0)
{
    OFString value;

    if (element == nullptr || element->getOFString(value, index).bad() || value.empty())
        return false;
    out.assign(value.c_str(), value.length());
    return true;
}

bool
get(DcmItem &item, const DcmTagKey &key, std::string &out, unsigned long index = 0)
{
    return get(find_leaf(item, key), out, index);
}

/* The first `n` numbers of an element, at most 6, or none. */
bool
get_numbers(DcmItem &item, const DcmTagKey &key, double *out, unsigned n)
{
    DcmElement *element = find_leaf(item, key);
    double values[6];

    for (unsigned i = 0; i < n; i++) {
        std::string text;
        OFBool ok = OFFalse;
        if (!get(element, text, i))
            return false;
        values[i] = OFStandard::atof(text.c_str(), &ok);
        if (!ok || !std::isfinite(values[i]))
            return false;
    }
    std::copy(values, values + n, out);
    return true;
}

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

/* Text of any character set as printable UTF-8, without padding. */
char *
get_text(DcmItem &item, const DcmTagKey &key)
{
    std::string text;

    if (!get(item, key, text))
        return cmir_strdup("");
    const bool ascii = std::all_of(text.begin(), text.end(),
                                   [](char c) { return (unsigned char)c < 0x80 && c != 0x1B; });
    if (!ascii) {
        DcmSpecificCharacterSet charset;
        OFString utf8;
        if (charset.selectCharacterSet(item).good() &&
            charset.convertString(OFString(text.c_str()), utf8).good())
            text.assign(utf8.c_str(), utf8.length());
    }
    while (!text.empty() && text.back() == ' ')
        text.pop_back();
    char *copy = cmir_strdup(text.c_str());
    if (copy != nullptr)
        cmir_dicom_clean_text(copy);
    return copy;
}

std::string
get_uid(DcmItem &item, const DcmTagKey &key)
{
    std::string uid;

    (void)get(item, key, uid);
    while (!uid.empty() && (uid.back() == ' ' || uid.back() == '\0'))
        uid.pop_back();
    return uid;
}

cmir_status
parse(const char *path, Parsed &p, cmir_error *err)
{
    std::unique_ptr<Stream> stream(new Stream(OFFilename(path)));
    p.info = stream->info();
    p.meta.transferInit();
    OFCondition cond = p.meta.read(*stream, EXS_Unknown, EGL_noChange, kMaxReadLength);
    p.meta.transferEnd();
    p.syntax_uid = get_uid(p.meta, DCM_TransferSyntaxUID);
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

/* What a data set, or one item of functional groups, says about a frame's place and values. */
void
read_place(DcmItem &item, cmir_dicom_frame &f)
{
    double v[6];

    if (get_numbers(item, DCM_ImagePositionPatient, f.position, 3))
        f.has_position = true;
    if (get_numbers(item, DCM_ImageOrientationPatient, v, 6)) {
        std::copy(v, v + 3, f.row);
        std::copy(v + 3, v + 6, f.col);
        f.has_orientation = true;
    }
    if (get_numbers(item, DCM_PixelSpacing, v, 2)) {
        f.row_spacing = v[0];
        f.col_spacing = v[1];
    }
    if (get_numbers(item, DCM_SliceThickness, v, 1) && v[0] > 0)
        f.thickness = v[0];
    if (get_numbers(item, DCM_RescaleSlope, v, 1) &&
        get_numbers(item, DCM_RescaleIntercept, v + 1, 1)) {
        f.slope = v[0];
        f.intercept = v[1];
        f.has_rescale = true;
        std::string type;
        f.is_hu = !get(item, DCM_RescaleType, type) || type == "HU" || type == "US";
    }
}

void
read_groups(DcmItem *groups, cmir_dicom_frame &f)
{
    static const DcmTagKey kGroups[] = {DCM_PlanePositionSequence, DCM_PlaneOrientationSequence,
                                        DCM_PixelMeasuresSequence,
                                        DCM_PixelValueTransformationSequence};

    for (const DcmTagKey &key : kGroups) {
        DcmItem *item = groups == nullptr ? nullptr : first_item(*groups, key);
        if (item != nullptr)
            read_place(*item, f);
    }
}

cmir_status
read_frames(DcmDataset &d, cmir_dicom_file &file, cmir_error *err)
{
    cmir_dicom_frame common = {};
    DcmSequenceOfItems *per_frame = get_sequence(d, DCM_PerFrameFunctionalGroupsSequence);

    common.slope = common.thickness = 1;
    read_place(d, common);
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

/* A whole number of 0 .. 2^31-1, or -1. */
int32_t
get_count(DcmItem &item, const DcmTagKey &key)
{
    double value;

    if (!get_numbers(item, key, &value, 1) || value < 0 || value > INT32_MAX ||
        value != std::floor(value))
        return -1;
    return (int32_t)value;
}

void
read_header(Parsed &p, cmir_dicom_header &h)
{
    DcmDataset &d = p.dataset;
    std::string text;
    const auto copy = [](char *out, size_t n, const std::string &from) {
        (void)snprintf(out, n, "%s", from.c_str());
        cmir_dicom_clean_text(out);
    };

    copy(h.sop_class, sizeof h.sop_class, get_uid(d, DCM_SOPClassUID));
    if (get(d, DCM_Modality, text))
        copy(h.modality, sizeof h.modality, text);
    if (get(d, DCM_PhotometricInterpretation, text))
        copy(h.photometric, sizeof h.photometric, text);
    h.rows = get_count(d, DCM_Rows);
    h.cols = get_count(d, DCM_Columns);
    h.n_frames = get_count(d, DCM_NumberOfFrames);
    h.samples = get_count(d, DCM_SamplesPerPixel);
    h.bits_allocated = get_count(d, DCM_BitsAllocated);
    h.bits_stored = get_count(d, DCM_BitsStored);
    h.high_bit = get_count(d, DCM_HighBit);
    h.representation = get_count(d, DCM_PixelRepresentation);
    h.is_directory =
        get_uid(p.meta, DCM_MediaStorageSOPClassUID) == UID_MediaStorageDirectoryStorage ||
        d.tagExists(DCM_DirectoryRecordSequence);
    h.has_pixels = d.tagExists(DCM_PixelData);
    h.has_float_pixels = d.tagExists(DCM_FloatPixelData) || d.tagExists(DCM_DoubleFloatPixelData);
    h.has_lut = d.tagExists(DCM_ModalityLUTSequence);
    for (unsigned long i = 0; i < 8 && get(d, DCM_ImageType, text, i); i++)
        if (text == "LOCALIZER")
            h.is_localizer = true;
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
read_text(Parsed &p, cmir_dicom_text &text, cmir_error *err)
{
    DcmDataset &d = p.dataset;
    std::string age, birth;

    const struct {
        char *&field;
        const DcmTagKey &key;
    } fields[] = {
        {text.series_uid, DCM_SeriesInstanceUID},
        {text.study_uid, DCM_StudyInstanceUID},
        {text.modality, DCM_Modality},
        {text.patient_id, DCM_PatientID},
        {text.patient_sex, DCM_PatientSex},
        {text.study_date, DCM_StudyDate},
        {text.body_part, DCM_BodyPartExamined},
        {text.manufacturer, DCM_Manufacturer},
        {text.description, DCM_SeriesDescription},
    };
    for (const auto &f : fields)
        if ((f.field = get_text(d, f.key)) == nullptr)
            return FAIL(err, CMIR_ENOMEM, "no memory for a DICOM header");
    (void)get(d, DCM_PatientAge, age);
    (void)get(d, DCM_PatientBirthDate, birth);
    text.patient_age = cmir_dicom_age(age.c_str(), birth.c_str(), text.study_date);
    return CMIR_OK;
}

cmir_status
read_image(Parsed &p, const cmir_dicom_header &header, cmir_dicom_file &file, cmir_dicom_text &text,
           cmir_error *err)
{
    DcmPixelData *pixels;
    Fragments fragments;
    cmir_status st = read_text(p, text, err);

    if (st != CMIR_OK)
        return st;
    (void)snprintf(file.syntax_uid, sizeof file.syntax_uid, "%s", p.syntax_uid.c_str());
    file.syntax = cmir_dicom_syntax_of(file.syntax_uid);
    file.sop_uid = get_text(p.dataset, DCM_SOPInstanceUID);
    if (file.sop_uid != nullptr && file.sop_uid[0] == '\0') {
        free(file.sop_uid);
        file.sop_uid = get_text(p.meta, DCM_MediaStorageSOPInstanceUID);
    }
    if (file.sop_uid == nullptr)
        return FAIL(err, CMIR_ENOMEM, "no memory for a DICOM header");
    st = cmir_dicom_take_format(&header, &file, err);
    if (st == CMIR_OK && file.syntax != CMIR_DICOM_UNSUPPORTED)
        st = find_pixels(p, file, &pixels, fragments, err);
    if (st == CMIR_OK && file.syntax == CMIR_DICOM_NATIVE)
        find_native(p, *pixels, file.native);
    return st == CMIR_OK ? read_frames(p.dataset, file, err) : st;
}

cmir_status
file_read(const char *path, cmir_dicom_file &file, cmir_dicom_text &text, cmir_dicom_kind &kind,
          cmir_error *err)
{
    cmir_status st;
    Parsed p;

    if ((st = cmir_dicom_sniff(path, &kind, err)) != CMIR_OK)
        return st;
    set_up();
    if ((st = parse(path, p, err)) != CMIR_OK)
        return st;
    cmir_dicom_header header = {};
    read_header(p, header);
    kind = CMIR_DICOM_OTHER;
    if ((st = cmir_dicom_check_kind(&header, path, err)) != CMIR_OK)
        return st;
    kind = CMIR_DICOM_IMAGE;
    file.path = cmir_strdup(path);
    if (file.path == nullptr)
        return FAIL(err, CMIR_ENOMEM, "no memory for a path");
    return read_image(p, header, file, text, err);
}

} // namespace

extern "C" cmir_status
cmir_dicom_file_read(const char *path, cmir_dicom_file *file, cmir_dicom_text *text,
                     cmir_dicom_kind *kind, cmir_error *err)
{
    cmir_status st;

    memset(file, 0, sizeof *file);
    memset(text, 0, sizeof *text);
    try {
        st = file_read(path, *file, *text, *kind, err);
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
