/* What the files of the books' core share: the levels of a token, a market, and what reads them.
 *
 * _decoded.h, _decoded.c: what msgspec decoded, and the venue's text. _levels.c: the levels of a
 * token. _pair.c: a market, from a decoded frame to its record. _markets.c: which market a frame is
 * of, and its memory asked for ahead. _book.c: the module.
 */

#ifndef PENSTOCK_BOOK_H
#define PENSTOCK_BOOK_H

#include "_board.h"

#define E9 1000000000LL
#define HASH_LENGTH 40
#define TOKEN_LENGTH_MAX 78

extern PyObject *crossed;
extern const BoardApi *board_api;

/* --- levels ---------------------------------------------------------------------------------- */

/* A level by its rank: the price of a bid, one less the price of an ask. The best has the highest. */
typedef struct {
    int64_t rank, size;
} Level;

/* One side, ranks ascending. Memory: room * 16 bytes; the grid limits count to 9,999. */
typedef struct {
    Level *levels;
    int32_t count, room;
} Side;

enum { BIDS, ASKS };

typedef struct {
    PyObject_HEAD
    Side sides[2];
    int32_t claims[2];
    int64_t hash_ns;
    char hash[HASH_LENGTH];
    uint8_t has_hash, token_length;
    char token[TOKEN_LENGTH_MAX];
} Levels;

extern PyTypeObject *levels_type;

static inline int64_t rank_of(int64_t px, int side)
{
    return side == BIDS ? px : E9 - px;
}

static inline int64_t price_of(int64_t rank, int side)
{
    return side == BIDS ? rank : E9 - rank;
}

/* The rank of the best level; 0 of a side without: a bid of 0, an ask of 1. */
static inline int64_t best_rank(const Side *side)
{
    return side->count ? side->levels[side->count - 1].rank : 0;
}

static inline int64_t best_size(const Side *side)
{
    return side->count ? side->levels[side->count - 1].size : 0;
}

/* Set a level's total, 0 removes it; -1 with an exception. */
int set_level(Side *side, int64_t rank, int64_t size);

/* Give a book its token; -1 with an exception. */
int levels_name(PyObject *object, PyObject *text, void *closure);

/* Keep the hash that the venue gave, if it is one. */
void take_hash(Levels *self, PyObject *told, int64_t time_ns);

/* --- a market -------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    Levels *books[2];
    PyObject *board;
    long long slot, tick_e9, snapshot_ns, last_px_e9;
    long long batch, recv_ns, publish_ns, venue_ts_ns, proof, proven_ns, held_ns;
    char is_plain, is_mirrored, is_unsent;
} PairState;

extern PyTypeObject *pair_type;

/* Hold PairBbo against the layout; -1 with an exception. */
int learn_record(void);

/* apply_changes(first, second, changes, time_ns, tick) */
PyObject *apply_changes(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* Each adds its type to the module; -1 with an exception. */
int levels_type_add(PyObject *module);
int pair_type_add(PyObject *module);
int markets_type_add(PyObject *module);

/* Add a type, of which the module keeps the reference; NULL with an exception. */
PyTypeObject *add_type(PyObject *module, const char *name, PyType_Spec *spec);

#endif
