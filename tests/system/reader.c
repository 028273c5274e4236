/* A reader of the shared memory, written from shm_layout.md alone: the paragraphs named are its.
 *   reader attach|live <path>
 *   reader read        <path> <board> <slot> [tag-hex]
 *   reader hunt|stream <path> <board> <slot> <seconds>
 *   reader changed     <path> <board>
 * Exit status: 0 an answer, 1 refused or a record that convicts itself, 2 usage, 4 another layout.
 */
#define _GNU_SOURCE /* F_OFD_GETLK */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long u64; /* %lu on both machines of §7 */
_Static_assert(sizeof(u32) == 4 && sizeof(u64) == 8, "a 64-bit machine");

/* §1 */
#define MAGIC 0x314b54534e455001ul
#define LAYOUT_VERSION 1u
#define LAYOUT_HASH 0xd64e3381fdab277ful
enum { TOC = 320, TOC_ENTRY = 64, TOC_ENTRIES = 32, FIRST_BOARD = 139264 };
enum { PREFIX = 64, ATTEMPTS = 64, FRESH_NS = 500000000 }; /* §5, §12, §8 */
enum { REFUSED = 1, USAGE = 2, OTHER_LAYOUT = 4 };        /* exit statuses */
enum { BOOT = 1, RUN, HALT, FAIL, RETIRED };              /* §4 State */
static const char *const STATES[] = {"?", "BOOT", "RUN", "HALT", "FAIL", "RETIRED"};

/* §5: fields follow each other without gaps. q i64, Q u64, I u32; reserved ones are left out.
 * Of the types without fields here only the prefix is decoded. */
static const char PREFIX_FIELDS[] = "Qtag Iincarnation Igeneration Qbatch Qvenue_seq qrecv_ns "
                                    "qpublish_ns qvenue_ts_ns Iflags Iproof ";
static const struct {
    u32 bytes;
    const char *fields;
} RECORDS[] = {
    {0, ""},
    {128, "qbid_px_e9 qbid_qty_e9 qask_px_e9 qask_qty_e9 qlast_px_e9 qlast_qty_e9 qtick_e9 "
          "qproven_ns "}, /* bbo */
    {192, "qyes_bid_px_e9 qyes_bid_qty_e9 qyes_ask_px_e9 qyes_ask_qty_e9 qno_bid_px_e9 "
          "qno_bid_qty_e9 qno_ask_px_e9 qno_ask_qty_e9 qlast_px_e9 qtick_e9 qproven_ns Iyes_flags "
          "Ino_flags "}, /* pair_bbo */
    {768, ""}, {128, "qpx_e9 qqty_e9 Qtrade_id Qpair_tag Iside "},  /* depth, trade */
    {128, ""}, {128, "qmid_px_e9 qwall_ns "}, {512, ""}, {128, ""}, /* features ... settlement */
    {192, ""}, {128, ""}, {192, ""}, {192, ""}, {192, ""},          /* target_quotes ... process */
};
enum { RECORD_TYPES = sizeof RECORDS / sizeof RECORDS[0] };
typedef u64 record_t[768 / 8]; /* a copy of the largest */

typedef struct {
    char name[33];
    u32 record_id, record_bytes, slots, cells;
    const uint8_t *versions, *first_cell;
} board_t;

static const uint8_t *base; /* the mapped segment */
static u64 length;
#define REFUSE(status, ...) (printf("refused: "), printf(__VA_ARGS__), puts(""), exit(status))

static u32 u32_at(const uint8_t *p) { return *(const u32 *)(const void *)p; }
static u64 u64_at(const uint8_t *p) { return *(const u64 *)(const void *)p; }

/* §7: one aligned 8-byte load of a word that another process writes */
#define LOAD(at, order) \
    atomic_load_explicit((const _Atomic u64 *)(const void *)(at), memory_order_##order)

static int64_t monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- §10 Attached, §4 header -------------------------------------------------------------- */

static void attach(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0)
        REFUSE(REFUSED, "%s%s", errno == ENOENT ? "not yet: " : "", strerror(errno));
    if (st.st_uid != geteuid() && st.st_uid != 0)
        REFUSE(REFUSED, "owner is user %u, this reader user %u", st.st_uid, geteuid());
    length = (u64)st.st_size;
    if (length < 64)
        REFUSE(REFUSED, "the file has %lu bytes, a head needs 64", length);
    base = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        REFUSE(REFUSED, "mmap: %s", strerror(errno));
    if (u64_at(base) != MAGIC)
        REFUSE(REFUSED, "magic is 0x%016lx, not 0x%016lx", u64_at(base), MAGIC);
    if (u32_at(base + 8) != LAYOUT_VERSION || u64_at(base + 16) != LAYOUT_HASH)
        REFUSE(OTHER_LAYOUT, "layout version %u, hash 0x%016lx; this reader's %u, 0x%016lx",
               u32_at(base + 8), u64_at(base + 16), LAYOUT_VERSION, LAYOUT_HASH);
    if (u64_at(base + 24) != length)
        REFUSE(REFUSED, "total_bytes is %lu, the file has %lu", u64_at(base + 24), length);
    char running[64], written[64] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (file == NULL || fscanf(file, "%63s", running) != 1)
        REFUSE(REFUSED, "no boot id of the kernel: %s", strerror(errno));
    for (int i = 0; i < 16; i++)
        sprintf(written + strlen(written), i > 3 && i < 11 && i % 2 == 0 ? "-%02x" : "%02x",
                base[32 + i]);
    if (strcmp(running, written) != 0)
        REFUSE(REFUSED, "boot id is %s, the running kernel's %s", written, running);
    /* Beyond the checks of §10: what keeps every later access inside the map. */
    if (length < FIRST_BOARD || u32_at(base + 192) > TOC_ENTRIES)
        REFUSE(REFUSED, "%lu bytes of at least %u, %u boards of at most %u", length, FIRST_BOARD,
               u32_at(base + 192), TOC_ENTRIES);
}

static board_t board_at(u32 index)
{
    const uint8_t *entry = base + TOC + TOC_ENTRY * index;
    u64 versions = u64_at(entry + 48), cells = u64_at(entry + 56);
    board_t b = {.record_id = u32_at(entry + 32), .record_bytes = u32_at(entry + 36),
                 .slots = u32_at(entry + 40), .cells = u32_at(entry + 44),
                 .versions = base + versions, .first_cell = base + cells};
    memcpy(b.name, entry, 32);
    bool known = b.record_id >= 1 && b.record_id < RECORD_TYPES &&
                 b.record_bytes == RECORDS[b.record_id].bytes;
    bool shape = b.slots >= 1 && b.cells >= 4 && (b.cells & (b.cells - 1)) == 0;
    if (!known || !shape || versions % 64 != 0 || cells % 64 != 0 || versions > length ||
        cells > length || (length - versions) / 8 < b.slots ||
        (length - cells) / b.record_bytes / b.cells < b.slots)
        REFUSE(REFUSED, "the entry of board %u (%s) does not fit the page", index, b.name);
    return b;
}

static board_t board_named(const char *name)
{
    for (u32 i = 0; i < u32_at(base + 192); i++) {
        board_t b = board_at(i);
        if (strcmp(b.name, name) == 0)
            return b;
    }
    REFUSE(REFUSED, "no board %s", name);
}

static int show(void)
{
    u64 state = LOAD(base + 72, acquire);
    printf("ok\nrole=%.64s\nincarnation=%lu\nstate=%s\n", (const char *)base + 224,
           LOAD(base + 64, acquire), STATES[state <= RETIRED ? state : 0]);
    for (u32 i = 0; i < u32_at(base + 192); i++) {
        board_t b = board_at(i);
        printf("board=%s record=%u N=%u K=%u\n", b.name, b.record_id, b.slots, b.cells);
    }
    return 0;
}

/* ---- §6 Protocol -------------------------------------------------------------------------- */

static const uint8_t *version_at(const board_t *b, u32 slot) { return b->versions + 8ul * slot; }

/* R2, R3: whether the copy is record u, whole; `after` is the version loaded last. */
static bool copy_record(const board_t *b, u32 slot, u64 u, u64 *to, u64 *after)
{
    u64 place = (u64)slot * b->cells + (u & (b->cells - 1));
    const uint8_t *cell = b->first_cell + place * b->record_bytes;
    for (u32 i = 0; i < b->record_bytes / 8; i++)
        to[i] = LOAD(cell + 8 * i, relaxed);
    atomic_thread_fence(memory_order_acquire);
    *after = LOAD(version_at(b, slot), relaxed);
    return *after - u <= b->cells - 2; /* unsigned: below 0 is refused too */
}

typedef enum { TAKEN, NEVER, BUSY } answer_t;

static answer_t newest(const board_t *b, u32 slot, u64 *to, u64 *v, u64 *retries)
{
    u64 after;
    for (int refused = 0; refused < ATTEMPTS; refused++, ++*retries) {
        *v = LOAD(version_at(b, slot), acquire);
        if (*v == 0)
            return NEVER;
        if (copy_record(b, slot, *v, to, &after))
            return TAKEN;
    }
    return BUSY;
}

static void show_fields(const char *fields, const uint8_t *at)
{
    while (*fields != '\0') {
        char kind = *fields++;
        int n = (int)strcspn(fields, " ");
        printf("%.*s=", n, fields);
        u64 value = kind == 'I' ? u32_at(at) : u64_at(at);
        printf(kind == 'q' ? "%ld\n" : "%lu\n", value);
        at += kind == 'I' ? 4 : 8;
        fields += n + 1;
    }
}

static int read_one(const board_t *b, u32 slot, const char *tag)
{
    record_t r;
    const uint8_t *bytes = (const uint8_t *)r;
    u64 v, retries = 0;
    answer_t answer = newest(b, slot, r, &v, &retries);
    if (answer != TAKEN)
        return puts(answer == NEVER ? "NEVER" : "BUSY") < 0;
    u64 wanted = tag ? strtoul(tag, NULL, 16) : r[0];
    if (r[0] != wanted)
        return printf("OTHER_TAG 0x%016lx, not 0x%016lx\n", r[0], wanted) < 0;
    printf("version=%lu\nraw=", v);
    for (u32 i = 0; i < b->record_bytes; i++)
        printf("%02x", bytes[i]);
    printf("\n");
    show_fields(PREFIX_FIELDS, bytes);
    show_fields(RECORDS[b->record_id].fields, bytes + PREFIX);
    return 0;
}

/* ---- Hunts: every word behind the prefix must equal `batch`, or the record convicts itself -- */

static bool torn(const board_t *b, const u64 *r)
{
    for (u32 i = PREFIX / 8; i < b->record_bytes / 8; i++)
        if (r[i] != r[2])
            return true;
    return false;
}

static int hunt(const board_t *b, u32 slot, int64_t until)
{
    u64 reads = 0, retries = 0, busy = 0, bad = 0, backward = 0, v, last = 0, last_batch = 0;
    record_t r;
    while (monotonic_ns() < until) {
        answer_t answer = newest(b, slot, r, &v, &retries);
        backward += v < last;
        last = v;
        busy += answer == BUSY;
        if (answer != TAKEN)
            continue;
        reads++;
        bad += torn(b, r);
        backward += r[2] < last_batch; /* an older record under a newer version */
        last_batch = r[2];
    }
    printf("reads=%lu retries=%lu busy=%lu ", reads, retries, busy);
    printf("torn=%lu backward=%lu\n", bad, backward);
    return bad || backward ? REFUSED : 0;
}

/* A stream reader. `batch` is to grow by one with each record: so a record proves its number. */
static int stream(const board_t *b, u32 slot, int64_t until)
{
    u64 taken = 0, lost = 0, overruns = 0, bad = 0, after, batch = 0, step = 1;
    u32 incarnation = (u32)LOAD(base + 64, acquire); /* before the cursor: a restart is seen */
    u64 first = LOAD(version_at(b, slot), acquire), c = first;
    record_t r;
    printf("cursor=%lu\n", c);
    fflush(stdout);
    for (int64_t now = 0; now < until;) {
        now = monotonic_ns();
        for (u64 v = LOAD(version_at(b, slot), acquire); c < v;) {
            if (!copy_record(b, slot, c + 1, r, &after)) {
                u64 on = after - b->cells / 2; /* lapped: after >= c + K, so it lies behind c */
                lost += on - c;
                step += on - c;
                overruns++;
                c = on;
                continue;
            }
            c++;
            taken++;
            bad += torn(b, r) || (batch != 0 && r[2] - batch != step);
            overruns += incarnation != (u32)r[1];
            incarnation = (u32)r[1];
            batch = r[2];
            step = 1;
        }
    }
    printf("taken=%lu lost=%lu overruns=%lu torn=%lu\n", taken, lost, overruns, bad);
    return bad || taken + lost != c - first ? REFUSED : 0;
}

/* What changed? For one who keeps no copy from last time: every version that is not 0. */
static int changed(const board_t *b)
{
    for (u32 slot = 0; slot < b->slots; slot++)
        if (LOAD(version_at(b, slot), acquire) != 0)
            printf("%u\n", slot);
    return 0;
}

/* ---- §8 Liveness -------------------------------------------------------------------------- */

static const char *liveness(const char *path)
{
    static const char *const FRESH[] = {"?", "BOOT", "LIVE", "HALTED", "FAILED"};
    u64 state = LOAD(base + 72, acquire);
    if (state == RETIRED)
        return "RETIRED";
    if (state < BOOT || state > RETIRED)
        return "WRITER_DEAD"; /* no writer of this page says so */
    /* The heartbeat before the clock: a beat in between would lie in the future. */
    int64_t heartbeat = (int64_t)LOAD(base + 80, acquire);
    int64_t age = monotonic_ns() - heartbeat;
    if (age >= 0 && age <= FRESH_NS)
        return FRESH[state];
    char name[4096];
    snprintf(name, sizeof name, "%s.lock", path);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET}; /* the whole file */
    if (fd < 0 && errno == ENOENT)
        lock.l_type = F_UNLCK; /* no file, no lock */
    else if (fd < 0 || fcntl(fd, F_OFD_GETLK, &lock) != 0)
        REFUSE(REFUSED, "cannot ask for the lock: %s", strerror(errno));
    if (lock.l_type != F_UNLCK)
        return "STALLED";
    return state == HALT || state == FAIL ? FRESH[state] : "WRITER_DEAD";
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    int arguments = strcmp(what, "attach") == 0 || strcmp(what, "live") == 0   ? 3
                    : strcmp(what, "changed") == 0                            ? 4
                    : strcmp(what, "read") == 0                               ? 5
                    : strcmp(what, "hunt") == 0 || strcmp(what, "stream") == 0 ? 6
                                                                               : argc + 1;
    if (argc < arguments) {
        fputs("reader attach|live|changed|read|hunt|stream path [board [slot [...]]]\n", stderr);
        return USAGE;
    }
    attach(argv[2]);
    if (arguments == 3)
        return what[0] == 'a' ? show() : puts(liveness(argv[2])) < 0;
    board_t b = board_named(argv[3]);
    if (arguments == 4)
        return changed(&b);
    u64 slot = strtoul(argv[4], NULL, 10);
    if (slot >= b.slots)
        REFUSE(REFUSED, "slot %s of a board of %u", argv[4], b.slots);
    if (arguments == 5)
        return read_one(&b, (u32)slot, argc > 5 ? argv[5] : NULL);
    int64_t until = monotonic_ns() + (int64_t)(1e9 * strtod(argv[5], NULL));
    return what[0] == 'h' ? hunt(&b, (u32)slot, until) : stream(&b, (u32)slot, until);
}
