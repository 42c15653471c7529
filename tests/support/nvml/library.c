/*
 * A libnvidia-ml.so.1 that answers what a script says: the part of NVML that the agent uses, with NVIDIA's names,
 * structures and return codes (nvml.h of CUDA 13).
 *
 * The script is the file that NVML_SCRIPT names. It is read again when it has changed, at each call. A line is one of
 *
 *     ENTITY FUNCTION[:ARGUMENT[/SCOPE]] NUMBER...     what the function gives, in the order of its outputs
 *     ENTITY FUNCTION[:ARGUMENT[/SCOPE]] text TEXT     the same for a string
 *     ENTITY FUNCTION[:ARGUMENT[/SCOPE]] error CODE    the function returns this code
 *     ENTITY FUNCTION[:ARGUMENT[/SCOPE]] hang          the function does not return until the line is gone
 *     event NUMBER gpuN XID GPU_INSTANCE COMPUTE_INSTANCE
 *
 * ENTITY is system, gpuN, or gpuN.migM. The FUNCTION `*` stands for all functions of the entity; those of `system` for
 * all there are. Functions have no version in their name (nvmlDeviceGetCount). What no line names is not supported.
 * An event reaches the sets that were made before its number was in the script.
 *
 * GPM has counters of each GPU instance. Each sample moves them on: `gpu0 nvmlGpmMigSampleGet:7 CYCLES GRAPHICS MEMORY`
 * says by how many cycles in all, with the graphics engine active, and with the memory active. The line
 * `gpu0 gpm:METRIC 1` says that the GPU gives this metric; `gpu0 gpm:METRIC error CODE` is the metric's own code.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    TIMEOUT = 10,
    ARGUMENT_VERSION_MISMATCH = 25,
};

enum { GPUS = 16, MIGS = 8, SLOTS = 4096, EVENTS = 1024, SETS = 256, SYSTEM = GPUS * (MIGS + 1), ENTITIES = SYSTEM + 1 };
enum { NAME = 48, TEXT = 96, NUMBERS = 8 };
enum { SAMPLES = 256, GPU_INSTANCES = 16, COUNTERS = 3, GPM_METRICS = 477 };
enum { ANY = -1 };
enum kind { NONE, GIVES, FAILS, HANGS };

typedef struct {
    enum kind kind;
    int entity;
    long argument, scope;
    char function[NAME];
    int code, count;
    unsigned long long numbers[NUMBERS];
    char text[TEXT];
} Line;

typedef struct {
    unsigned long number;
    int gpu;
    unsigned xid, gpu_instance, compute_instance;
} Event;

typedef struct {
    int used;
    unsigned long delivered; /* the number of the last event that this set has seen */
    unsigned gpus;           /* a bit for each GPU that is registered */
} EventSet;

typedef struct {
    char function[NAME];
    int entity;
    long argument;
    unsigned long calls;
} Calls;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sample {
    int used, gpu, gpu_instance;
    unsigned long long counters[COUNTERS]; /* cycles, of them with the graphics engine active, with the memory active */
} samples[SAMPLES];
static unsigned long long counters[GPUS][GPU_INSTANCES][COUNTERS];
static Line lines[SLOTS];
static Line everything[ENTITIES]; /* the `*` of each entity */
static Event events[EVENTS];
static int event_count;
static EventSet sets[SETS];
static Calls calls[SLOTS];
static int entities[ENTITIES]; /* a handle is the address of the entity's own element */
static int initialized;
static struct timespec read_at;
static off_t read_size = -1;
static ino_t read_inode;

static unsigned slot_of(int entity, const char *function, long argument, long scope) {
    unsigned hash = 2166136261u;
    for (const char *letter = function; *letter; letter++) hash = (hash ^ (unsigned char)*letter) * 16777619u;
    hash = (hash ^ (unsigned)entity) * 16777619u;
    hash = (hash ^ (unsigned)argument) * 16777619u;
    return ((hash ^ (unsigned)scope) * 16777619u) % SLOTS;
}

static Line *find(int entity, const char *function, long argument, long scope) {
    unsigned slot = slot_of(entity, function, argument, scope);
    for (;; slot = (slot + 1) % SLOTS) {
        Line *line = &lines[slot];
        if (line->kind == NONE || (line->entity == entity && line->argument == argument && line->scope == scope &&
                                   strcmp(line->function, function) == 0))
            return line;
    }
}

static int entity_of(const char *name) {
    int gpu, mig;
    if (strcmp(name, "system") == 0) return SYSTEM;
    if (sscanf(name, "gpu%d.mig%d", &gpu, &mig) == 2) return GPUS + gpu * MIGS + mig;
    if (sscanf(name, "gpu%d", &gpu) == 1) return gpu;
    fprintf(stderr, "NVML script: no entity %s\n", name);
    abort();
}

static void read_line(char *row) {
    char entity[32], function[NAME * 2];
    int used = 0;
    Event event;
    char gpu[32];
    if (sscanf(row, "event %lu %31s %u %u %u", &event.number, gpu, &event.xid, &event.gpu_instance,
               &event.compute_instance) == 5) {
        event.gpu = entity_of(gpu);
        if (event_count < EVENTS) events[event_count++] = event;
        return;
    }
    if (sscanf(row, "%31s %95s %n", entity, function, &used) < 2) return;
    long argument = ANY, scope = ANY;
    char *colon = strchr(function, ':');
    if (colon) {
        *colon = 0;
        sscanf(colon + 1, "%ld/%ld", &argument, &scope);
    }
    function[NAME - 1] = 0;
    int id = entity_of(entity);
    Line *line = strcmp(function, "*") == 0 ? &everything[id] : find(id, function, argument, scope);
    memset(line, 0, sizeof *line);
    line->kind = GIVES, line->entity = id, line->argument = argument, line->scope = scope;
    strcpy(line->function, function);
    char *rest = row + used;
    rest[strcspn(rest, "\n")] = 0;
    if (strcmp(rest, "hang") == 0) {
        line->kind = HANGS;
    } else if (sscanf(rest, "error %d", &line->code) == 1) {
        line->kind = FAILS;
    } else if (strncmp(rest, "text ", 5) == 0) {
        strncpy(line->text, rest + 5, TEXT - 1);
    } else {
        for (char *end; line->count < NUMBERS; rest = end) {
            unsigned long long number = strtoull(rest, &end, 0); /* a negative number wraps, and wraps back */
            if (end == rest) break;
            line->numbers[line->count++] = number;
        }
    }
}

/* Reads the script anew if it has changed. Who writes it puts a whole new file in its place. */
static void refresh(void) {
    const char *path = getenv("NVML_SCRIPT");
    struct stat found;
    if (!path || stat(path, &found) != 0) return;
    if (found.st_mtim.tv_sec == read_at.tv_sec && found.st_mtim.tv_nsec == read_at.tv_nsec &&
        found.st_size == read_size && found.st_ino == read_inode)
        return;
    FILE *file = fopen(path, "r");
    if (!file) return;
    memset(lines, 0, sizeof lines);
    memset(everything, 0, sizeof everything);
    event_count = 0;
    char row[512];
    while (fgets(row, sizeof row, file)) read_line(row);
    fclose(file);
    read_at = found.st_mtim, read_size = found.st_size, read_inode = found.st_ino;
}

static Calls *calls_of(int entity, const char *function, long argument) {
    unsigned slot = slot_of(entity, function, argument, ANY);
    for (;; slot = (slot + 1) % SLOTS) {
        Calls *found = &calls[slot];
        if (!found->calls || (found->entity == entity && found->argument == argument &&
                              strcmp(found->function, function) == 0))
            return found;
    }
}

static void count(int entity, const char *function, long argument) {
    Calls *counted = calls_of(entity, function, argument);
    strncpy(counted->function, function, NAME - 1);
    counted->entity = entity, counted->argument = argument;
    counted->calls++;
}

/* What the script says of a call: its line, or none. It waits here while the line says that the call hangs. */
static int look_up(int entity, const char *function, long argument, long scope, Line *answer) {
    for (int first = 1;; first = 0) {
        pthread_mutex_lock(&lock);
        if (!first || scope == ANY) refresh(); /* each field of a call that asks for many has a scope */
        if (first) count(entity, function, argument);
        Line *line = &everything[SYSTEM];
        if (line->kind == NONE) line = &everything[entity];
        if (line->kind == NONE && entity >= GPUS && entity < SYSTEM) line = &everything[(entity - GPUS) / MIGS];
        if (line->kind == NONE) line = find(entity, function, argument, scope);
        if (line->kind == NONE && scope != ANY) line = find(entity, function, argument, ANY);
        *answer = *line;
        pthread_mutex_unlock(&lock);
        if (answer->kind != HANGS) break;
        usleep(1000);
    }
    switch (answer->kind) {
    case FAILS: return answer->code;
    case GIVES: return SUCCESS;
    default: return NOT_SUPPORTED;
    }
}

static int answered(int *device, const char *function, long argument, Line *answer) {
    if (!initialized) return UNINITIALIZED;
    if (device < entities || device >= entities + ENTITIES) return INVALID_ARGUMENT;
    return look_up((int)(device - entities), function, argument, ANY, answer);
}

static int text(int *device, const char *function, char *into, unsigned size) {
    Line answer;
    int code = answered(device, function, ANY, &answer);
    if (code) return code;
    if (strlen(answer.text) >= size) return INSUFFICIENT_SIZE;
    strcpy(into, answer.text);
    return SUCCESS;
}

/* Tests ask how often a function was called. argument: -1 where it has none. */
unsigned long scriptedCalls(const char *entity, const char *function, long argument) {
    return calls_of(entity_of(entity), function, argument)->calls;
}

int nvmlInitWithFlags(unsigned flags) {
    Line answer;
    int code = look_up(SYSTEM, "nvmlInit", ANY, ANY, &answer);
    if (code && code != NOT_SUPPORTED) return code;
    initialized++;
    return SUCCESS;
}

int nvmlShutdown(void) {
    if (!initialized) return UNINITIALIZED;
    initialized--;
    return SUCCESS;
}

const char *nvmlErrorString(int code) { return "scripted"; }

int nvmlSystemGetDriverVersion(char *version, unsigned size) {
    return text(&entities[SYSTEM], "nvmlSystemGetDriverVersion", version, size);
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    Line answer;
    int code = answered(&entities[SYSTEM], "nvmlDeviceGetCount", ANY, &answer);
    if (!code) *count = (unsigned)answer.numbers[0];
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, int **device) {
    Line answer;
    if (!initialized) return UNINITIALIZED;
    if (index >= GPUS) return INVALID_ARGUMENT;
    int code = look_up((int)index, "nvmlDeviceGetHandleByIndex", ANY, ANY, &answer);
    if (code && code != NOT_SUPPORTED) return code;
    *device = &entities[index];
    return SUCCESS;
}

int nvmlDeviceGetUUID(int *device, char *uuid, unsigned size) { return text(device, "nvmlDeviceGetUUID", uuid, size); }
int nvmlDeviceGetName(int *device, char *name, unsigned size) { return text(device, "nvmlDeviceGetName", name, size); }

typedef struct {
    char legacy_bus_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
} PciInfo;

int nvmlDeviceGetPciInfo_v3(int *device, PciInfo *info) {
    memset(info, 0, sizeof *info);
    return text(device, "nvmlDeviceGetPciInfo", info->bus_id, sizeof info->bus_id);
}

#define ONE(function, version, type)                                                                                   \
    int function##version(int *device, type *value) {                                                                  \
        Line answer;                                                                                                   \
        int code = answered(device, #function, ANY, &answer);                                                          \
        if (!code) *value = (type)answer.numbers[0];                                                                   \
        return code;                                                                                                   \
    }

#define TWO(function, type)                                                                                            \
    int function(int *device, type *first, type *second) {                                                             \
        Line answer;                                                                                                   \
        int code = answered(device, #function, ANY, &answer);                                                          \
        if (!code) *first = (type)answer.numbers[0], *second = (type)answer.numbers[1];                                \
        return code;                                                                                                   \
    }

#define CHOSEN(function, type)                                                                                         \
    int function(int *device, unsigned argument, type *value) {                                                        \
        Line answer;                                                                                                   \
        int code = answered(device, #function, (long)argument, &answer);                                               \
        if (!code) *value = (type)answer.numbers[0];                                                                   \
        return code;                                                                                                   \
    }

ONE(nvmlDeviceGetPowerUsage, , unsigned)
ONE(nvmlDeviceGetEnforcedPowerLimit, , unsigned)
ONE(nvmlDeviceGetTotalEnergyConsumption, , unsigned long long)
ONE(nvmlDeviceGetFanSpeed, , unsigned)
ONE(nvmlDeviceGetPerformanceState, , unsigned)
ONE(nvmlDeviceGetCurrentClocksEventReasons, , unsigned long long)
ONE(nvmlDeviceGetCurrentClocksThrottleReasons, , unsigned long long)
ONE(nvmlDeviceGetCurrPcieLinkGeneration, , unsigned)
ONE(nvmlDeviceGetCurrPcieLinkWidth, , unsigned)
ONE(nvmlDeviceGetMaxPcieLinkGeneration, , unsigned)
ONE(nvmlDeviceGetMaxPcieLinkWidth, , unsigned)
ONE(nvmlDeviceGetPcieReplayCounter, , unsigned)
ONE(nvmlDeviceGetMaxMigDeviceCount, , unsigned)
ONE(nvmlDeviceGetGpuInstanceId, , unsigned)
ONE(nvmlDeviceGetComputeInstanceId, , unsigned)
TWO(nvmlDeviceGetEncoderUtilization, unsigned)
TWO(nvmlDeviceGetDecoderUtilization, unsigned)
TWO(nvmlDeviceGetMigMode, unsigned)
CHOSEN(nvmlDeviceGetTemperature, unsigned)
CHOSEN(nvmlDeviceGetTemperatureThreshold, unsigned)
CHOSEN(nvmlDeviceGetClockInfo, unsigned)
CHOSEN(nvmlDeviceGetMaxClockInfo, unsigned)
CHOSEN(nvmlDeviceGetPcieThroughput, unsigned)

int nvmlDeviceGetUtilizationRates(int *device, unsigned rates[2]) {
    Line answer;
    int code = answered(device, "nvmlDeviceGetUtilizationRates", ANY, &answer);
    if (!code) rates[0] = (unsigned)answer.numbers[0], rates[1] = (unsigned)answer.numbers[1];
    return code;
}

typedef struct {
    unsigned version, sensor;
    int celsius;
} Temperature;

int nvmlDeviceGetTemperatureV(int *device, Temperature *temperature) {
    Line answer;
    if (temperature->version != (sizeof *temperature | 1 << 24)) return ARGUMENT_VERSION_MISMATCH;
    int code = answered(device, "nvmlDeviceGetTemperatureV", temperature->sensor, &answer);
    if (!code) temperature->celsius = (int)answer.numbers[0];
    return code;
}

typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} Memory;

int nvmlDeviceGetMemoryInfo_v2(int *device, Memory *memory) {
    Line answer;
    if (memory->version != (sizeof *memory | 2 << 24)) return ARGUMENT_VERSION_MISMATCH;
    int code = answered(device, "nvmlDeviceGetMemoryInfo_v2", ANY, &answer);
    if (code) return code;
    memory->total = answer.numbers[0], memory->reserved = answer.numbers[1];
    memory->free = answer.numbers[2], memory->used = answer.numbers[3];
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(int *device, unsigned long long memory[3]) {
    Line answer;
    int code = answered(device, "nvmlDeviceGetMemoryInfo", ANY, &answer);
    if (!code) memcpy(memory, answer.numbers, 3 * sizeof *memory);
    return code;
}

typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int code;
    unsigned long long value;
} FieldValue;

/* The call succeeds, and each field has a code of its own, as with the real library. The type is unsigned long long. */
int nvmlDeviceGetFieldValues(int *device, int count, FieldValue *values) {
    Line answer;
    int code = answered(device, "nvmlDeviceGetFieldValues", ANY, &answer);
    if (code && code != NOT_SUPPORTED) return code;
    for (int index = 0; index < count; index++) {
        FieldValue *value = &values[index];
        value->code = look_up((int)(device - entities), "field", value->field, value->scope, &answer);
        if (value->code == SUCCESS) value->type = 3, value->value = answer.numbers[0];
    }
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(int *device, unsigned index, int **mig) {
    Line answer;
    int code = answered(device, "nvmlDeviceGetMigDeviceHandleByIndex", (long)index, &answer);
    if (code && code != NOT_SUPPORTED) return code;
    if (index >= MIGS) return INVALID_ARGUMENT;
    *mig = &entities[GPUS + (device - entities) * MIGS + index];
    return look_up((int)(*mig - entities), "nvmlDeviceGetUUID", ANY, ANY, &answer) ? NOT_FOUND : SUCCESS;
}

typedef struct {
    unsigned version, supported;
} GpmSupport;

int nvmlGpmQueryDeviceSupport(int *device, GpmSupport *support) {
    Line answer;
    if (support->version != 1) return ARGUMENT_VERSION_MISMATCH;
    int code = answered(device, "nvmlGpmQueryDeviceSupport", ANY, &answer);
    if (!code) support->supported = (unsigned)answer.numbers[0];
    return code;
}

int nvmlGpmSampleAlloc(struct sample **allocated) {
    Line answer;
    int code = answered(&entities[SYSTEM], "nvmlGpmSampleAlloc", ANY, &answer);
    if (code && code != NOT_SUPPORTED) return code;
    struct sample *sample = samples;
    while (sample->used) sample++;
    *sample = (struct sample){.used = 1, .gpu_instance = ANY};
    *allocated = sample;
    return SUCCESS;
}

int nvmlGpmSampleFree(struct sample *sample) {
    if (!initialized) return UNINITIALIZED;
    if (!sample->used) {
        fprintf(stderr, "NVML: a sample is freed twice\n");
        abort();
    }
    sample->used = 0;
    return SUCCESS;
}

/* Tests ask how many samples are allocated and not freed. */
int scriptedSamples(void) {
    int used = 0;
    for (int index = 0; index < SAMPLES; index++) used += samples[index].used;
    return used;
}

int nvmlGpmMigSampleGet(int *device, unsigned gpu_instance, struct sample *sample) {
    Line answer;
    int code = answered(device, "nvmlGpmMigSampleGet", (long)gpu_instance, &answer);
    if (code) return code;
    if (gpu_instance >= GPU_INSTANCES || !sample->used) return INVALID_ARGUMENT;
    int gpu = (int)(device - entities);
    sample->gpu = gpu, sample->gpu_instance = (int)gpu_instance;
    for (int index = 0; index < COUNTERS; index++)
        sample->counters[index] = counters[gpu][gpu_instance][index] += answer.numbers[index];
    return SUCCESS;
}

typedef struct {
    unsigned id;
    int code;
    double value;
    const char *names[3];
} GpmMetric;

typedef struct {
    unsigned version, count;
    struct sample *before, *after;
    GpmMetric metrics[GPM_METRICS];
} GpmMetrics;

/* As in nvml.h: 1 is the utilization of the graphics engine, 10 that of the memory's bandwidth. No cycles give NaN. */
int nvmlGpmMetricsGet(GpmMetrics *asked) {
    Line answer;
    struct sample *before = asked->before, *after = asked->after;
    if (!initialized) return UNINITIALIZED;
    if (asked->version != 1) return ARGUMENT_VERSION_MISMATCH;
    if (!before->used || !after->used || before->gpu != after->gpu || before->gpu_instance != after->gpu_instance ||
        before->counters[0] > after->counters[0])
        return INVALID_ARGUMENT;
    int code = look_up(after->gpu, "nvmlGpmMetricsGet", ANY, ANY, &answer);
    if (code && code != NOT_SUPPORTED) return code;
    double cycles = (double)(after->counters[0] - before->counters[0]);
    for (unsigned index = 0; index < asked->count; index++) {
        GpmMetric *metric = &asked->metrics[index];
        int counter = metric->id == 1 ? 1 : 2;
        metric->code = look_up(after->gpu, "gpm", metric->id, ANY, &answer);
        metric->value = metric->code ? -1 : 100 * (double)(after->counters[counter] - before->counters[counter]) / cycles;
    }
    return SUCCESS;
}

int nvmlEventSetCreate(EventSet **created) {
    if (!initialized) return UNINITIALIZED;
    pthread_mutex_lock(&lock);
    refresh();
    EventSet *set = sets;
    while (set->used) set++;
    memset(set, 0, sizeof *set);
    set->used = 1;
    for (int index = 0; index < event_count; index++)
        if (events[index].number > set->delivered) set->delivered = events[index].number;
    pthread_mutex_unlock(&lock);
    *created = set;
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(int *device, unsigned long long types, EventSet *set) {
    Line answer;
    int code = answered(device, "nvmlDeviceRegisterEvents", ANY, &answer);
    if (code && code != NOT_SUPPORTED) return code;
    set->gpus |= 1u << (device - entities);
    return SUCCESS;
}

int nvmlEventSetFree(EventSet *set) {
    set->used = 0;
    return SUCCESS;
}

typedef struct {
    int *device;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
} EventData;

static int next_event(EventSet *set, EventData *data) {
    int found = 0;
    pthread_mutex_lock(&lock);
    refresh();
    for (int index = 0; index < event_count && !found; index++) {
        Event *event = &events[index];
        if (event->number <= set->delivered || !(set->gpus & 1u << event->gpu)) continue;
        *data = (EventData){&entities[event->gpu], 8, event->xid, event->gpu_instance, event->compute_instance};
        set->delivered = event->number;
        found = 1;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

int nvmlEventSetWait_v2(EventSet *set, EventData *data, unsigned milliseconds) {
    Line answer;
    if (!initialized) return UNINITIALIZED;
    for (unsigned waited = 0;; waited++) {
        if (next_event(set, data)) return SUCCESS;
        for (int gpu = 0; gpu < GPUS; gpu++) {
            if (!(set->gpus & 1u << gpu)) continue;
            int code = look_up(gpu, "nvmlEventSetWait", ANY, ANY, &answer);
            if (code && code != NOT_SUPPORTED) return code;
        }
        if (waited >= milliseconds) return TIMEOUT;
        usleep(1000);
    }
}
