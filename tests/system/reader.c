/* A reader of the shared memory, written from shm_layout.md alone: the paragraphs named are its.
 *   reader tag         <venue:id>
 *   reader attach|live <path>
 *   reader read        <path> <board> <slot> [tag-hex]
 *   reader hunt|stream <path> <board> <slot> <seconds>
 *   reader changed     <path> <board>
 *   reader find        <path> <token id>
 *   reader follow      <path> <token id> <seconds>
 * Exit status: 0 an answer, 1 refused or a record that convicts itself, 2 usage, 4 another layout.
 */
#define _GNU_SOURCE /* F_OFD_GETLK, usleep */
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
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long u64; /* %lu on both machines of §7 */
_Static_assert(sizeof(u32) == 4 && sizeof(u64) == 8, "a 64-bit machine");

/* §1 */
#define MAGIC 0x314b54534e455001ul
#define LAYOUT_VERSION 2u
#define LAYOUT_HASH 0xb2f07e49a35bf6bul
enum { TOC = 320, TOC_ENTRY = 64, TOC_ENTRIES = 32, FIRST_BOARD = 139264 };
enum { PREFIX = 64, ATTEMPTS = 64, FRESH_NS = 500000000 }; /* §5, §12, §8 */
enum { REFUSED = 1, USAGE = 2, OTHER_LAYOUT = 4 };        /* exit statuses */
enum { BOOT = 1, RUN, HALT, FAIL, RETIRED };              /* §4 State */
static const char *const STATES[] = {"?", "BOOT", "RUN", "HALT", "FAIL", "RETIRED"};

/* §5: fields follow each other without gaps: Q u64, q i64, I u32, s and b with their bytes, an
 * array with its number. Reserved ones stand last, and are left out. */
static const char PREFIX_FIELDS[] = "Q:tag I:incarnation I:generation Q:batch Q:venue_seq "
                                    "q:recv_ns q:publish_ns q:venue_ts_ns I:flags I:proof ";
static const struct {
    u32 bytes;
    const char *fields;
} RECORDS[] = {
    {0, ""},
    {128, "q:bid_px_e9 q:bid_qty_e9 q:ask_px_e9 q:ask_qty_e9 q:last_px_e9 q:last_qty_e9 q:tick_e9 "
          "q:proven_ns "}, /* bbo */
    {192, "q:yes_bid_px_e9 q:yes_bid_qty_e9 q:yes_ask_px_e9 q:yes_ask_qty_e9 q:no_bid_px_e9 "
          "q:no_bid_qty_e9 q:no_ask_px_e9 q:no_ask_qty_e9 q:last_px_e9 q:tick_e9 q:proven_ns "
          "I:yes_flags I:no_flags "}, /* pair_bbo */
    {768, "I:bid_count I:ask_count q:tick_e9 q40:bids q40:asks "}, /* depth */
    {128, "q:px_e9 q:qty_e9 Q:trade_id Q:pair_tag I:side "},       /* trade */
    {128, "q:mid_px_e9 q:return_1s_e9 q:return_5s_e9 q:return_60s_e9 q:sigma_e9 q:shock_z_e9 "
          "Q:sample_count I:known "},     /* features */
    {128, "q:mid_px_e9 q:wall_ns "},      /* sample */
    {512, "s80:id s72:market_id s72:slug s16:outcome Q:complement_tag Q:pair_tag Q:reference_tag "
          "Q:neg_risk_tag q:tick_e9 q:lot_e9 q:min_qty_e9 q:fee_rate_e9 q:fee_exponent "
          "q:rebate_rate_e9 q:taker_delay_ns q:reward_min_qty_e9 q:reward_spread_e9 "
          "q:window_start_ns q:window_end_ns q:twap_ns I:outcome_index I:pair_slot "
          "I:settlement_type I:protocol_version "}, /* instrument */
    {128, "q:window_start_ns q:window_end_ns q:strike_e9 q:twap_e9 q:twap_ts_ns q:final_e9 "
          "I:strike_provenance I:outcome "}, /* settlement */
    {192, "Q:strategy_tag q:valid_until_ns q:bid_px_e9 q:bid_qty_e9 q:ask_px_e9 q:ask_qty_e9 "
          "q:fair_px_e9 q:model_px_e9 q:reference_px_e9 q:strike_e9 Q:book_version "
          "Q:reference_version q:book_age_ns q:reference_age_ns I:reason I:keep q:cause_ns "},
    {128, "q:yes_qty_e9 q:no_qty_e9 q:cash_e9 q:fees_e9 q:rebates_e9 q:in_flight_e9 Q:fill_count "
          "I:settled "}, /* position, behind target_quotes */
    {256, "b32:order_id Q:pair_tag q:px_e9 q:qty_e9 q:filled_e9 q:created_ns q:working_ns "
          "Q:quotes_version Q:book_version Q:reference_version q:book_age_ns q:reference_age_ns "
          "q:decided_ns q:quoted_ns q:cause_ns I:side I:state "
          "I:outcome_index "}, /* working_order */
    {192, "b32:order_id Q:fill_id Q:pair_tag q:px_e9 q:qty_e9 q:fee_e9 q:rebate_e9 I:side "
          "I:is_maker Q:book_version I:outcome_index "}, /* fill */
    {192, "s48:name Q:pid q:started_ns Q:restart_count q:exit_code I:phase "}, /* process */
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
static ino_t inode;
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

/* Map the segment; false where there is none yet, or one that is left again. */
static bool attach(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return false;
    if (fd < 0 || fstat(fd, &st) != 0)
        REFUSE(REFUSED, "%s", strerror(errno));
    if (st.st_uid != geteuid() && st.st_uid != 0)
        REFUSE(REFUSED, "owner is user %u, this reader user %u", st.st_uid, geteuid());
    length = (u64)st.st_size;
    inode = st.st_ino;
    if (length < 64)
        REFUSE(REFUSED, "the file has %lu bytes, a head needs 64", length);
    base = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        REFUSE(REFUSED, "mmap: %s", strerror(errno));
    close(fd);
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
    return true;
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
        u64 count = strtoul(fields, (char **)&fields, 10), size = kind == 'I' ? 4 : 8;
        int n = (int)strcspn(++fields, " ");
        printf("%.*s=", n, fields);
        fields += n + 1;
        if (kind == 's')
            printf("%.*s", (int)count, (const char *)at), at += count;
        else if (kind == 'b')
            for (; count > 0; count--)
                printf("%02x", *at++);
        else
            for (count += !count; count > 0; count--, at += size) {
                printf(kind == 'q' ? "%ld" : "%lu", kind == 'I' ? u32_at(at) : u64_at(at));
                printf(count > 1 ? " " : "");
            }
        puts("");
    }
}

static void show_record(const board_t *b, const uint8_t *bytes)
{
    show_fields(PREFIX_FIELDS, bytes);
    show_fields(RECORDS[b->record_id].fields, bytes + PREFIX);
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
    show_record(b, bytes);
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
    else if (fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) != 0)
        REFUSE(REFUSED, "cannot ask for the lock: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    if (lock.l_type != F_UNLCK)
        return "STALLED";
    return state == HALT || state == FAIL ? FRESH[state] : "WRITER_DEAD";
}

/* ---- §5 Tags ------------------------------------------------------------------------------ */

static u64 rotated(u64 x, int by) { return x >> by | x << (64 - by); }

static void mix(u64 *v, const int *at, u64 x, u64 y)
{
    u64 *a = v + at[0], *b = v + at[1], *c = v + at[2], *d = v + at[3];
    *a += *b + x, *d = rotated(*d ^ *a, 32), *c += *d, *b = rotated(*b ^ *c, 24);
    *a += *b + y, *d = rotated(*d ^ *a, 16), *c += *d, *b = rotated(*b ^ *c, 63);
}

/* BLAKE2b (RFC 7693), no key, a digest of 8 bytes; of one block, which every name fits into. */
static u64 tag_of(const char *venue, const char *id)
{
    static const u64 IV[8] = {
        0x6a09e667f3bcc908ul, 0xbb67ae8584caa73bul, 0x3c6ef372fe94f82bul, 0xa54ff53a5f1d36f1ul,
        0x510e527fade682d1ul, 0x9b05688c2b3e6c1ful, 0x1f83d9abfb41bd6bul, 0x5be0cd19137e2179ul,
    };
    static const char *const ORDER[10] = {
        "0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8",
        "905724afe1bc683d", "2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a",
        "6fe9b308c2d714a5", "a2847615fb9e3cd0",
    };
    static const int WAYS[8][4] = {{0, 4, 8, 12}, {1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15},
                                   {0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13}, {3, 4, 9, 14}};
    char text[129] = "";
    u64 block[16], v[16];
    int bytes = snprintf(text, sizeof text, "%s:%s", venue, id);
    if (bytes < 0 || bytes > 128)
        REFUSE(REFUSED, "a name of %d bytes", bytes);
    memset(text + bytes, 0, sizeof text - (size_t)bytes);
    memcpy(block, text, sizeof block);
    for (int i = 0; i < 8; i++)
        v[i] = v[i + 8] = IV[i];
    v[0] ^= 0x01010008; /* sequential, no key, 8 bytes */
    u64 h = v[0];
    v[12] ^= (u64)bytes;
    v[14] = ~v[14]; /* the last block */
    for (int round = 0; round < 12; round++)
        for (int i = 0; i < 8; i++) {
            u64 words[2];
            for (int j = 0; j < 2; j++) {
                char digit = ORDER[round % 10][2 * i + j];
                words[j] = block[digit <= '9' ? digit - '0' : digit - 'a' + 10];
            }
            mix(v, WAYS[i], words[0], words[1]);
        }
    h ^= v[0] ^ v[8];
    return h ? h : 1;
}

/* ---- §6 Find an instrument ----------------------------------------------------------------- */

enum { ID = 64, ID_BYTES = 80, PAIR_TAG = 312, OUTCOME_INDEX = 432, PAIR_SLOT = 436 };
enum { INSTRUMENTS, PAIR_BBO, DEPTH, SETTLEMENT, PLACES };
static const char *const NAMES[] = {"instruments", "pair_bbo", "depth", "settlement"};
static const u32 RECORD_IDS[] = {7, 2, 3, 8};

typedef struct {
    bool is_listed;
    u64 epoch, incarnation;
    u32 generation, outcome_index;
    board_t boards[PLACES];
    u32 slots[PLACES];
    u64 tags[PLACES];
} listing_t;

static void open_boards(listing_t *l)
{
    *l = (listing_t){0};
    for (int i = 0; i < PLACES; i++) {
        l->boards[i] = board_named(NAMES[i]);
        if (l->boards[i].record_id != RECORD_IDS[i])
            REFUSE(REFUSED, "board %s holds record type %u", NAMES[i], l->boards[i].record_id);
    }
}

/* Steps 3 and 4: where the directory lists the token now; false where a slot was BUSY. */
static bool search(listing_t *l, const char *id)
{
    record_t r;
    const uint8_t *bytes = (const uint8_t *)r;
    char wanted[ID_BYTES + 1] = "";
    u64 tag = tag_of("polymarket", id), v, retries = 0;
    bool is_sure = true;
    strncpy(wanted, id, ID_BYTES);
    l->is_listed = false;
    l->epoch = LOAD(base + 120, acquire);
    l->incarnation = LOAD(base + 64, acquire);
    for (u32 slot = 0; *id != '\0' && slot < l->boards[INSTRUMENTS].slots; slot++) {
        answer_t answer = newest(&l->boards[INSTRUMENTS], slot, r, &v, &retries);
        is_sure = is_sure && answer != BUSY;
        if (answer != TAKEN || r[0] != tag || (u32)r[1] != (u32)l->incarnation ||
            memcmp(bytes + ID, wanted, ID_BYTES) != 0)
            continue;
        u64 pair_tag = u64_at(bytes + PAIR_TAG);
        u32 pair = u32_at(bytes + PAIR_SLOT);
        const u32 slots[] = {slot, pair, slot, pair};
        const u64 tags[] = {tag, pair_tag, tag, pair_tag};
        memcpy(l->slots, slots, sizeof slots);
        memcpy(l->tags, tags, sizeof tags);
        l->generation = (u32)(r[1] >> 32);
        l->outcome_index = u32_at(bytes + OUTCOME_INDEX);
        l->is_listed = l->outcome_index <= 1;
        for (int i = 0; i < PLACES; i++) /* a listing that cannot be is left out */
            l->is_listed = l->is_listed && l->slots[i] < l->boards[i].slots;
    }
    return is_sure;
}

typedef enum { WHOLE, WARMUP, MISSING, OVERTAKEN, OTHER_TAG } place_t;
static const char *const PLACE_WORDS[] = {"WHOLE", "WARMUP", "NEVER", "BUSY", "OTHER_TAG"};

/* Step 5: the token's record at one of its places, if it is the token's. */
static place_t read_place(const listing_t *l, int place, u64 *r, u64 *v)
{
    u64 retries = 0;
    answer_t answer = newest(&l->boards[place], l->slots[place], r, v, &retries);
    if (answer != TAKEN)
        return answer == BUSY ? OVERTAKEN : MISSING;
    if (r[0] != l->tags[place])
        return OTHER_TAG;
    if (r[1] >> 32 != l->generation)
        return MISSING;
    bool is_own = (u32)r[1] == (u32)LOAD(base + 64, acquire) || place == SETTLEMENT;
    return is_own ? WHOLE : WARMUP;
}

static int find(const char *id)
{
    listing_t l;
    record_t r;
    u64 v;
    open_boards(&l);
    bool is_sure = search(&l, id);
    if (!l.is_listed)
        return puts(is_sure ? "UNLISTED" : "BUSY") < 0;
    for (int i = 0; i < PLACES; i++) {
        place_t found = read_place(&l, i, r, &v);
        printf("[%s]\nslot=%u\nfound=%s\n", NAMES[i], l.slots[i], PLACE_WORDS[found]);
        if (found == WHOLE || found == WARMUP) {
            printf("version=%lu\n", v);
            show_record(&l.boards[i], (const uint8_t *)r);
        }
    }
    return 0;
}

/* ---- §6 Wait for the bell ------------------------------------------------------------------ */

static void wait_for_bell(u32 seen, int64_t ns)
{
    struct {
        u64 value, address;
        u32 flags, reserved;
    } waiter = {seen, (u64)(uintptr_t)(base + 128), 2, 0};
    int64_t until = monotonic_ns() + ns;
    struct timespec end = {until / 1000000000, until % 1000000000}, slice = {0, 1000000};
    if (syscall(449, NULL, 0, 0, NULL, 0) < 0 && errno == EINVAL)
        syscall(449, &waiter, 1, 0, &end, CLOCK_MONOTONIC);
    else
        syscall(SYS_futex, base + 128, 0, seen, &slice, NULL, 0);
}

/* A line for what a place holds now, if it is another than the one told last; true where that is
 * somebody else's: the listing may be old. */
static bool tell(const listing_t *l, int place, u64 told[2])
{
    record_t r;
    const uint8_t *bytes = (const uint8_t *)r;
    u64 v = 0;
    place_t found = read_place(l, place, r, &v);
    v = found <= WARMUP ? v : 0;
    if (found == told[0] && v == told[1])
        return false;
    told[0] = found, told[1] = v;
    printf("%s %s", NAMES[place], PLACE_WORDS[found]);
    if (v == 0)
        return puts(""), found == OTHER_TAG;
    printf(" version=%lu generation=%lu flags=%u", v, r[1] >> 32, u32_at(bytes + 56));
    const uint8_t *top = bytes + 64 + (l->outcome_index ? 32 : 0);
    if (place == PAIR_BBO)
        printf(" bid=%ld ask=%ld\n", u64_at(top), u64_at(top + 16));
    else if (place == DEPTH)
        printf(" bid=%ld ask=%ld\n", u64_at(bytes + 80), u64_at(bytes + 400));
    else
        printf(" strike=%ld\n", u64_at(bytes + 80));
    return false;
}

static bool is_gone(const char *path)
{
    struct stat st;
    const char *word = liveness(path);
    if (strcmp(word, "RETIRED") == 0)
        return true;
    return strcmp(word, "LIVE") != 0 && (stat(path, &st) != 0 || st.st_ino != inode);
}

/* Steps 6 and 7: look the token up again, and say what became of it. */
static bool look_again(listing_t *l, const char *id, u64 (*told)[2])
{
    listing_t before = *l;
    if (!search(l, id)) {
        *l = before;
        return false;
    }
    bool is_same = before.is_listed && before.slots[INSTRUMENTS] == l->slots[INSTRUMENTS] &&
                   before.generation == l->generation && before.incarnation == l->incarnation;
    if (l->is_listed && !is_same) {
        printf("listed slot=%u generation=%u incarnation=%lu\n", l->slots[INSTRUMENTS],
               l->generation, l->incarnation);
        memset(told, 0xff, PLACES * sizeof *told); /* so that all of it is told anew */
    }
    if (before.is_listed && !l->is_listed)
        puts("unlisted");
    return true;
}

/* Follow the token in one segment until that is gone. */
static void follow_segment(const char *path, const char *id, int64_t until)
{
    listing_t l;
    u64 told[PLACES][2];
    int64_t looked_ns = 0;
    bool must_look = true;
    open_boards(&l);
    for (int64_t now = monotonic_ns(); now < until && !is_gone(path); now = monotonic_ns()) {
        u32 bell = atomic_load_explicit((const _Atomic u32 *)(const void *)(base + 128),
                                        memory_order_acquire); /* before what it rings for */
        must_look |= l.epoch != LOAD(base + 120, acquire) ||
                     l.incarnation != LOAD(base + 64, acquire) || now - looked_ns > 1000000000;
        if (must_look && look_again(&l, id, told))
            must_look = false, looked_ns = now;
        for (int i = PAIR_BBO; l.is_listed && i < PLACES; i++)
            must_look |= tell(&l, i, told[i]);
        if (!must_look)
            wait_for_bell(bell, 100000000);
    }
}

static int follow(const char *path, const char *id, int64_t until)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (; monotonic_ns() < until; usleep(1000)) {
        if (!attach(path))
            continue;
        if (LOAD(base + 72, acquire) != RETIRED) {
            puts("attached");
            follow_segment(path, id, until);
            puts("gone");
        }
        munmap((void *)(uintptr_t)base, length);
    }
    return 0;
}

/* The words of the command line behind the program's name, for each thing it does. */
static const struct {
    const char *name;
    int words;
} DEEDS[] = {{"tag", 2},  {"attach", 2}, {"live", 2},   {"changed", 3}, {"read", 4},
             {"find", 3}, {"hunt", 5},   {"stream", 5}, {"follow", 4}};

static int do_with_slot(const char *what, char **words, const char *last)
{
    board_t b = board_named(words[1]);
    u64 slot = strtoul(words[2], NULL, 10);
    if (slot >= b.slots)
        REFUSE(REFUSED, "slot %s of a board of %u", words[2], b.slots);
    if (strcmp(what, "read") == 0)
        return read_one(&b, (u32)slot, last);
    int64_t until = monotonic_ns() + (int64_t)(1e9 * strtod(last, NULL));
    return what[0] == 'h' ? hunt(&b, (u32)slot, until) : stream(&b, (u32)slot, until);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "", *colon = argc > 2 ? strchr(argv[2], ':') : NULL;
    int words = 0;
    for (u32 i = 0; i < sizeof DEEDS / sizeof *DEEDS; i++)
        words = strcmp(what, DEEDS[i].name) == 0 ? DEEDS[i].words : words;
    if (words == 0 || argc <= words || (what[0] == 't' && colon == NULL)) {
        fputs("reader tag|attach|live|changed|read|hunt|stream|find|follow ...\n", stderr);
        return USAGE;
    }
    if (what[0] == 't') {
        char venue[64] = "";
        strncpy(venue, argv[2], (size_t)(colon - argv[2]) % sizeof venue);
        return printf("0x%016lx\n", tag_of(venue, colon + 1)) < 0;
    }
    if (strcmp(what, "follow") == 0)
        return follow(argv[2], argv[3], monotonic_ns() + (int64_t)(1e9 * strtod(argv[4], NULL)));
    if (!attach(argv[2]))
        REFUSE(REFUSED, "not yet: %s", strerror(errno));
    if (strcmp(what, "attach") == 0)
        return show();
    if (strcmp(what, "live") == 0)
        return puts(liveness(argv[2])) < 0;
    if (strcmp(what, "changed") == 0) {
        board_t b = board_named(argv[3]);
        return changed(&b);
    }
    if (strcmp(what, "find") == 0)
        return find(argv[3]);
    return do_with_slot(what, argv + 2, argc > 5 ? argv[5] : NULL);
}
