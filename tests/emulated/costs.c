/*
 * A plugin for QEMU's user emulation that tells what one inference costs: how often each block of instructions runs, on
 * the first thread and on the others, and how many bytes pass between the caches and memory.
 *
 *     qemu-aarch64 -plugin libcosts.so,out=FILE[,l1=BYTES:WAYS,l2=BYTES:WAYS] -d plugin PROGRAM
 *
 * The program marks the inference with the system call getpgid, which does nothing: from the call with the argument 1 the
 * caches are simulated, from 2 everything is counted, and with 3 the file is written. Its first line has the bytes, and
 * each other line the bytes of a block's instructions and its two counts. The caches are those of one core: least recently
 * used, written back, without prefetching. Bytes are told only if the sizes of the caches are given.
 */
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

enum { GETPGID = 155, LINE = 64, MOST_THREADS = 64 };

typedef struct {
    uint64_t line; /* the address over LINE, plus one; 0 is empty */
    bool dirty;
} Way;

typedef struct {
    unsigned ways;
    uint64_t sets;
    Way *held; /* of each set the most recently used first */
} Cache;

typedef struct {
    GString *code;
    qemu_plugin_u64 runs;
    uint64_t before[2];
} Block;

static GMutex lock;
static GPtrArray *blocks;
static Cache l1, l2;
static const char *out;
static bool with_caches, simulating;
static uint64_t memory_bytes;

static void make_cache(Cache *cache, const char *sizes)
{
    uint64_t bytes;
    if (sscanf(sizes, "%" SCNu64 ":%u", &bytes, &cache->ways) != 2 || !cache->ways || bytes < LINE * cache->ways) {
        fprintf(stderr, "costs: sizes of a cache are BYTES:WAYS, not %s\n", sizes);
        exit(2);
    }
    cache->sets = bytes / LINE / cache->ways;
    cache->held = g_new0(Way, cache->sets * cache->ways);
    with_caches = true;
}

/* Put a line at the front of its set; *out_line gets the line that it drove out, if that has to be written. */
static bool hit(Cache *cache, uint64_t line, bool write, uint64_t *out_line)
{
    Way *set = cache->held + (line % cache->sets) * cache->ways;
    unsigned way = 0;
    while (way + 1 < cache->ways && set[way].line != line + 1) {
        way++;
    }
    bool found = set[way].line == line + 1;
    Way mine = { line + 1, (found && set[way].dirty) || write };
    *out_line = !found && set[way].line && set[way].dirty ? set[way].line : 0;
    memmove(set + 1, set, way * sizeof(Way));
    set[0] = mine;
    return found;
}

static void through_l2(uint64_t line, bool write)
{
    uint64_t driven_out;
    if (!hit(&l2, line, write, &driven_out)) {
        memory_bytes += LINE;
    }
    if (driven_out) {
        memory_bytes += LINE;
    }
}

static void touch(uint64_t line, bool write)
{
    uint64_t driven_out;
    if (!hit(&l1, line, write, &driven_out)) {
        through_l2(line, false);
    }
    if (driven_out) {
        through_l2(driven_out - 1, true);
    }
}

static void on_memory(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *unused)
{
    if (!simulating || vcpu) {
        return;
    }
    uint64_t first = address / LINE, last = (address + (1u << qemu_plugin_mem_size_shift(info)) - 1) / LINE;
    for (uint64_t line = first; line <= last; line++) {
        touch(line, qemu_plugin_mem_is_store(info));
    }
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    Block *block = g_new0(Block, 1);
    block->code = g_string_new(NULL);
    block->runs = qemu_plugin_scoreboard_u64(qemu_plugin_scoreboard_new(sizeof(uint64_t)));
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint8_t bytes[4];
        size_t count = qemu_plugin_insn_data(insn, bytes, sizeof bytes);
        for (size_t byte = 0; byte < count; byte++) {
            g_string_append_printf(block->code, "%02x", bytes[byte]);
        }
        if (with_caches) {
            qemu_plugin_register_vcpu_mem_cb(insn, on_memory, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
        }
    }
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64, block->runs, 1);
    g_mutex_lock(&lock);
    g_ptr_array_add(blocks, block);
    g_mutex_unlock(&lock);
}

static void count_runs(Block *block, uint64_t counts[2])
{
    counts[0] = qemu_plugin_u64_get(block->runs, 0);
    counts[1] = qemu_plugin_u64_sum(block->runs) - counts[0];
}

static void begin(void)
{
    memory_bytes = 0;
    for (guint i = 0; i < blocks->len; i++) {
        Block *block = g_ptr_array_index(blocks, i);
        count_runs(block, block->before);
    }
}

static void tell(void)
{
    FILE *file = fopen(out, "w");
    if (!file) {
        perror(out);
        exit(2);
    }
    fprintf(file, "%" PRIu64 "\n", memory_bytes);
    for (guint i = 0; i < blocks->len; i++) {
        Block *block = g_ptr_array_index(blocks, i);
        uint64_t now[2];
        count_runs(block, now);
        uint64_t first = now[0] - block->before[0], others = now[1] - block->before[1];
        if (first || others) {
            fprintf(file, "%s %" PRIu64 " %" PRIu64 "\n", block->code->str, first, others);
        }
    }
    fclose(file);
}

static void on_call(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t mark, uint64_t a2, uint64_t a3,
                    uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    if (number != GETPGID) {
        return;
    }
    g_mutex_lock(&lock);
    if (mark == 1) {
        simulating = with_caches;
    } else if (mark == 2) {
        begin();
    } else if (mark == 3) {
        simulating = false;
        tell();
    }
    g_mutex_unlock(&lock);
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count, char **options)
{
    for (int i = 0; i < count; i++) {
        if (g_str_has_prefix(options[i], "out=")) {
            out = g_strdup(options[i] + 4);
        } else if (g_str_has_prefix(options[i], "l1=")) {
            make_cache(&l1, options[i] + 3);
        } else if (g_str_has_prefix(options[i], "l2=")) {
            make_cache(&l2, options[i] + 3);
        } else {
            fprintf(stderr, "costs: no such option: %s\n", options[i]);
            return -1;
        }
    }
    if (!out || !l1.held != !l2.held) {
        fprintf(stderr, "costs: out=FILE is needed, and the sizes of both caches or of none\n");
        return -1;
    }
    blocks = g_ptr_array_new();
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
