/* SPDX-License-Identifier: Apache-2.0 */
/* onnx.c: encoders that are ONNX models, run by ONNX Runtime; the only file that knows it.
 *
 * The library is opened at run time, so cmir works without it.  One session serves all workers:
 * each calls Run() with its own batch, on its own thread.  The model's bytes are hashed, checked
 * against the card and handed over as they are, so what was checked is what runs. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <onnxruntime_c_api.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "encode/card.h"
#include "encode/encoder_internal.h"
#include "encode/preprocess.h"
#include "encode/shape.h"

#define OLDEST_API 11  /* of ONNX Runtime 1.11; nothing newer is used */
#define MAX_FIXED_BATCH 64
#define BATCH 2 /* larger ones gain nothing on a CPU and leave workers idle at the end */

struct onnx {
    cmir_card card;
    char *library; /* as opened, with its version */
    const OrtApi *api;
    OrtEnv *env;
    OrtSession *session;
    OrtMemoryInfo *memory;
    cmir_shape input, embedding, patches; /* as the model states them */
    bool fixed_batch;
};

static void ORT_API_CALL
log_nothing(void *param, OrtLoggingLevel level, const char *category, const char *id,
            const char *place, const char *message)
{
    (void)param, (void)level, (void)category, (void)id, (void)place, (void)message;
}

/* Consumes `status`. */
static cmir_status
check(const struct onnx *o, OrtStatus *status, cmir_error *err)
{
    if (status == NULL)
        return CMIR_OK;
    const cmir_status st = FAIL(err, CMIR_ECORRUPT, "%s: ONNX Runtime: %s", o->card.path,
                                o->api->GetErrorMessage(status));
    o->api->ReleaseStatus(status);
    return st;
}

/* Opens the library by one name; false if it is not there or too old, with the reason in `why`. */
static bool
open_library(struct onnx *o, const char *name, char why[160])
{
    union {
        void *object;
        const OrtApiBase *(*function)(void);
    } entry;
    unsigned version = 0;
    /* Never closed: the library's threads and static objects do not survive that. */
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL) {
        (void)snprintf(why, 160, "%s", dlerror());
        return false;
    }
    entry.object = dlsym(library, "OrtGetApiBase");
    if (entry.object == NULL) {
        (void)snprintf(why, 160, "%s: not ONNX Runtime", name);
        return false;
    }
    const OrtApiBase *base = entry.function();
    const char *text = base->GetVersionString();
    /* Release 1.x has interface x and all before; asked for more, it would print a complaint. */
    if (sscanf(text, "1.%u", &version) == 1 && version >= OLDEST_API)
        o->api = base->GetApi(version < ORT_API_VERSION ? version : ORT_API_VERSION);
    if (o->api == NULL) {
        (void)snprintf(why, 160, "%s: version %s, 1.%d or later is wanted", name, text, OLDEST_API);
        return false;
    }
    o->library = cmir_asprintf("%s, version %s", name, text);
    return true;
}

static cmir_status
find_library(struct onnx *o, const char *path, cmir_error *err)
{
    static const char *const names[] = {"libonnxruntime.so.1", "libonnxruntime.so",
                                        "libonnxruntime.so.1.21"}; /* the last: Debian 13 */
    char program[4096], why[160] = "";

    if (path != NULL) {
        if (open_library(o, path, why))
            return CMIR_OK;
        return FAIL(err, CMIR_EUNSUPPORTED, "ONNX Runtime cannot be used: %s", why);
    }
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n < 0 ? 0 : n] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL)
        slash[1] = '\0';
    for (size_t i = 0; slash != NULL && i < 2; i++) {
        char *beside = cmir_asprintf("%s%s", program, names[i]);
        const bool found = beside != NULL && access(beside, F_OK) == 0;
        const bool opened = found && open_library(o, beside, why);
        free(beside);
        if (opened)
            return CMIR_OK;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (open_library(o, names[i], why))
            return CMIR_OK;
    return FAIL(err, CMIR_EUNSUPPORTED,
                "encoder %s needs ONNX Runtime 1.%d or later; no libonnxruntime.so.1 beside the "
                "program nor in the system: install it (Debian 13: libonnxruntime1.21) or name "
                "it (--onnxruntime PATH)",
                o->card.name, OLDEST_API);
}

static cmir_status
start_session(struct onnx *o, const cmir_map *weights, cmir_error *err)
{
    const OrtApi *api = o->api;
    OrtSessionOptions *options = NULL;
    cmir_status st;

    if ((st = check(o,
                    api->CreateEnvWithCustomLogger(log_nothing, NULL, ORT_LOGGING_LEVEL_FATAL,
                                                   "cmir", &o->env),
                    err)) != CMIR_OK ||
        (st = check(o, api->DisableTelemetryEvents(o->env), err)) != CMIR_OK ||
        (st = check(o, api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &o->memory),
                    err)) != CMIR_OK ||
        (st = check(o, api->CreateSessionOptions(&options), err)) != CMIR_OK)
        return st;
    if ((st = check(o, api->SetIntraOpNumThreads(options, 1), err)) == CMIR_OK &&
        (st = check(o, api->SetInterOpNumThreads(options, 1), err)) == CMIR_OK)
        st = check(o,
                   api->CreateSessionFromArray(o->env, weights->data, weights->nbytes, options,
                                               &o->session),
                   err);
    api->ReleaseSessionOptions(options);
    return st;
}

/* The weights are what the card says, and a session of them. */
static cmir_status
open_weights(struct onnx *o, cmir_error *err)
{
    char sha256[CMIR_SHA256_HEX_NBYTES];
    cmir_map weights;
    cmir_status st = cmir_map_open(o->card.weights_path, &weights, err);

    if (st != CMIR_OK)
        return st;
    cmir_sha256(weights.data, weights.nbytes, sha256);
    if (strcmp(sha256, o->card.sha256) != 0)
        st = FAIL(err, CMIR_ECORRUPT, "%s: sha256 is %.16s..., encoder card %s says %.16s...",
                  o->card.weights_path, sha256, o->card.path, o->card.sha256);
    else
        st = start_session(o, &weights, err);
    cmir_map_close(&weights);
    return st;
}

/* The shape of a float32 tensor. */
static cmir_status
get_tensor(const struct onnx *o, const char *name, const OrtTensorTypeAndShapeInfo *tensor,
           cmir_shape *shape, cmir_error *err)
{
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    cmir_status st = check(o, o->api->GetTensorElementType(tensor, &type), err);

    if (st != CMIR_OK)
        return st;
    if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: %s of the model is %s; export it as float32",
                    o->card.path, name,
                    type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16    ? "float16"
                    : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16 ? "bfloat16"
                    : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8    ? "uint8"
                                                                     : "not float32");
    if ((st = check(o, o->api->GetDimensionsCount(tensor, &shape->rank), err)) != CMIR_OK)
        return st;
    if (shape->rank < 2 || shape->rank > CMIR_MAX_RANK)
        return FAIL(err, CMIR_EUNSUPPORTED, "%s: %s of the model has %zu dimensions", o->card.path,
                    name, shape->rank);
    return check(o, o->api->GetDimensions(tensor, shape->dims, shape->rank), err);
}

static cmir_status
get_tensor_of_type(const struct onnx *o, const char *name, OrtTypeInfo *info, cmir_shape *shape,
                   cmir_error *err)
{
    const OrtTensorTypeAndShapeInfo *tensor = NULL;
    cmir_status st = check(o, o->api->CastTypeInfoToTensorInfo(info, &tensor), err);

    if (st == CMIR_OK && tensor == NULL)
        st =
            FAIL(err, CMIR_EUNSUPPORTED, "%s: %s of the model is not a tensor", o->card.path, name);
    if (st == CMIR_OK)
        st = get_tensor(o, name, tensor, shape, err);
    o->api->ReleaseTypeInfo(info);
    return st;
}

static cmir_status
check_input(struct onnx *o, cmir_error *err)
{
    OrtTypeInfo *info = NULL;
    cmir_status st = check(o, o->api->SessionGetInputTypeInfo(o->session, 0, &info), err);

    if (st != CMIR_OK ||
        (st = get_tensor_of_type(o, o->card.input, info, &o->input, err)) != CMIR_OK ||
        (st = cmir_shape_check_input(&o->card, &o->input, err)) != CMIR_OK)
        return st;
    o->fixed_batch = o->input.dims[0] >= 0;
    if (o->fixed_batch && (o->input.dims[0] < 1 || o->input.dims[0] > MAX_FIXED_BATCH))
        return FAIL(err, CMIR_EUNSUPPORTED,
                    "%s: the model takes %lld slices at a time; 1 to %d "
                    "are supported",
                    o->card.path, (long long)o->input.dims[0], MAX_FIXED_BATCH);
    return CMIR_OK;
}

/* The model's output called `name`: its shape. */
static cmir_status
find_output(const struct onnx *o, const char *field, const char *name, cmir_shape *shape,
            cmir_error *err)
{
    OrtAllocator *allocator = NULL;
    OrtTypeInfo *info = NULL;
    cmir_buf names = {0};
    size_t n = 0;
    cmir_status st;

    if ((st = check(o, o->api->GetAllocatorWithDefaultOptions(&allocator), err)) != CMIR_OK ||
        (st = check(o, o->api->SessionGetOutputCount(o->session, &n), err)) != CMIR_OK)
        return st;
    for (size_t i = 0; i < n; i++) {
        char *text = NULL;
        st = check(o, o->api->SessionGetOutputName(o->session, i, allocator, &text), err);
        if (st != CMIR_OK)
            break;
        const bool found = strcmp(text, name) == 0;
        cmir_buf_printf(&names, "%s%s", i > 0 ? ", " : "", text);
        (void)check(o, o->api->AllocatorFree(allocator, text), NULL);
        if (!found)
            continue;
        free(names.data);
        st = check(o, o->api->SessionGetOutputTypeInfo(o->session, i, &info), err);
        return st != CMIR_OK ? st : get_tensor_of_type(o, name, info, shape, err);
    }
    if (st == CMIR_OK)
        st = FAIL(err, CMIR_ECORRUPT, "%s: output.%s: the model has no output %s; it has %s",
                  o->card.path, field, name, names.data == NULL ? "none" : names.data);
    free(names.data);
    return st;
}

static cmir_status
check_input_name(const struct onnx *o, cmir_error *err)
{
    OrtAllocator *allocator = NULL;
    char *text = NULL;
    size_t n = 0;
    cmir_status st;

    if ((st = check(o, o->api->SessionGetInputCount(o->session, &n), err)) != CMIR_OK)
        return st;
    if (n != 1)
        return FAIL(err, CMIR_EUNSUPPORTED,
                    "%s: the model wants %zu inputs; export one that "
                    "wants the pixels only",
                    o->card.path, n);
    if ((st = check(o, o->api->GetAllocatorWithDefaultOptions(&allocator), err)) != CMIR_OK ||
        (st = check(o, o->api->SessionGetInputName(o->session, 0, allocator, &text), err)) !=
            CMIR_OK)
        return st;
    if (strcmp(text, o->card.input) != 0)
        st = FAIL(err, CMIR_ECORRUPT, "%s: input.name: the model's input is called %s, not %s",
                  o->card.path, text, o->card.input);
    (void)check(o, o->api->AllocatorFree(allocator, text), NULL);
    return st;
}

static cmir_status
check_outputs(struct onnx *o, cmir_error *err)
{
    const cmir_card *card = &o->card;
    cmir_status st = find_output(o, "embedding", card->embedding, &o->embedding, err);

    if (st != CMIR_OK || (st = cmir_shape_check_embedding(card, &o->embedding, err)) != CMIR_OK ||
        card->patches == NULL ||
        (st = find_output(o, "patches", card->patches, &o->patches, err)) != CMIR_OK)
        return st;
    return cmir_shape_check_patches(card, &o->patches, err);
}

/* rows = the embeddings of the first n items of the model's output. */
static cmir_status
take_embeddings(const struct onnx *o, OrtValue *output, uint32_t n_given, uint32_t n, float *rows,
                cmir_error *err)
{
    OrtTensorTypeAndShapeInfo *info = NULL;
    cmir_shape shape = {0};
    void *data = NULL;
    cmir_status st;

    if ((st = check(o, o->api->GetTensorTypeAndShape(output, &info), err)) != CMIR_OK)
        return st;
    st = get_tensor(o, o->card.embedding, info, &shape, err);
    o->api->ReleaseTensorTypeAndShapeInfo(info);
    if (st != CMIR_OK || (st = cmir_shape_check_embedding(&o->card, &shape, err)) != CMIR_OK ||
        (st = check(o, o->api->GetTensorMutableData(output, &data), err)) != CMIR_OK)
        return st;
    if (shape.dims[0] != n_given)
        return FAIL(err, CMIR_ECORRUPT, "%s: the model gave %lld rows for %u slices", o->card.path,
                    (long long)shape.dims[0], n_given);
    cmir_shape_pool(&o->card, &shape, data, n, rows);
    return CMIR_OK;
}

static cmir_status
onnx_encode(const cmir_encoder *encoder, const cmir_picture *pictures, uint32_t n, float *rows,
            cmir_error *err)
{
    const struct onnx *o = encoder->state;
    const cmir_card *card = &o->card;
    const uint32_t n_given = o->fixed_batch ? encoder->batch : n;
    const size_t size = (size_t)card->n_channels * card->rows * card->cols;
    int64_t dims[4] = {n_given, o->input.dims[1], o->input.dims[2], o->input.dims[3]};
    OrtValue *input = NULL, *output = NULL;
    float *tensor = cmir_alloc_zeroed(n_given * size, sizeof *tensor);
    cmir_status st;

    if (tensor == NULL) {
        st = FAIL(err, CMIR_ENOMEM, "no memory to prepare slices for encoder %s", card->name);
        goto done;
    }
    dims[card->channels_last ? 3 : 1] = card->n_channels;
    dims[card->channels_last ? 1 : 2] = card->rows;
    dims[card->channels_last ? 2 : 3] = card->cols;
    if ((st = cmir_preprocess(card, pictures, n, tensor, err)) != CMIR_OK ||
        (st = check(o,
                    o->api->CreateTensorWithDataAsOrtValue(
                        o->memory, tensor, n_given * size * sizeof *tensor, dims, 4,
                        ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input),
                    err)) != CMIR_OK)
        goto done;
    const char *in_name = card->input, *out_name = card->embedding;
    const OrtValue *in = input;
    st = check(o, o->api->Run(o->session, NULL, &in_name, &in, 1, &out_name, 1, &output), err);
    if (st == CMIR_OK)
        st = take_embeddings(o, output, n_given, n, rows, err);
done:
    if (output != NULL)
        o->api->ReleaseValue(output);
    if (input != NULL)
        o->api->ReleaseValue(input);
    free(tensor);
    return st;
}

static cmir_status
onnx_describe(const cmir_encoder *encoder, char **out, cmir_error *err)
{
    const struct onnx *o = encoder->state;
    cmir_buf text = {0};

    cmir_shape_describe(&o->card, &o->input, &o->embedding, &o->patches, &text);
    cmir_buf_printf(&text, "batch:     %u slices\nrun time:  ONNX Runtime, %s\n", encoder->batch,
                    o->library);
    *out = text.data;
    if (!text.failed)
        return CMIR_OK;
    free(text.data);
    *out = NULL;
    return FAIL(err, CMIR_ENOMEM, "no memory to describe encoder %s", o->card.name);
}

static void
onnx_close(cmir_encoder *encoder)
{
    struct onnx *o = encoder->state;

    if (o == NULL)
        return;
    if (o->session != NULL)
        o->api->ReleaseSession(o->session);
    if (o->memory != NULL)
        o->api->ReleaseMemoryInfo(o->memory);
    if (o->env != NULL)
        o->api->ReleaseEnv(o->env);
    cmir_card_free(&o->card);
    free(o->library);
    free(o);
}

static const cmir_encoder_class onnx_class = {onnx_encode, onnx_describe, onnx_close};

cmir_status
cmir_onnx_init(cmir_encoder *encoder, const char *card_path, const char *onnxruntime_path,
               cmir_error *err)
{
    struct onnx *o = cmir_alloc_zeroed(1, sizeof *o);
    const cmir_card *card;
    cmir_status st;

    encoder->class_ = &onnx_class;
    encoder->state = o;
    if (o == NULL)
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for the encoder", card_path);
    if ((st = cmir_card_read(&o->card, card_path, err)) != CMIR_OK ||
        (st = find_library(o, onnxruntime_path, err)) != CMIR_OK ||
        (st = open_weights(o, err)) != CMIR_OK || (st = check_input_name(o, err)) != CMIR_OK ||
        (st = check_input(o, err)) != CMIR_OK || (st = check_outputs(o, err)) != CMIR_OK)
        return st;
    card = &o->card;
    encoder->batch = o->fixed_batch ? (uint32_t)o->input.dims[0] : BATCH;
    encoder->info.dim = card->dim;
    if (!cmir_encoder_identify(encoder, card->name, card->version, card->licence, card->sha256,
                               card->json, card->path))
        return FAIL(err, CMIR_ENOMEM, "%s: no memory for the encoder", card_path);
    return CMIR_OK;
}
